//! Strict reading: one Host that is ours, one framing, a path that means one thing.

use crate::support::Wire;

/// Sends each with a live session; each must be refused and the app must see nothing.
fn refused(wire: &Wire, requests: &[&str], status: u16) {
    for request in requests {
        let request = request.replace("COOKIE", &wire.cookie);
        let answer = wire.raw(request.as_bytes());
        assert_eq!(answer.status, status, "{request:?} got {answer:?}");
        assert!(wire.app.seen().is_empty(), "{request:?} reached the app");
    }
}

#[test]
fn a_request_without_host_or_with_two_is_400() {
    let wire = Wire::start();
    refused(
        &wire,
        &[
            "GET / HTTP/1.1\r\nCookie: COOKIE\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: app.test\r\nHost: app.test\r\nCookie: COOKIE\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: app.test\r\nHost: evil.test\r\nCookie: COOKIE\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\nCookie: COOKIE\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: app.test,app.test\r\nCookie: COOKIE\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: user@app.test\r\nCookie: COOKIE\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: app.test/x\r\nCookie: COOKIE\r\n\r\n",
            "GET /health HTTP/1.1\r\n\r\n",
        ],
        400,
    );
}

#[test]
fn host_is_compared_by_case_default_port_and_one_trailing_dot() {
    let wire = Wire::start();
    for host in ["app.test", "APP.Test", "app.test.", "app.test:80", "app.internal"] {
        let answer = wire.ask(
            "GET /x",
            &[&format!("Host: {host}"), &format!("Cookie: {}", wire.cookie)],
        );
        assert_eq!(answer.status, 200, "{host}");
        assert_eq!(wire.app.seen().pop().unwrap().values("host"), [host]);
    }
}

#[test]
fn another_host_gets_308_as_a_page_and_421_as_a_program() {
    let wire = Wire::start();
    let cookie = format!("Cookie: {}", wire.cookie);
    for host in ["evil.test", "app.test:8080", "app.test..", "127.0.0.1", "xapp.test"] {
        let host = format!("Host: {host}");
        let answer = wire.ask("GET /a/b?c=d%20e", &[&host, &cookie, "Accept: text/html"]);
        assert!(
            answer.status == 308 || (host == "Host: app.test.." && answer.status == 400),
            "{host} {answer:?}"
        );
        if answer.status == 308 {
            assert_eq!(answer.field("location"), Some("http://app.test/a/b?c=d%20e"));
        }
        assert!(matches!(wire.ask("GET /a", &[&host, &cookie]).status, 421 | 400));
        assert!(matches!(
            wire.ask("POST /a", &[&host, &cookie, "Accept: text/html", "Content-Length: 0"])
                .status,
            421 | 400
        ));
        assert!(matches!(wire.ask("GET /health", &[&host]).status, 421 | 400));
    }
    assert!(wire.app.seen().is_empty());
}

#[test]
fn absolute_form_is_taken_for_our_own_origin_only_and_goes_on_in_origin_form() {
    let wire = Wire::start();
    refused(
        &wire,
        &[
            "GET http://evil.test/ HTTP/1.1\r\nHost: app.test\r\nCookie: COOKIE\r\n\r\n",
            "GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\nCookie: COOKIE\r\n\r\n",
            "GET http://app.test/ HTTP/1.1\r\nHost: app.internal\r\nCookie: COOKIE\r\n\r\n",
            "GET ftp://app.test/ HTTP/1.1\r\nHost: app.test\r\nCookie: COOKIE\r\n\r\n",
            "GET http://user@app.test/ HTTP/1.1\r\nHost: app.test\r\nCookie: COOKIE\r\n\r\n",
        ],
        400,
    );
    let answer = wire.raw(
        format!(
            "GET http://app.test/a?b HTTP/1.1\r\nHost: app.test\r\nCookie: {}\r\n\r\n",
            wire.cookie
        )
        .as_bytes(),
    );
    assert_eq!(answer.status, 200);
    assert!(wire.app.seen()[0].head.starts_with("GET /a?b HTTP/1.1\r\n"));
}

#[test]
fn connect_and_trace_are_405_and_other_methods_pass() {
    let wire = Wire::start();
    refused(
        &wire,
        &[
            "TRACE / HTTP/1.1\r\nHost: app.test\r\nCookie: COOKIE\r\n\r\n",
            "CONNECT app.test:80 HTTP/1.1\r\nHost: app.test:80\r\nCookie: COOKIE\r\n\r\n",
        ],
        405,
    );
    for method in ["PROPFIND", "PURGE", "PATCH", "OPTIONS"] {
        assert_eq!(wire.signed_in(&format!("{method} /x"), &[]).status, 200, "{method}");
    }
}

