//! Who the app is told, and that nobody else can tell it.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, jwk::JwkSet};
use serde_json::Value;

use crate::support::{Answer, Seen, Wire};

const IDENTITY: [&str; 8] = [
    "x-vestibule-assertion",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-preferred-username",
    "x-forwarded-role",
    "x-forwarded-groups",
    "x-forwarded-teams",
    "token-user",
];

/// Verifies an assertion as an app would, with nothing but the published keys.
fn verified(wire: &Wire, assertion: &str) -> Value {
    let keys: JwkSet =
        serde_json::from_slice(&wire.ask("GET /.vestibule/jwks.json", &["Host: any.name"]).body).unwrap();
    let header = jsonwebtoken::decode_header(assertion).unwrap();
    assert_eq!(header.typ.as_deref(), Some("JWT"));
    let key = keys.find(&header.kid.unwrap()).expect("the signing key is published");
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["http://app.test"]);
    validation.set_issuer(&["http://app.test"]);
    validation.validate_nbf = true;
    decode::<Value>(assertion, &DecodingKey::from_jwk(key).unwrap(), &validation)
        .unwrap()
        .claims
}

fn carries_only_adas_identity(seen: &Seen) {
    let names = seen.names();
    for name in IDENTITY {
        let count = names.iter().filter(|seen| *seen == name).count();
        assert!(count <= 1, "{name} came {count} times: {seen:?}");
    }
    assert!(!seen.head.contains("evil"), "{seen:?}");
    assert_eq!(seen.values("x-forwarded-email"), ["ada@example.com"]);
    assert_eq!(seen.values("token-user"), ["ada@example.com"]);
    assert!(seen.values("x-vestibule-assertion")[0].starts_with("eyJ"));
}

fn carries_nobodys_identity(seen: &Seen) {
    for name in seen.names() {
        assert!(
            !IDENTITY.contains(&name.as_str()) && !name.starts_with("remote-") && !name.starts_with("x-webauth-"),
            "{name} in {seen:?}"
        );
    }
    assert!(!seen.head.contains("evil"), "{seen:?}");
}

/// Every spelling of every name, as fields.
fn spoofed() -> Vec<String> {
    let mut fields = Vec::new();
    for name in IDENTITY.iter().chain(&[
        "remote-user",
        "x-remote-user",
        "x-webauth-user",
        "x-auth-request-user",
        "x-pomerium-jwt-assertion",
        "x-authentik-username",
        "gap-auth",
        "x-forwarded-access-token",
        "x-vestibule-other",
    ]) {
        let title: String = name
            .split('-')
            .map(|part| part[..1].to_uppercase() + &part[1..])
            .collect::<Vec<_>>()
            .join("-");
        for spelling in [
            (*name).to_owned(),
            title.clone(),
            name.to_uppercase(),
            name.replace('-', "_"),
            title.replacen('-', "_", 1),
            name.replace('-', "."),
        ] {
            fields.push(format!("{spelling}: evil"));
            fields.push(format!("{spelling}: evil2"));
        }
    }
    fields
}

/// Fields come in batches below the limit of a hundred.
fn in_batches(
    wire: &Wire,
    request_line: &str,
    cookie: Option<&str>,
    extra: &[&str],
    mut check: impl FnMut(&Answer, &[Seen]),
) {
    for batch in spoofed().chunks(80) {
        wire.app.forget();
        let cookie = cookie.map(|cookie| format!("Cookie: {cookie}"));
        let mut fields: Vec<&str> = vec!["Host: app.test"];
        fields.extend(cookie.as_deref());
        fields.extend(extra);
        fields.extend(batch.iter().map(String::as_str));
        let answer = wire.ask(request_line, &fields);
        check(&answer, &wire.app.seen());
    }
}

