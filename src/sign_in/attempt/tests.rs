use std::sync::Arc;

use http::HeaderValue;

use super::testing::{NOW, attempts, begun};
use super::{Attempt, Attempts, Found, LIFETIME, LONGEST_TOGETHER};
use crate::config::PublicUrl;
use crate::seal::{Sealer, SecretKey};

/// A browser that keeps what it is told to keep.
fn keep(jar: &mut Vec<(String, String)>, set: &[HeaderValue]) {
    for line in set {
        let line = line.to_str().unwrap();
        let (name, rest) = line.split_once('=').unwrap();
        let value = rest.split(';').next().unwrap();
        jar.retain(|(other, _)| other != name);
        if !line.contains("Max-Age=0") {
            jar.push((name.to_owned(), value.to_owned()));
        }
    }
}

fn size(jar: &[(String, String)]) -> usize {
    jar.iter().map(|(name, value)| name.len() + value.len()).sum()
}

fn is_open(found: &Found, attempt: &Attempt) -> bool {
    matches!(found, Found::Open(open) if open.id == attempt.id && open.return_to == attempt.return_to)
}

#[test]
fn an_attempt_is_found_by_its_state_in_the_browser_that_began_it() {
    let attempts = attempts();
    let mut jar = vec![];
    let (a, set) = attempts.begin("/a".into(), &jar, NOW);
    keep(&mut jar, &set);
    let (b, set) = attempts.begin("/b".into(), &jar, NOW);
    keep(&mut jar, &set);
    for attempt in [&a, &b] {
        assert!(is_open(&attempts.find(&attempt.state(), &jar, NOW), attempt));
    }
    assert!(matches!(attempts.find(&a.state(), &[], NOW), Found::None));
    let other_browser = vec![jar[1].clone()];
    assert!(matches!(attempts.find(&a.state(), &other_browser, NOW), Found::None));
}

#[test]
fn a_state_with_any_byte_changed_finds_nothing() {
    let attempts = attempts();
    let mut jar = vec![];
    let (attempt, set) = attempts.begin("/a".into(), &jar, NOW);
    keep(&mut jar, &set);
    let state = attempt.state();
    for at in 0..state.len() {
        let mut changed = state.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(matches!(attempts.find(&changed, &jar, NOW), Found::None), "{changed}");
    }
    for made_up in [
        String::new(),
        ".".into(),
        attempt.id.clone(),
        format!("{}.", attempt.id),
        format!("{state}A"),
        format!(" {state}"),
        state.to_ascii_uppercase(),
    ] {
        assert!(matches!(attempts.find(&made_up, &jar, NOW), Found::None), "{made_up}");
    }
}

#[test]
fn a_cookie_under_another_name_or_of_another_key_or_changed_does_not_open() {
    let attempts = attempts();
    let mut jar = vec![];
    let (a, set) = attempts.begin("/a".into(), &jar, NOW);
    keep(&mut jar, &set);
    let (b, set) = attempts.begin("/b".into(), &jar, NOW);
    keep(&mut jar, &set);
    let swapped = vec![
        (jar[0].0.clone(), jar[1].1.clone()),
        (jar[1].0.clone(), jar[0].1.clone()),
    ];
    for attempt in [&a, &b] {
        assert!(matches!(attempts.find(&attempt.state(), &swapped, NOW), Found::None));
    }
    let mut changed = jar.clone();
    let len = changed[0].1.len();
    let flipped = if changed[0].1[len / 2..].starts_with('A') {
        "B"
    } else {
        "A"
    };
    changed[0].1.replace_range(len / 2..=len / 2, flipped);
    assert!(matches!(attempts.find(&a.state(), &changed, NOW), Found::None));
    let other_key = Attempts::new(
        &PublicUrl {
            https: false,
            host: "localhost".into(),
            port: Some(4180),
        },
        Arc::new(Sealer::new(&[SecretKey::generate()]).unwrap()),
    );
    assert!(matches!(other_key.find(&a.state(), &jar, NOW), Found::None));
}