#[test]
fn odd_transfer_codings_are_400() {
    let wire = Wire::start();
    for coding in [
        "gzip, chunked",
        "chunked, chunked",
        "identity",
        "xchunked",
        "chunked, gzip",
        "gzip",
        "\"chunked\"",
    ] {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: app.test\r\nCookie: {}\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n",
            wire.cookie
        );
        assert_eq!(wire.raw(request.as_bytes()).status, 400, "{coding}");
    }
    let two = format!(
        "POST / HTTP/1.1\r\nHost: app.test\r\nCookie: {}\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        wire.cookie
    );
    assert_eq!(wire.raw(two.as_bytes()).status, 400);
    let old = format!(
        "POST / HTTP/1.0\r\nHost: app.test\r\nCookie: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        wire.cookie
    );
    assert_eq!(wire.raw(old.as_bytes()).status, 400);
    assert!(wire.app.seen().is_empty());
}

#[test]
fn smuggling_shapes_reach_the_app_as_one_well_formed_request_or_not_at_all() {
    let wire = Wire::start();
    let hidden = "GET /admin HTTP/1.1\r\nHost: app.test\r\nX-Vestibule-Assertion: evil\r\n\r\n";
    let shapes = [
        // Both lengths.
        format!(
            "POST /x HTTP/1.1\r\nHost: app.test\r\nCookie: COOKIE\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
        ),
        format!(
            "POST /x HTTP/1.1\r\nHost: app.test\r\nCookie: COOKIE\r\nTransfer-Encoding: chunked\r\nContent-Length: {}\r\n\r\n0\r\n\r\n{hidden}",
            5 + hidden.len()
        ),
        // Lengths that disagree, or are no numbers.
        format!(
            "POST /x HTTP/1.1\r\nHost: app.test\r\nCookie: COOKIE\r\nContent-Length: 0\r\nContent-Length: {}\r\n\r\n{hidden}",
            hidden.len()
        ),
        format!("POST /x HTTP/1.1\r\nHost: app.test\r\nCookie: COOKIE\r\nContent-Length: +0\r\n\r\n{hidden}"),
        format!("POST /x HTTP/1.1\r\nHost: app.test\r\nCookie: COOKIE\r\nContent-Length: 0x0\r\n\r\n{hidden}"),
        format!("POST /x HTTP/1.1\r\nHost: app.test\r\nCookie: COOKIE\r\nContent-Length: 0, 0\r\n\r\n{hidden}"),
        // Spelled so that one reader sees it and another does not.
        format!(
            "POST /x HTTP/1.1\r\nHost: app.test\r\nCookie: COOKIE\r\nTransfer-Encoding : chunked\r\nContent-Length: 0\r\n\r\n{hidden}"
        ),
        format!(
            "POST /x HTTP/1.1\r\nHost: app.test\r\nCookie: COOKIE\r\nX: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n{hidden}"
        ),
        "POST /x HTTP/1.1\r\nHost: app.test\r\nCookie: COOKIE\r\nTransfer_Encoding: chunked\r\nContent-Length: 0\r\n\r\n".to_string(),
        // Chunk sizes.
        format!(
            "POST /x HTTP/1.1\r\nHost: app.test\r\nCookie: COOKIE\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n{hidden}"
        ),
        format!(
            "POST /x HTTP/1.1\r\nHost: app.test\r\nCookie: COOKIE\r\nTransfer-Encoding: chunked\r\n\r\n-0\r\n\r\n{hidden}"
        ),
        format!(
            "POST /x HTTP/1.1\r\nHost: app.test\r\nCookie: COOKIE\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n{hidden}"
        ),
        // Bare CR, NUL in a value.
        "GET /x HTTP/1.1\r\nHost: app.test\r\nCookie: COOKIE\r\nX: a\rX-Vestibule-Assertion: evil\r\n\r\n".to_owned(),
        "GET /x HTTP/1.1\r\nHost: app.test\r\nCookie: COOKIE\r\nX: a\0b\r\n\r\n".to_owned(),
        // Bare LF: as two fields, one of them stripped.
        "GET /x HTTP/1.1\nHost: app.test\nCookie: COOKIE\nX-Vestibule-Assertion: evil\n\n".to_owned(),
    ];
    for shape in shapes {
        wire.app.forget();
        let mut client = wire.connect();
        client.send(shape.replace("COOKIE", &wire.cookie).as_bytes());
        client.finish_sending();
        while !client.answer().broken {}
        for seen in wire.app.seen() {
            let path = seen.head.split(' ').nth(1).unwrap();
            assert_eq!(path, "/x", "{shape:?} let through {seen:?}");
            let assertions = seen.values("x-vestibule-assertion");
            assert!(
                assertions.len() == 1 && assertions[0].starts_with("eyJ"),
                "{shape:?} let through {seen:?}"
            );
            let framings = seen.values("content-length").len() + seen.values("transfer-encoding").len();
            assert!(framings <= 1, "{shape:?} let through {seen:?}");
        }
    }
}