#[test]
fn the_app_can_verify_who_it_is() {
    let wire = Wire::start();
    assert_eq!(wire.signed_in("GET /x", &[]).status, 200);
    let seen = &wire.app.seen()[0];
    let claims = verified(&wire, seen.values("x-vestibule-assertion")[0]);
    assert_eq!(claims["sub"].as_str().unwrap(), seen.values("x-forwarded-user")[0]);
    assert_eq!(claims["email"], "ada@example.com");
    assert_eq!(claims["preferred_username"], "ada");
    assert_eq!(claims["name"], "Ada Lovelace");
    assert_eq!(claims["role"], "admin", "the first user is the admin");
    assert_eq!(claims["groups"], serde_json::json!(["engineers"]));
    assert_eq!(claims["method"], "oidc");
    assert!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap() <= 300);
    assert_eq!(claims["iat"], claims["nbf"]);
    let token = wire.cookie.split_once('=').unwrap().1;
    assert!(!seen.head.contains(token) && !token.contains(claims["sid"].as_str().unwrap()));
    assert_eq!(seen.values("x-forwarded-role"), ["admin"]);
    assert_eq!(seen.values("x-forwarded-groups"), ["engineers"]);
    assert_eq!(seen.values("x-forwarded-preferred-username"), ["ada"]);
    assert_eq!(seen.values("x-request-id").len(), 1);

    let whoami: Value = serde_json::from_slice(&wire.signed_in("GET /.vestibule/whoami", &[]).body).unwrap();
    for claim in [
        "iss",
        "sub",
        "email",
        "preferred_username",
        "name",
        "role",
        "groups",
        "sid",
        "method",
    ] {
        assert_eq!(whoami[claim], claims[claim], "{claim}");
    }
    for absent in ["nbf", "exp", "aud"] {
        assert!(whoami.get(absent).is_none());
    }
}

#[test]
fn identity_from_outside_is_replaced_on_a_protected_path() {
    let wire = Wire::start();
    for request in ["GET /x", "OPTIONS /x", "HEAD /x", "DELETE /x"] {
        in_batches(&wire, request, Some(&wire.cookie), &[], |_, seen| {
            carries_only_adas_identity(&seen[0]);
        });
    }
}

#[test]
fn identity_from_outside_is_dropped_on_a_public_path() {
    let wire = Wire::start();
    for request in ["GET /public/x", "OPTIONS /health", "POST /public/x"] {
        in_batches(&wire, request, None, &["Content-Length: 0"], |answer, seen| {
            assert_eq!(answer.status, 200);
            carries_nobodys_identity(&seen[0]);
        });
        in_batches(
            &wire,
            request,
            Some("vestibule=made-up"),
            &["Content-Length: 0"],
            |answer, seen| {
                assert_eq!(answer.status, 200);
                carries_nobodys_identity(&seen[0]);
            },
        );
        in_batches(&wire, request, Some(&wire.cookie), &["Content-Length: 0"], |_, seen| {
            carries_only_adas_identity(&seen[0]);
        });
    }
}

#[test]
fn identity_from_outside_is_replaced_on_a_websocket() {
    let wire = Wire::start();
    in_batches(
        &wire,
        "GET /ws",
        Some(&wire.cookie),
        &["Connection: Upgrade", "Upgrade: websocket"],
        |answer, seen| {
            assert_eq!(answer.status, 101);
            carries_only_adas_identity(&seen[0]);
        },
    );
}

#[test]
fn identity_from_outside_gets_nobody_in() {
    let wire = Wire::start();
    for request in ["GET /x", "OPTIONS /x", "GET /.vestibule/whoami", "GET /ws"] {
        in_batches(&wire, request, None, &["Authorization: Bearer evil"], |answer, seen| {
            assert_eq!(answer.status, 401);
            assert!(seen.is_empty());
        });
    }
}

#[test]
fn connection_cannot_name_our_headers_away() {
    let wire = Wire::start();
    for name in IDENTITY.iter().chain(&[
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "forwarded",
        "x-request-id",
        "host",
    ]) {
        wire.app.forget();
        let connection = format!("Connection: close, {name}");
        assert_eq!(wire.signed_in("GET /x", &[&connection]).status, 200, "{name}");
        let seen = &wire.app.seen()[0];
        if *name != "x-forwarded-teams" {
            assert_eq!(seen.values(name).len(), 1, "{name} was named away: {seen:?}");
        }
    }
}

