//! One path, one meaning.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Ambiguous, Class, Paths};
use crate::config::PublicPaths;

fn paths() -> Paths {
    Paths::new(
        vec!["/oidc/callback".into(), "/logout".into()],
        PublicPaths {
            exact: vec!["/health".into()],
            prefixes: vec!["/public/".into()],
        },
    )
}

fn class(path: &str) -> Result<Class, Ambiguous> {
    paths().classify(path.as_bytes())
}

#[test]
fn plain_paths_are_what_they_say() {
    for (path, expected) in [
        ("/", Class::Protected),
        ("/health", Class::Public),
        ("/health/", Class::Protected),
        ("/Health", Class::Protected),
        ("/public", Class::Protected),
        ("/public/", Class::Public),
        ("/public/a.b", Class::Public),
        ("/PUBLIC/a", Class::Protected),
        ("/logout", Class::Own),
        ("/logout/", Class::Protected),
        ("/oidc/callback", Class::Own),
        ("/.vestibule", Class::Own),
        ("/.vestibule/x", Class::Own),
        ("/.VestiBule/x", Class::Own),
        ("/.vestibulex", Class::Protected),
    ] {
        assert_eq!(class(path), Ok(expected), "{path}");
    }
}

#[test]
fn odd_paths_with_one_meaning_pass() {
    for path in [
        "/a%2Fb//c",
        "/a/../b",
        "/a;x=1/b",
        "/a%20b",
        "/%E2%82%AC",
        "/a/./b",
        "/a%5cb",
        "/~a/b%252Fc",
        "/..;/x",
        "/a%ff",
    ] {
        assert_eq!(class(path), Ok(Class::Protected), "{path}");
    }
    for path in [
        "/public/a%20b",
        "/public/a;b",
        "/public//a",
        "/public/./a",
        "/public/%2e%2e%2e/a",
    ] {
        assert_eq!(class(path), Ok(Class::Public), "{path}");
    }
}

#[test]
fn paths_with_two_meanings_are_refused() {
    for path in [
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/..%2fadmin",
        "/public/..;/admin",
        "/public/..;x/admin",
        "/public/%252e%252e/admin",
        "/public/%252e%252e%252fadmin",
        "/public/..%5cadmin",
        "/public/..%255cadmin",
        "/public%2fx",
        "/public%2Fx",
        "//public/x",
        "/x/../public/a",
        "/%70ublic/a",
        "/public;x/a",
        "/health;x",
        "/health%3bx",
        "/heal%74h",
        "/health%3f",
        "/health%23x",
        "/health%00",
        "/health/x/..%2f..%2fhealth",
        "/./health",
        "/x/%2e%2e/.vestibule/login",
        "/%2evestibule/login",
        "//.vestibule/login",
        "/.vestibule/../x",
        "/.vestibule%2flogin",
        "/%2e%76estibule",
        "/.vestibule;x/login",
        "/.vestibule%3b/login",
        "/x/..;/.vestibule",
        "/.vestibule%5clogin",
        "/a%5c..%5c.vestibule",
        "/logout;x",
        "/logout%3f",
        "/%6cogout",
        "//logout",
        "/./logout",
        "/logout/.%2e/logout",
        "/oidc%2fcallback",
        "/oidc//callback",
        "/oidc/./callback",
        "/oidc/callback%23",
        "/public/%c0%ae%c0%ae/admin",
        "/public/%c0%ae%c0%ae%c0%afadmin",
        "/%c0%aevestibule",
        "/public/%25%32%65%25%32%65/admin",
        "/public/.%2e/admin",
        "/public/%2e./admin",
        "/public/a/../../admin",
        "/public/..",
        "/public/../",
        "/.%2f.vestibule",
        "/.vestibule/..;/..;/x",
        // A reader that takes `%2e` for a dot but leaves `%2f` alone (URL Standard) climbs further than one that decodes
        // both.
        "/public/a%2fb/%2e%2e/%2e%2e/admin",
        "/public/a%2Fb/.%2E/..%2e/../%2e%2e/admin",
        "/public/a%2fb/%252e%252e/%252e%252e/admin",
        "/public/a%252fb/%2e%2e/%2e%2e/admin",
        "/public/a%5cb/%2e%2e/%2e%2e/admin",
        "/public/a%2fb/..%3bx/..%3bx/admin",
    ] {
        assert_eq!(class(path), Err(Ambiguous), "{path}");
    }
}