#[test]
fn a_path_with_two_meanings_is_400_and_one_with_one_meaning_passes_byte_for_byte() {
    let wire = Wire::start();
    for path in [
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/..%2fadmin",
        "/public/..;/admin",
        "/public/%252e%252e/admin",
        "/public/..%5cadmin",
        "/public/a%2fb/%2e%2e/%2e%2e/admin",
        "/public%2fx",
        "//public/x",
        "/%70ublic/a",
        "/health;x",
        "/health%3f",
        "/health%23",
        "/%2evestibule/login",
        "//.vestibule/login",
        "/.vestibule/../x",
        "/.vestibule%2flogin",
        "/x/..;/.vestibule",
        "/logout;x",
        "/%6cogout",
        "/oidc%2fcallback",
        "/oidc//callback",
        "/a\\b",
        "/a%00b",
        "/a\u{e9}",
        "/?q=\u{e9}",
    ] {
        for cookie in [Some(&wire.cookie), None] {
            let cookie = cookie.map_or_else(String::new, |cookie| format!("Cookie: {cookie}\r\n"));
            let answer = wire.raw(format!("GET {path} HTTP/1.1\r\nHost: app.test\r\n{cookie}\r\n").as_bytes());
            assert_eq!(answer.status, 400, "{path}");
            assert!(wire.app.seen().is_empty(), "{path} reached the app");
        }
    }
    for target in [
        "/a%2Fb//c",
        "/a/./b",
        "/a;x=1/b?c;d",
        "/%E2%82%AC?x=%00%ff",
        "/a?b=/../.vestibule",
        "/a?url=http://x/%2e%2e\\",
        "/?",
        "/a?&&==",
        "/~a!$&'()*+,:@",
    ] {
        wire.app.forget();
        assert_eq!(wire.signed_in(&format!("GET {target}"), &[]).status, 200, "{target}");
        assert!(
            wire.app.seen()[0]
                .head
                .starts_with(&format!("GET {target} HTTP/1.1\r\n")),
            "{target} became {:?}",
            wire.app.seen()[0]
        );
    }
}

#[test]
fn what_is_below_vestibule_never_reaches_the_app() {
    let wire = Wire::start();
    for path in [
        "/.vestibule",
        "/.vestibule/",
        "/.vestibule/x",
        "/.VESTIBULE/login",
        "/.vestibule/auth",
        "/.vestibule/Console/",
        "/.vestibule/login/",
        "/.vestibule/healthz",
    ] {
        for method in ["GET", "POST", "OPTIONS", "DELETE"] {
            let answer = wire.signed_in(&format!("{method} {path}"), &["Content-Length: 0"]);
            assert_eq!(answer.status, 404, "{method} {path}");
        }
    }
    assert!(wire.app.seen().is_empty());
}

#[test]
fn heads_are_limited_in_size_and_number() {
    let wire = Wire::start();
    let many = "X-Many: y\r\n".repeat(110);
    let large = format!("X-Large: {}\r\n", "a".repeat(70 * 1024));
    for extra in [many, large] {
        let answer = wire.raw(
            format!(
                "GET /x HTTP/1.1\r\nHost: app.test\r\nCookie: {}\r\n{extra}\r\n",
                wire.cookie
            )
            .as_bytes(),
        );
        assert_eq!(answer.status, 431);
    }
    assert!(wire.app.seen().is_empty());
    let fits = format!("X-Large: {}", "a".repeat(40 * 1024));
    assert_eq!(wire.signed_in("GET /x", &[&fits]).status, 200);
}

#[test]
fn http_1_0_is_served_and_closed() {
    let wire = Wire::start();
    let mut client = wire.connect();
    client.send(format!("GET /x HTTP/1.0\r\nCookie: {}\r\n\r\n", wire.cookie).as_bytes());
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "from app"));
    assert!(client.closes_within(std::time::Duration::from_secs(2)));
    let seen = &wire.app.seen()[0];
    assert!(seen.head.starts_with("GET /x HTTP/1.1\r\n"));
    assert_eq!(seen.values("host"), ["app.test"]);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let wire = Wire::start();
    let mut client = wire.connect();
    let one = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: app.test\r\nCookie: {}\r\n\r\n",
            wire.cookie
        )
    };
    client.send(
        [one("/204"), one("/x"), one("/health"), one("/304")]
            .concat()
            .as_bytes(),
    );
    assert_eq!(
        [
            client.answer().status,
            client.answer().status,
            client.answer().status,
            client.answer().status
        ],
        [204, 200, 200, 304]
    );
}
