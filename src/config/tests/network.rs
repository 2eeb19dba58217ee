//! The app, what browsers see, paths, listeners, storage, times.

use std::time::Duration;

use super::{KEPT, PUBLIC, refused, refused_for, warnings, with};
use crate::config::{Database, ForwardingHeader, IdentityField, SecretKeys};

#[test]
fn the_public_url_is_one_origin_in_one_spelling() {
    for (text, origin) in [
        ("https://App.Example.com.:443/", "https://app.example.com"),
        ("https://app.example.com:8443", "https://app.example.com:8443"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ] {
        let settings = with(&[("VESTIBULE_PUBLIC_URL", text), KEPT]);
        assert_eq!(settings.public.origin(), origin);
        assert_eq!(settings.assertion_audience, origin);
    }
    for text in [
        "app.example.com",
        "https://app.example.com/app",
        "https://app.example.com?x",
        "https://u@app.example.com",
        "https://app.example.com#x",
        "ftp://app.example.com",
    ] {
        refused("VESTIBULE_PUBLIC_URL", text);
    }
}

#[test]
fn plain_http_beyond_loopback_has_to_be_asked_for_and_warns() {
    let plain = ("VESTIBULE_PUBLIC_URL", "http://app.example.com");
    refused_for("VESTIBULE_PUBLIC_URL", &[plain, KEPT]);
    let allowed = [plain, KEPT, ("VESTIBULE_ALLOW_PLAIN_HTTP", "true")];
    assert_eq!(warnings(&allowed), ["VESTIBULE_ALLOW_PLAIN_HTTP"]);
    for text in [
        "http://localhost:1",
        "http://127.0.0.1",
        "http://[::1]:4180",
        "http://app.localhost",
    ] {
        assert_eq!(warnings(&[("VESTIBULE_PUBLIC_URL", text)]), [""; 0], "{text}");
    }
    refused("VESTIBULE_ALLOW_PLAIN_HTTP", "perhaps");
}

#[test]
fn the_public_url_has_a_default_only_where_nobody_else_can_come() {
    assert_eq!(
        with(&[("VESTIBULE_LISTEN", "127.0.0.1:5000")]).public.origin(),
        "http://localhost:5000"
    );
    assert_eq!(
        with(&[("VESTIBULE_LISTEN", "[::1]:80")]).public.origin(),
        "http://localhost"
    );
    for listen in ["0.0.0.0:4180", "127.0.0.1:4180,10.0.0.1:4180", "127.0.0.1:0"] {
        refused_for("VESTIBULE_PUBLIC_URL", &[("VESTIBULE_LISTEN", listen), KEPT]);
    }
}

#[test]
fn host_is_the_public_url_only_when_it_is_a_url() {
    assert_eq!(with(&[("HOST", "build-7")]).public.origin(), "http://localhost:4180");
    assert_eq!(
        with(&[("HOST", "https://app.example.com"), KEPT]).public.origin(),
        PUBLIC.1
    );
    refused_for(
        "VESTIBULE_PUBLIC_URL",
        &[("HOST", "https://other.example.com"), PUBLIC, KEPT],
    );
    refused_for("VESTIBULE_PUBLIC_URL", &[("HOST", "ftp://app.example.com"), KEPT]);
}

#[test]
fn the_upstream_is_an_origin_or_a_socket() {
    let authority = |text| with(&[("VESTIBULE_UPSTREAM", text)]).upstream.authority.to_string();
    assert_eq!(authority("http://app:8080/"), "app:8080");
    assert_eq!(authority("http://App"), "app:80");
    assert_eq!(authority("http://[::1]:9"), "[::1]:9");
    assert_eq!(with(&[("VESTIBULE_UPSTREAM", "http://app")]).upstream.host(), "app");
    for text in [
        "http://app/x",
        "http://app?x",
        "http://u:p@app",
        "app:8080",
        "ftp://app",
        "http://",
        "https://app/x",
        "h2c://app?x",
        "h2c://u@app",
        "h2c:app",
        "unix:",
        "unix:run/app.sock",
    ] {
        refused("VESTIBULE_UPSTREAM", text);
    }
    for (text, read) in [
        ("https://app", "https://app:443"),
        ("HTTPS://app:8443/", "https://app:8443"),
        ("h2c://app", "h2c://app:80"),
        ("H2C://app:1", "h2c://app:1"),
        ("unix:/run/app.sock", "unix:/run/app.sock"),
    ] {
        assert_eq!(with(&[("VESTIBULE_UPSTREAM", text)]).upstream.to_string(), read);
    }
    assert_eq!(with(&[("VESTIBULE_UPSTREAM", "https://app")]).upstream.host(), "app");
}

#[test]
fn an_upstream_that_leads_back_to_the_gateway_is_refused() {
    for (upstream, listen) in [
        ("http://127.0.0.1:4180", "127.0.0.1:4180"),
        ("http://localhost:4180", "127.0.0.1:4180"),
        ("http://127.0.0.1:4180", "0.0.0.0:4180"),
        ("http://0.0.0.0:4180", "127.0.0.1:4180"),
        ("http://[::ffff:127.0.0.1]:4180", "127.0.0.1:4180"),
        ("http://localhost", "[::]:80"),
        ("http://127.0.0.1:4181", "127.0.0.1:4180"),
    ] {
        let env = [
            ("VESTIBULE_UPSTREAM", upstream),
            ("VESTIBULE_LISTEN", listen),
            PUBLIC,
            KEPT,
        ];
        assert!(
            refused_for("VESTIBULE_UPSTREAM", &env).contains("own address"),
            "{upstream} {listen}"
        );
    }
    with(&[("VESTIBULE_UPSTREAM", "http://127.0.0.1:4182")]);
}

#[test]
fn further_identity_headers_are_names_that_nothing_else_uses() {
    let settings = with(&[(
        "VESTIBULE_UPSTREAM_HEADERS",
        "X-WEBAUTH-USER=email, Remote-User=username,x-g=groups",
    )]);
    let headers: Vec<(&str, IdentityField)> = settings
        .upstream
        .headers
        .iter()
        .map(|(name, field)| (name.as_str(), *field))
        .collect();
    assert_eq!(
        headers,
        [
            ("x-webauth-user", IdentityField::Email),
            ("remote-user", IdentityField::Username),
            ("x-g", IdentityField::Groups)
        ]
    );
    for text in [
        "X-User",
        "X-User=",
        "X-User=mail",
        "=email",
        "X User=email",
        "X_User=email",
        "a=email,A=sub",
        "Host=email",
        "Cookie=email",
        "Authorization=sub",
        "Content-Length=sub",
        "Connection=sub",
        "Transfer-Encoding=sub",
        "X-Vestibule-Assertion=sub",
        "X-Forwarded-User=sub",
        "Forwarded=sub",
        "X-Request-Id=sub",
        "TE=sub",
        "Upgrade=sub",
        "Proxy-Authorization=sub",
        "Sec-Fetch-Site=sub",
        "Origin=sub",
        "Set-Cookie=sub",
    ] {
        refused("VESTIBULE_UPSTREAM_HEADERS", text);
    }
}

#[test]
fn listeners_are_addresses_and_do_not_meet() {
    assert_eq!(with(&[("VESTIBULE_LISTEN", "127.0.0.1:1, [::1]:1")]).listen.len(), 2);
    for text in [
        "4180",
        ":4180",
        "localhost:4180",
        "127.0.0.1",
        "127.0.0.1:x",
        "127.0.0.1:1,127.0.0.1:1",
        ",",
    ] {
        refused("VESTIBULE_LISTEN", text);
    }
    for text in ["127.0.0.1:4180", "0.0.0.0:4180", "nowhere"] {
        refused("VESTIBULE_OPS_LISTEN", text);
    }
}

#[test]
fn public_paths_are_exact_or_end_in_a_wildcard_segment() {
    let paths = with(&[("VESTIBULE_PUBLIC_PATHS", "/healthz, /static/*,/,/a/b/")]).public_paths;
    assert_eq!(paths.exact, ["/healthz", "/", "/a/b/"]);
    assert_eq!(paths.prefixes, ["/static/"]);
    for text in [
        "/*",
        "*",
        "static/*",
        "/a*",
        "/*/a",
        "/a/*/b",
        "/a/**",
        "/%61",
        "/a/../b",
        "/a/./b",
        "//a",
        "/a//*",
        "/a;b",
        "/a\\b",
        "/a?b",
        "/a#b",
        "/ä",
        "/.vestibule",
        "/.vestibule/*",
        "/.vestibule/login",
        "/.Vestibule/login",
        "/.vestibulex",
        "/oidc/callback",
        "/logout",
    ] {
        refused("VESTIBULE_PUBLIC_PATHS", text);
    }
}

#[test]
fn our_own_paths_are_plain_and_differ() {
    let settings = with(&[
        ("VESTIBULE_CALLBACK_PATH", "/oauth2/callback"),
        ("VESTIBULE_LOGOUT_PATH", "/bye"),
    ]);
    assert_eq!(settings.callback_path, "/oauth2/callback");
    assert_eq!(settings.logout_path.as_deref(), Some("/bye"));
    for name in ["VESTIBULE_CALLBACK_PATH", "VESTIBULE_LOGOUT_PATH"] {
        for text in ["/", "x", "/x/*", "/.vestibule/x", "/a?b", "/a%20b", "//x", "/../x"] {
            refused(name, text);
        }
    }
    refused("VESTIBULE_LOGOUT_PATH", "/oidc/callback");
}

#[test]
fn an_empty_logout_path_leaves_it_to_the_app_and_empty_elsewhere_is_unset() {
    assert_eq!(with(&[("VESTIBULE_LOGOUT_PATH", "")]).logout_path, None);
    assert_eq!(
        with(&[("VESTIBULE_CALLBACK_PATH", " ")]).callback_path,
        "/oidc/callback"
    );
    assert_eq!(with(&[("SESSION_LENGTH", "")]).session_length, Duration::from_hours(24));
}

#[test]
fn origins_and_hosts_are_kept_as_browsers_write_them() {
    let settings = with(&[
        (
            "VESTIBULE_ALLOWED_ORIGINS",
            "https://Dash.Example.com:443/,http://x:8080",
        ),
        ("VESTIBULE_EXTRA_HOSTS", "App.Internal.:4180,app,[::1]:1"),
    ]);
    assert_eq!(settings.allowed_origins, ["https://dash.example.com", "http://x:8080"]);
    assert_eq!(settings.extra_hosts, ["app.internal:4180", "app", "[::1]:1"]);
    for text in ["*", "null", "dash.example.com", "https://a/b", "https://*.example.com"] {
        refused("VESTIBULE_ALLOWED_ORIGINS", text);
    }
    for text in ["http://app", "app/x", "*", "*.app", "u@app", "app:x", "app?x"] {
        refused("VESTIBULE_EXTRA_HOSTS", text);
    }
}

#[test]
fn the_audience_is_an_origin() {
    let audience = |text| with(&[("VESTIBULE_ASSERTION_AUDIENCE", text)]).assertion_audience;
    assert_eq!(audience("https://API.example.com:443/"), "https://api.example.com");
    for text in ["my-app", "https://a/b"] {
        refused("VESTIBULE_ASSERTION_AUDIENCE", text);
    }
}

#[test]
fn trusted_proxies_are_networks() {
    let networks = |text| -> Vec<String> {
        let settings = with(&[("VESTIBULE_TRUSTED_PROXIES", text)]);
        settings.trusted_proxies.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        networks("10.0.0.7, 10.1.2.3/8,fd00::/8"),
        ["10.0.0.7/32", "10.0.0.0/8", "fd00::/8"]
    );
    assert_eq!(networks("::ffff:10.0.0.0/104"), ["10.0.0.0/8"]);
    assert_eq!(
        warnings(&[("VESTIBULE_TRUSTED_PROXIES", "0.0.0.0/0")]),
        ["VESTIBULE_TRUSTED_PROXIES"]
    );
    for text in ["10.0.0.0/33", "proxy", "10.0.0", "*"] {
        refused("VESTIBULE_TRUSTED_PROXIES", text);
    }
    assert_eq!(
        with(&[("VESTIBULE_TRUSTED_PROXY_HEADER", "Forwarded")]).trusted_proxy_header,
        ForwardingHeader::Forwarded
    );
    refused("VESTIBULE_TRUSTED_PROXY_HEADER", "x-real-ip");
}

#[test]
fn a_database_outlives_the_gateway() {
    let file = |text| match with(&[PUBLIC, ("VESTIBULE_DATABASE_URL", text)]).database {
        Database::Sqlite(file) => file.display().to_string(),
        Database::Postgres(_) => panic!("a file was meant"),
    };
    assert_eq!(file("sqlite:/srv/v.db"), "/srv/v.db");
    assert_eq!(file("sqlite:///srv/v.db"), "/srv/v.db");
    refused_for("VESTIBULE_DATABASE_URL", &[PUBLIC]);
    for text in [
        "sqlite:v.db",
        "sqlite::memory:",
        "sqlite:",
        "sqlite:/srv/",
        "sqlite:/srv/v.db?mode=ro",
        "/srv/v.db",
    ] {
        refused_for("VESTIBULE_DATABASE_URL", &[PUBLIC, ("VESTIBULE_DATABASE_URL", text)]);
    }
    with(&[("VESTIBULE_DATABASE_URL", "sqlite:v.db")]);
    assert_eq!(
        warnings(&[
            ("VESTIBULE_DATABASE_URL", "sqlite:v.db"),
            ("VESTIBULE_DATABASE_POOL", "4")
        ]),
        ["VESTIBULE_DATABASE_POOL"]
    );
}

#[test]
fn a_database_for_several_replicas_needs_their_common_key() {
    let key = ("VESTIBULE_SECRET_KEY", "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=");
    let url = ("VESTIBULE_DATABASE_URL", "postgresql://u:canary@db.example.com/v");
    let Database::Postgres(postgres) = with(&[PUBLIC, url, key]).database else {
        panic!("a server was meant")
    };
    assert_eq!(postgres.place, "db.example.com:5432/v");
    assert_eq!((postgres.pool, postgres.timeout), (8, Duration::from_secs(4)));
    assert!(!format!("{postgres:?}").contains("canary"));
    assert!(refused_for("VESTIBULE_SECRET_KEY", &[PUBLIC, url]).contains("several gateways"));
    for (name, text) in [
        (
            "VESTIBULE_DATABASE_URL",
            "postgres://u:canary@db.example.com/v?sslmode=require",
        ),
        ("VESTIBULE_DATABASE_POOL", "1"),
        ("VESTIBULE_DATABASE_POOL", "many"),
        ("VESTIBULE_DATABASE_TIMEOUT", "0"),
        ("VESTIBULE_DATABASE_TIMEOUT", "2m"),
    ] {
        let mut env = vec![PUBLIC, key, (name, text)];
        if name != "VESTIBULE_DATABASE_URL" {
            env.push(url);
        }
        let told = refused_for(name, &env);
        assert!(!told.contains("canary"), "{told}");
    }
    let unverified = [
        key,
        (
            "VESTIBULE_DATABASE_URL",
            "postgres://u:p@db.example.com/v?sslmode=disable",
        ),
        ("VESTIBULE_DATABASE_ALLOW_UNVERIFIED", "true"),
    ];
    assert_eq!(warnings(&unverified), ["VESTIBULE_DATABASE_ALLOW_UNVERIFIED"]);
}

#[test]
fn secret_keys_are_32_bytes_in_either_base64() {
    let count = |text| match with(&[("VESTIBULE_SECRET_KEY", text)]).secret_keys {
        SecretKeys::Given(keys) => keys.len(),
        SecretKeys::File(_) => 0,
    };
    let standard = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e+/8=";
    let for_urls = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e-_8";
    assert_eq!(count(standard), 1);
    assert_eq!(count(for_urls), 1);
    assert_eq!(count(&format!("{standard}, {for_urls}")), 2);
    for text in [
        "x".to_owned(),
        "AQID".to_owned(),
        format!("{standard},"),
        format!("{standard},AQID"),
        format!("{standard}AA"),
        "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA".to_owned() + "!",
    ] {
        refused("VESTIBULE_SECRET_KEY", &text);
    }
    let made_up = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    assert_eq!(warnings(&[("VESTIBULE_SECRET_KEY", made_up)]), ["VESTIBULE_SECRET_KEY"]);
}

#[test]
fn lengths_of_time_are_read_in_their_unit_and_within_reason() {
    let length = |text| with(&[("SESSION_LENGTH", text)]).session_length;
    assert_eq!(length("720"), Duration::from_hours(720));
    assert_eq!(length("720h"), Duration::from_hours(720));
    assert_eq!(length("90m"), Duration::from_mins(90));
    assert_eq!(
        with(&[("VESTIBULE_SESSION_IDLE", "5")]).session_idle,
        Some(Duration::from_mins(5))
    );
    assert_eq!(with(&[("VESTIBULE_DRAIN_DELAY", "0")]).drain_delay, Duration::ZERO);
    assert_eq!(
        with(&[("VESTIBULE_KEEPALIVE", "90")]).keepalive,
        Duration::from_secs(90)
    );
    for (name, text) in [
        ("SESSION_LENGTH", "0"),
        ("SESSION_LENGTH", "-1"),
        ("SESSION_LENGTH", "24 hours"),
        ("SESSION_LENGTH", "9999999999"),
        ("VESTIBULE_SESSION_IDLE", "0"),
        ("VESTIBULE_UPSTREAM_TIMEOUT", "0"),
        ("VESTIBULE_UPSTREAM_TIMEOUT", "five"),
        ("VESTIBULE_KEEPALIVE", "0"),
        ("VESTIBULE_DRAIN_TIMEOUT", "2d"),
    ] {
        refused(name, text);
    }
}

#[test]
fn threads_are_a_small_number() {
    assert_eq!(with(&[("VESTIBULE_THREADS", "3")]).threads, 3);
    for text in ["0", "257", "two", "1.5", "-1"] {
        refused("VESTIBULE_THREADS", text);
    }
}

#[test]
fn a_misspelt_log_level_is_not_taken_for_a_target() {
    for text in [
        "debug",
        "INFO",
        "info,vestibule::sign_in=debug",
        "warn,audit=off",
        "vestibule=trace",
    ] {
        assert_eq!(with(&[("VESTIBULE_LOG", text)]).log, text);
    }
    for text in ["inof", "info,debgu", "vestibule=loud", "a=b=c"] {
        refused("VESTIBULE_LOG", text);
    }
    refused("VESTIBULE_LOG_FORMAT", "xml");
}

#[test]
fn the_ca_file_is_read_before_it_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let certificate = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap();
    let good = at("good.pem", &certificate.cert.pem());
    assert_eq!(
        with(&[("VESTIBULE_CA_FILE", &good)]).ca_file.unwrap().to_str(),
        Some(good.as_str())
    );
    for text in [
        at("empty.pem", ""),
        at("text.pem", "hello"),
        at("cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n"),
        "/nowhere/ca.pem".to_owned(),
    ] {
        refused("VESTIBULE_CA_FILE", &text);
    }
}

#[test]
fn a_proxy_is_plain_http() {
    for text in ["http://proxy:3128", "proxy:3128", "http://u:p@proxy:3128"] {
        assert!(with(&[("HTTPS_PROXY", text)]).provider_proxy.url.is_some(), "{text}");
    }
    for text in ["socks5://proxy:1", "https://proxy", "http://"] {
        refused("HTTPS_PROXY", text);
    }
    assert_eq!(with(&[("NO_PROXY", "a,b")]).provider_proxy.no_proxy, "a,b");
}