#[test]
fn a_preflight_passes_only_where_it_is_told_to_and_bare() {
    let preflight = [
        "Origin: https://other.test",
        "Access-Control-Request-Method: POST",
        "Content-Length: 4",
    ];
    let wire = Wire::start();
    let mut fields = vec!["Host: app.test"];
    fields.extend(preflight);
    let mut client = wire.connect();
    client.send(format!("OPTIONS /x HTTP/1.1\r\n{}\r\n\r\nbody", fields.join("\r\n")).as_bytes());
    assert_eq!(client.answer().status, 401);
    assert!(wire.app.seen().is_empty());

    let wire = Wire::with(|settings| settings.pass_preflight = true);
    let cookie = format!("Cookie: {}; a=b", wire.cookie);
    fields.push(&cookie);
    fields.push("X-Forwarded-User: evil");
    let mut client = wire.connect();
    client.send(format!("OPTIONS /x HTTP/1.1\r\n{}\r\n\r\nbody", fields.join("\r\n")).as_bytes());
    assert_eq!(client.answer().status, 200);
    let seen = &wire.app.seen()[0];
    carries_nobodys_identity(seen);
    assert!(
        seen.body.is_empty() && seen.values("content-length").is_empty(),
        "{seen:?}"
    );
    assert_eq!(seen.values("cookie"), ["a=b"]);
    assert_eq!(
        wire.ask("OPTIONS /x", &["Host: app.test", "Origin: https://other.test"])
            .status,
        401,
        "no preflight without the method"
    );
    assert_eq!(
        wire.ask(
            "POST /x",
            &[
                "Host: app.test",
                "Origin: https://other.test",
                "Access-Control-Request-Method: POST",
                "Content-Length: 0"
            ]
        )
        .status,
        401
    );
}

#[test]
fn our_cookies_stay_here_and_the_rest_goes_on() {
    let wire = Wire::start();
    let cookie = format!(
        "Cookie: a=b; {}; vestibule-a-x1=sealed; __Host-vestibule=other; c=\"d e\"",
        wire.cookie
    );
    assert_eq!(
        wire.ask(
            "GET /x",
            &["Host: app.test", &cookie, "Cookie: vestibule-8443=neighbour"]
        )
        .status,
        200
    );
    assert_eq!(wire.app.seen()[0].values("cookie"), ["a=b; c=\"d e\""]);
}

#[test]
fn two_different_session_cookies_are_400_and_deleted_on_every_class_of_path() {
    let wire = Wire::start();
    for path in [
        "/x",
        "/health",
        "/public/x",
        "/.vestibule/whoami",
        "/.vestibule/login",
        "/oidc/callback",
        "/logout",
    ] {
        let cookie = format!("Cookie: {}; vestibule=planted", wire.cookie);
        let answer = wire.ask(&format!("GET {path}"), &["Host: app.test", &cookie]);
        assert_eq!(answer.status, 400, "{path}");
        assert!(
            answer
                .fields("set-cookie")
                .iter()
                .any(|set| set.starts_with("vestibule=;") && set.contains("Max-Age=0") && set.contains("Path=/")),
            "{path}: {answer:?}"
        );
    }
    assert!(wire.app.seen().is_empty());
    let twice = format!("Cookie: {0}; {0}", wire.cookie);
    assert_eq!(
        wire.ask("GET /x", &["Host: app.test", &twice]).status,
        200,
        "the same value twice is one value"
    );
}

#[test]
fn the_app_cannot_set_our_cookies() {
    let wire = Wire::start();
    let answer = wire.signed_in("GET /set-cookie", &[]);
    assert_eq!(answer.fields("set-cookie"), ["app=1"]);
    assert_eq!((answer.field("x-internal"), answer.field("keep-alive")), (None, None));
}

