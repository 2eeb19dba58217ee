use proptest::prelude::*;

use super::{OurPaths, checked, from_query, login_location};
use crate::config::PublicUrl;

fn ours() -> OurPaths {
    OurPaths {
        public: PublicUrl {
            https: true,
            host: "app.example.com".into(),
            port: None,
        },
        callback: "/oidc/callback".into(),
        logout: Some("/logout".into()),
    }
}

/// Addresses by which somebody would lead a person elsewhere, or into a loop. Each must become `/`.
const HOSTILE: &[&str] = &[
    "",
    " ",
    "//evil.example",
    "//evil.example/",
    "///evil.example",
    "////evil.example/a",
    "/\\evil.example",
    "/\\/evil.example",
    "\\/evil.example",
    "\\\\evil.example",
    "\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r/evil.example",
    "/\t\\evil.example",
    "\t//evil.example",
    " //evil.example",
    "\u{0}//evil.example",
    "/\u{0}/evil.example",
    "/\u{b}/evil.example",
    "/\u{7f}/evil.example",
    "/\u{85}/evil.example",
    "/\u{2028}/evil.example",
    "/\u{feff}/evil.example",
    "/a\r\nLocation: https://evil.example",
    "/a\r\nSet-Cookie: vestibule=x",
    "/a\nb",
    "/a?b\r\nc: d",
    "https://evil.example",
    "https://evil.example/",
    "HTTPS://EVIL.EXAMPLE/",
    "http://evil.example/",
    "https:/evil.example",
    "https:evil.example",
    "https:///evil.example",
    "https:\\\\evil.example",
    "http:evil.example",
    "//app.example.com",
    "//app.example.com/",
    "//app.example.com@evil.example/",
    "http://app.example.com/",
    "https://app.example.com@evil.example/",
    "https://app.example.com:x@evil.example/",
    "https://app.example.com:443@evil.example/",
    "https://app.example.com.evil.example/",
    "https://app.example.comevil.example/",
    "https://app.example.com:4443/",
    "https://app.example.com:4430/",
    "https://app.example.com:/",
    "https://app.example.com\\evil.example/",
    "https://app.example.com\\@evil.example/",
    "https://app.example.com%2eevil.example/",
    "https://app.example.com%40evil.example/",
    "https://app.example.com;@evil.example/",
    "https://app.example.com&@evil.example/",
    "https://evil.example/https://app.example.com/",
    "https://evil.example?https://app.example.com/",
    "https://evil.example#https://app.example.com/",
    "https://evil.example\\.app.example.com/",
    "https://user@app.example.com/",
    "https://app.example.com./",
    "https://app.example.com//evil.example",
    "https://app.example.com/\\evil.example",
    "https://app.example.com//",
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    " javascript:alert(1)",
    "java\nscript:alert(1)",
    "javascript://app.example.com/%0aalert(1)",
    "javascript://%0aalert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:msgbox(1)",
    "file:///etc/passwd",
    "blob:https://app.example.com/x",
    "about:blank",
    "ftp://evil.example/",
    "mailto:a@evil.example",
    "intent://evil.example#Intent;scheme=https;end",
    "evil.example",
    "evil.example/path",
    "www.evil.example",
    "a",
    "a/b",
    "./a",
    "../a",
    "?a=b",
    "#a",
    "@evil.example",
    ":evil.example",
    ":443/a",
    ".evil.example",
    "/.//evil.example",
    "/./\\evil.example",
    "/..//evil.example",
    "/a/..//evil.example",
    "/a/../\\evil.example",
    "/a/b/../..//evil.example",
    "/%2fevil.example",
    "/%2Fevil.example",
    "/%2f%2fevil.example",
    "/%5cevil.example",
    "/%5Cevil.example",
    "/%5c%5cevil.example",
    "/%09/evil.example",
    "/%0a/evil.example",
    "/%0d/evil.example",
    "/%00/evil.example",
    "/%0d%0aSet-Cookie:a=b",
    "/%2e//evil.example",
    "/%2e%2e//evil.example",
    "/a/%2e%2e//evil.example",
    "/%2e%2f%2fevil.example",
    "/%252fevil.example",
    "/%255cevil.example",
    "/%25252fevil.example",
    "/a\\..\\..\\evil.example",
    "/;/../\\evil.example",
    "/\u{200b}\\evil.example",
    "\u{ff0f}\u{ff0f}evil.example",
    "\u{3002}evil.example",
    "/.vestibule",
    "/.vestibule/",
    "/.vestibule/login",
    "/.vestibule/logout",
    "/.vestibule/login?rd=/a",
    "/.Vestibule/login",
    "/%2evestibule/login",
    "/%2Evestibule/login",
    "/%252evestibule/login",
    "/.vestibule%2flogout",
    "/.v%65stibule/logout",
    "/./.vestibule/logout",
    "/a/../.vestibule/logout",
    "/a/%2e%2e/.vestibule/logout",
    "/.vestibule;x/logout",
    "/.vestibule/;x/logout",
    "/oidc/callback",
    "/oidc/callback?code=a&state=b",
    "/oidc//callback",
    "/oidc/./callback",
    "/oidc/callback/",
    "/OIDC/callback",
    "/oidc%2fcallback",
    "/logout",
    "/logout?x",
    "/logout#x",
    "/logout/",
    "/./logout",
    "/%6cogout",
    "/logout;x",
    "https://app.example.com/logout",
    "https://app.example.com/.vestibule/logout",
];

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[test]
fn no_hostile_address_leads_anywhere_raw_and_percent_encoded_once_and_twice() {
    assert!(HOSTILE.len() >= 100);
    for address in HOSTILE {
        for form in [(*address).to_owned(), encoded(address), encoded(&encoded(address))] {
            assert_eq!(checked(&form, &ours()), "/", "{form:?} as it stands");
            for query in [format!("rd={form}"), format!("x=1&rd={}", encoded(&form))] {
                let result = from_query(Some(&query), &ours());
                // A raw `&`, `#` or `+` in a query ends or changes the value; what is left must still be a path here.
                assert_harmless(&result);
                if form != *address {
                    assert_eq!(result, "/", "{query:?}");
                }
            }
        }
    }
}