#[test]
fn a_path_made_to_be_read_for_long_is_refused_soon() {
    let started = Instant::now();
    for path in [
        format!("/{}2f", "%25".repeat(20_000)),
        format!("/%{}2f", "25".repeat(30_000)),
        format!("/{}", "%2525;/../".repeat(6_000)),
        format!("/{}%61", "a/".repeat(30_000)),
        format!("/{}", "%252525252525//;%2e%2e/./".repeat(40)),
        format!("/public/{}", "%2525252f;%255c..//".repeat(30)),
    ] {
        let _ = class(&path);
    }
    // Generous: unoptimized, on a busy machine. It took minutes before readings were counted in bytes.
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(class(&format!("/{}", "a%20".repeat(15_000))), Ok(Class::Protected));
}

#[test]
fn bytes_that_no_path_may_hold_are_refused() {
    for path in [
        "/a\\b", "/a\0", "/a%00b", "/a%2500b", "/\u{e9}", "/a b", "/a#b", "/a\tb", "/a\x7f",
    ] {
        assert_eq!(class(path), Err(Ambiguous), "{path:?}");
    }
}

/// A careless but thorough reader, written apart from the code above. It decodes `escapes` only, or all.
fn careless(path: &str, decodes: usize, escapes: &[&str], backslash: bool, parameters: bool, merge: bool) -> String {
    let mut path = path.to_owned();
    for _ in 0..decodes {
        if escapes.is_empty() {
            path = percent_encoding::percent_decode_str(&path)
                .decode_utf8_lossy()
                .into_owned();
        }
        for escape in escapes {
            let plain = percent_encoding::percent_decode_str(escape).decode_utf8_lossy();
            path = path.replace(escape, &plain).replace(&escape.to_uppercase(), &plain);
        }
    }
    if backslash {
        path = path.replace('\\', "/");
    }
    let mut out: Vec<String> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let last = segments.len().saturating_sub(1);
    for (at, segment) in segments.iter().enumerate() {
        let segment = if parameters {
            segment.split(';').next().unwrap_or_default()
        } else {
            segment
        };
        match segment {
            "" if merge && at != last => {}
            "." | ".." => {
                if segment == ".." {
                    out.pop();
                }
                if at == last {
                    out.push(String::new());
                }
            }
            _ => out.push(segment.to_owned()),
        }
    }
    format!("/{}", out.join("/"))
}

proptest! {
    #[test]
    fn no_reader_finds_a_protected_path_behind_a_public_one(
        parts in proptest::collection::vec(prop_oneof![
            Just("/"), Just("."), Just(".."), Just("%2f"), Just("%2e"), Just("%252e"), Just(";"), Just("%5c"), Just("public"), Just("health"),
            Just("admin"), Just(".vestibule"), Just("logout"), Just("%3b"), Just("%25"), Just("2e"), Just("2f"), Just("x"),
            Just("/%2e%2e/"), Just("/x%2fy"), Just("/..;/"),
        ], 0..10),
        start in prop_oneof![Just("/"), Just("/public/")],
        escapes in prop_oneof![Just(&[][..]), Just(&["%2e"][..]), Just(&["%2e", "%3b", "%5c"][..]), Just(&["%2e", "%3b"][..])],
        decodes in 0_usize..3, backslash: bool, parameters: bool, merge: bool,
    ) {
        let path = format!("{start}{}", parts.concat());
        if let Ok(class) = paths().classify(path.as_bytes()) {
            let read = careless(&path, decodes, escapes, backslash, parameters, merge);
            prop_assert_eq!(paths().class_of(read.as_bytes()), class, "{} read as {}", path, read);
        }
    }
}