#[test]
fn an_attempt_is_over_after_ten_minutes_and_before_it_began() {
    let attempts = attempts();
    let mut jar = vec![];
    let (attempt, set) = attempts.begin("/a".into(), &jar, NOW);
    keep(&mut jar, &set);
    let at = |seconds| attempts.find(&attempt.state(), &jar, NOW.plus(seconds));
    assert!(is_open(&at(LIFETIME - 1), &attempt));
    assert!(matches!(at(LIFETIME), Found::Expired(_)));
    assert!(matches!(at(LIFETIME * 100), Found::Expired(_)));
    assert!(matches!(at(-1), Found::Expired(_)));
}

#[test]
fn cookies_of_attempts_stay_within_6_kb_and_the_oldest_goes_first() {
    let attempts = attempts();
    let mut jar = vec![];
    let mut begun = vec![];
    for n in 0..40 {
        let return_to = format!("/{}", "x".repeat(n * 50));
        let (attempt, set) = attempts.begin(return_to, &jar, NOW.plus(i64::try_from(n).unwrap()));
        keep(&mut jar, &set);
        begun.push(attempt);
        assert!(size(&jar) <= LONGEST_TOGETHER, "{} after {n}", size(&jar));
    }
    let found: Vec<bool> = begun
        .iter()
        .map(|attempt| is_open(&attempts.find(&attempt.state(), &jar, NOW.plus(40)), attempt))
        .collect();
    assert!(
        found.is_sorted() && found.last() == Some(&true),
        "an older one outlived a younger: {found:?}"
    );
    assert!(found.iter().filter(|found| **found).count() > 1);
}

#[test]
fn the_longest_return_address_fits_into_a_cookie_that_browsers_take() {
    let attempts = attempts();
    let (_, set) = attempts.begin(format!("/{}", "x".repeat(2047)), &[], NOW);
    assert!(set[0].len() < 4096, "{}", set[0].len());
}

#[test]
fn what_does_not_open_or_is_over_is_deleted_and_what_is_not_ours_is_left() {
    let attempts = attempts();
    let mut jar = vec![];
    let (_, set) = attempts.begin("/old".into(), &jar, NOW.plus(-LIFETIME));
    keep(&mut jar, &set);
    let old = jar[0].0.clone();
    jar.push(("vestibule-4180-a-0011".into(), "made up".into()));
    jar.push(("vestibule-4180-a-00; Domain=evil.example".into(), "x".into()));
    jar.push(("something-else".into(), "x".into()));
    let (_, set) = attempts.begin("/new".into(), &jar, NOW);
    let lines: Vec<&str> = set.iter().map(|line| line.to_str().unwrap()).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[1..].iter().all(|line| line.contains("Max-Age=0")));
    assert!(lines.iter().any(|line| line.starts_with(&format!("{old}=;"))));
    assert!(lines.iter().any(|line| line.starts_with("vestibule-4180-a-0011=;")));
}

#[test]
fn the_cookie_is_for_this_browser_and_no_script_and_shows_nothing() {
    let (attempt, set) = begun("/secret-page");
    let line = set[0].to_str().unwrap();
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=600"] {
        assert!(line.contains(attribute), "{line}");
    }
    assert!(!line.contains("Secure") && !line.contains("Domain"), "{line}");
    for secret in [&attempt.nonce, &attempt.verifier, &attempt.secret] {
        assert!(!line.contains(secret.as_str()) && !format!("{attempt:?}").contains(secret.as_str()));
    }
    let https = PublicUrl {
        https: true,
        host: "app.example.com".into(),
        port: None,
    };
    let attempts = Attempts::new(&https, Arc::new(Sealer::new(&[SecretKey::generate()]).unwrap()));
    let (_, set) = attempts.begin("/".into(), &[], NOW);
    let line = set[0].to_str().unwrap();
    assert!(
        line.starts_with("__Host-vestibule-a-") && line.contains("Secure"),
        "{line}"
    );
}

#[test]
fn no_two_attempts_share_a_secret() {
    let (a, _) = begun("/");
    let (b, _) = begun("/");
    assert_ne!(a.id, b.id);
    assert_ne!(a.secret, b.secret);
    assert_ne!(a.nonce, b.nonce);
    assert_ne!(a.verifier, b.verifier);
    assert_ne!(a.nonce, a.secret);
    assert_ne!(a.nonce, a.verifier);
}