#[test]
fn a_path_comes_back_byte_for_byte() {
    for target in [
        "/",
        "/a",
        "/a/b/",
        "/a?b=c&d=e",
        "/a%2Fb//c?x=%2f%2F&y=+%20&z",
        "/a?rd=https://evil.example/",
        "/a?b=//evil.example",
        "/a?b=\\",
        "/a;v=1/b",
        "/caf%C3%A9?q=%E2%82%AC",
        "/a'b\"c<d>e|f^g`h{i}j",
        "/logouts",
        "/logout/x",
        "/.vestibules",
        "/oidc/callbacks",
        "/a?",
        "/?",
        "/?a",
        "/%",
        "/%zz?%",
        "/~user/-_.!*'()",
        "/a:b@c",
        "/@evil.example",
        "/a?q=a+b&r=a%2Bb",
    ] {
        let location = login_location(target);
        let query = location.split_once('?').map(|(_, query)| query);
        assert_eq!(from_query(query, &ours()), target, "{location}");
    }
}

#[test]
fn an_absolute_url_of_our_own_origin_counts_as_its_path() {
    for (address, path) in [
        ("https://app.example.com", "/"),
        ("https://app.example.com/", "/"),
        ("https://app.example.com/a?b#c", "/a?b#c"),
        ("HTTPS://App.Example.COM/A", "/A"),
        ("https://app.example.com:443/a", "/a"),
        ("https://app.example.com?a=b", "/?a=b"),
    ] {
        assert_eq!(checked(address, &ours()), path, "{address}");
    }
    let mut with_port = ours();
    with_port.public = PublicUrl {
        https: false,
        host: "localhost".into(),
        port: Some(4180),
    };
    assert_eq!(checked("http://localhost:4180/a", &with_port), "/a");
    for other in [
        "http://localhost/a",
        "http://localhost:4181/a",
        "http://localhost:41800/a",
        "https://localhost:4180/a",
        "http://localhost:4180:80/a",
    ] {
        assert_eq!(checked(other, &with_port), "/", "{other}");
    }
}