#[test]
fn a_session_that_ended_is_nobodys() {
    let wire = Wire::start();
    assert_eq!(wire.signed_in("GET /x", &[]).status, 200);
    wire.app.forget();
    wire.run(async {
        let store = vestibule::store::Store::open(&wire.database()).await.unwrap();
        let user = vestibule::directory::list(&store).await.unwrap().remove(0);
        vestibule::directory::end_sessions(
            &store,
            &vestibule::directory::Actor::shell(),
            user.id.as_str(),
            vestibule::clock::UnixTime::now(),
        )
        .await
        .unwrap();
    });
    std::thread::sleep(std::time::Duration::from_secs(1));
    for (path, status) in [("/x", 401), ("/.vestibule/whoami", 401), ("/ws", 401), ("/health", 200)] {
        assert_eq!(wire.signed_in(&format!("GET {path}"), &[]).status, status, "{path}");
    }
    carries_nobodys_identity(&wire.app.seen()[0]);
    assert_eq!(wire.app.seen().len(), 1);
}

#[test]
fn forwarding_headers_are_ours() {
    let wire = Wire::start();
    let spoof = [
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil",
        "Forwarded: for=6.6.6.6",
        "X-Real-IP: 6.6.6.6",
        "X-Forwarded-Port: 1",
        "X-Original-URL: /evil",
        "X_Forwarded_For: 6.6.6.6",
    ];
    assert_eq!(wire.signed_in("GET /x", &spoof).status, 200);
    let seen = &wire.app.seen()[0];
    assert_eq!(seen.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.values("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.values("x-forwarded-host"), ["app.test"]);
    assert_eq!(seen.values("forwarded"), ["for=127.0.0.1;host=\"app.test\";proto=http"]);
    for gone in ["x-real-ip", "x-forwarded-port", "x-original-url"] {
        assert!(seen.values(gone).is_empty(), "{gone}");
    }
    assert!(!seen.head.contains("6.6.6.6") && !seen.head.contains("evil"));

    let wire = Wire::with(|settings| settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]);
    assert_eq!(
        wire.signed_in(
            "GET /x",
            &[
                "X-Forwarded-For: 6.6.6.6, 203.0.113.9",
                "X-Forwarded-Proto: https",
                "X-Real-IP: 203.0.113.9",
                "X_Real_IP: 1"
            ]
        )
        .status,
        200
    );
    let seen = &wire.app.seen()[0];
    assert_eq!(seen.values("x-forwarded-for"), ["6.6.6.6, 203.0.113.9, 127.0.0.1"]);
    assert_eq!(seen.values("x-forwarded-proto"), ["http"]);
    assert_eq!(
        seen.values("forwarded"),
        ["for=203.0.113.9;host=\"app.test\";proto=http"]
    );
    assert_eq!(seen.values("x-real-ip"), ["203.0.113.9"]);
}

#[test]
fn host_is_the_upstreams_where_the_operator_says_so() {
    let wire = Wire::with(|settings| settings.upstream.preserve_host = false);
    assert_eq!(wire.signed_in("GET /x", &[]).status, 200);
    assert_eq!(wire.app.seen()[0].values("host"), [wire.app.address.to_string()]);
}

#[test]
fn a_session_whose_time_is_over_is_nobodys_and_its_websocket_ends() {
    let wire = Wire::with(|settings| settings.session_length = std::time::Duration::from_secs(2));
    let mut socket = wire.connect();
    let cookie = format!("Cookie: {}", wire.cookie);
    let upgrade = ["Host: app.test", &cookie, "Connection: Upgrade", "Upgrade: websocket"];
    assert_eq!(socket.ask("GET /ws", &upgrade).status, 101);
    assert!(socket.closes_within(std::time::Duration::from_secs(4)));
    assert_eq!(wire.signed_in("GET /x", &[]).status, 401);
    assert_eq!(wire.app.seen().len(), 1);
}