#[test]
fn what_a_header_cannot_hold_is_encoded() {
    assert_eq!(checked("/caf\u{e9} au lait", &ours()), "/caf%C3%A9%20au%20lait");
}

#[test]
fn a_long_address_keeps_its_path_only() {
    let long = format!("/page?q={}", "x".repeat(2048));
    assert_eq!(checked(&long, &ours()), "/page");
    assert_eq!(login_location(&long), "/.vestibule/login?rd=/page");
    assert_eq!(checked(&format!("/{}", "x".repeat(2048)), &ours()), "/");
    assert_eq!(login_location(&format!("/{}", "x".repeat(2048))), "/.vestibule/login");
    let encoded_long = "/caf\u{e9}".repeat(400);
    assert!(checked(&encoded_long, &ours()).len() <= 2048);
}

#[test]
fn several_return_addresses_are_none() {
    assert_eq!(from_query(Some("rd=/a&rd=/b"), &ours()), "/");
    assert_eq!(from_query(None, &ours()), "/");
}

fn assert_harmless(result: &str) {
    assert!(result.starts_with('/'), "{result:?}");
    assert!(!result.starts_with("//") && !result.starts_with("/\\"), "{result:?}");
    assert!(result.bytes().all(|b| (0x21..=0x7e).contains(&b)), "{result:?}");
    assert!(http::HeaderValue::from_str(result).is_ok(), "{result:?}");
    let base = url::Url::parse("https://app.example.com/.vestibule/login").unwrap();
    let joined = base.join(result).unwrap();
    assert_eq!(joined.origin(), base.origin(), "{result:?}");
    assert!(!joined.path().starts_with("//"), "{result:?}");
    assert!(!format!("{}/", joined.path()).starts_with("/.vestibule/"), "{result:?}");
}

#[test]
fn people_come_back_to_the_console_and_to_nothing_else_of_ours() {
    for target in [
        "/.vestibule/console",
        "/.vestibule/console/",
        "/.vestibule/console/people/u_1-x?q=a%20b&sort=name",
    ] {
        assert_eq!(checked(target, &ours()), target);
    }
    for target in [
        "/.vestibule/consolex",
        "/.vestibule/console/../logout",
        "/.vestibule/console/%2e%2e/logout",
        "/.vestibule/console//people",
        "/.vestibule/console/;/x",
        "/.VESTIBULE/console/",
        "/.vestibule/console/.",
        "/x/../.vestibule/console/",
    ] {
        assert_eq!(checked(target, &ours()), "/", "{target}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_asked_for_the_browser_stays_here(address in ".{0,60}") {
        assert_harmless(&checked(&address, &ours()));
    }

    #[test]
    fn pieces_of_attacks_stay_here(pieces in proptest::collection::vec(
        prop_oneof![
            Just("/"), Just("\\"), Just("//"), Just("%2f"), Just("%5c"), Just("%252f"), Just("%255C"), Just("."), Just(".."),
            Just("%2e"), Just("evil.example"), Just("https:"), Just("app.example.com"), Just("@"), Just(":"), Just("\t"),
            Just("\n"), Just("%0a"), Just("%00"), Just("?"), Just("#"), Just(";"), Just("a"), Just(".vestibule"),
            Just("%"), Just("%25"), Just("logout"), Just(" "), Just("\u{e9}"),
        ], 0..10)) {
        let address = pieces.concat();
        assert_harmless(&checked(&address, &ours()));
        assert_harmless(&checked(&format!("/{address}"), &ours()));
        let raw_query = format!("rd={address}");
        assert_harmless(&from_query(Some(&raw_query), &ours()));
    }

    #[test]
    fn every_plain_target_comes_back_byte_for_byte(target in "/[a-zA-Z0-9_~%&=+;:@,!$'()*-]{1,40}(\\?[ -~&&[^ #]]{0,40})?") {
        let query = login_location(&target);
        let query = query.split_once('?').map(|(_, query)| query);
        // `%` may begin an encoded slash or dot: those that a reading makes hostile are `/` by rule.
        let back = from_query(query, &ours());
        prop_assert!(back == target || (back == "/" && (target.contains('%') || target.contains(';') || target.starts_with("/logout"))), "{} came back as {}", target, back);
    }
}
