//! Names that are hostile to filters, distinguished names, lists and headers, against a real directory.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::json;

use crate::house::House;
use crate::slapd::{BASE, ROOT, Slapd};

/// What people are called here; all of it is one name each.
const NAMES: [&str; 14] = [
    "comma, plus + and \"quotes\"",
    "back\\slash \\2a \\\\",
    "star * (and) parentheses)(uid=*",
    "#hash;semi<colon>=equals",
    "Jürgen Größe-Ñandú",
    "Ångström Ωmega Жук",
    "李小龍",
    "crab 🦀 👩‍👩‍👧 flag 🏳️‍🌈",
    "{login}",
    "{dn}{username}",
    "CORP\\\\two backslashes",
    "' OR 1=1 --",
    "%00%2a%28",
    "<b>&amp;\u{a0}no-break",
];
/// The group that is allowed.
const GROUP: &str = "Müller + Söhne, \"x\" \\ (*); #1 = 🦀";

/// A value of a distinguished name (RFC 4514, section 2.4).
fn in_dn(value: &str) -> String {
    value
        .bytes()
        .map(|byte| format!("\\{byte:02x}"))
        .collect::<Vec<_>>()
        .concat()
}

/// A line of LDIF that holds any text (RFC 2849).
fn line(name: &str, value: &str) -> String {
    format!("{name}:: {}\n", STANDARD.encode(value))
}

fn person(name: &str, number: usize) -> (String, String) {
    let dn = format!("cn={},ou=people,{BASE}", in_dn(name));
    let ldif = [
        line("dn", &dn),
        "objectClass: inetOrgPerson\n".to_owned(),
        line("cn", name),
        line("sn", name),
        line("uid", name),
        format!("mail: p{number}@example.com\n"),
        line("userPassword", &format!("of {name}")),
        "\n".to_owned(),
    ];
    (dn, ldif.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn people_with_any_name_sign_in_as_themselves_and_are_found_in_their_groups() {
    let Some(slapd) = Slapd::start() else { return };
    let group = format!("cn={},ou=groups,{BASE}", in_dn(GROUP));
    let mut ldif = String::new();
    let mut members = String::new();
    for (number, name) in NAMES.iter().enumerate() {
        let (dn, text) = person(name, number);
        ldif += &text;
        members += &line("member", &dn);
    }
    let above = format!("cn=above,ou=groups,{BASE}");
    ldif += &[
        line("dn", &group),
        "objectClass: groupOfNames\n".to_owned(),
        line("cn", GROUP),
        members,
        "\n".to_owned(),
    ]
    .concat();
    ldif += &[
        line("dn", &above),
        "objectClass: groupOfNames\ncn: above\n".to_owned(),
        line("member", &group),
        "\n".to_owned(),
    ]
    .concat();
    slapd.add(ROOT, "root", &ldif);
    // By its name, in full, by the group above it; found in `memberOf`, and by a filter.
    let full = group.replace("ou=groups", "OU=Groups ");
    for (list, filter) in [
        (GROUP, None),
        (full.as_str(), None),
        ("above", None),
        (GROUP, Some("(member={dn})")),
    ] {
        let house = House::with(&slapd, |settings| {
            let ldap = settings.ldap.as_mut().unwrap();
            ldap.allow_list = Some(vec![list.to_owned()]);
            if let Some(filter) = filter {
                ldap.group_filter = Some(filter.to_owned());
                ldap.attributes.group = "description".into();
            }
        })
        .await;
        for (number, name) in NAMES.iter().enumerate() {
            let who = house.lets_in(name, &format!("of {name}")).await;
            assert_eq!(who["email"], format!("p{number}@example.com"), "{name}");
            // Names are shown without what can't be seen.
            let shown = name.replace(['\u{200d}', '\u{fe0f}'], "").replace('\u{a0}', " ");
            assert_eq!(who["name"], shown, "{name}");
            assert_eq!(who["groups"], json!(["above", GROUP]), "{name}");
        }
        assert_eq!(house.users().await.len(), NAMES.len());
        house.turns_away("ann", "ann's password", StatusCode::FORBIDDEN).await;
        house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blanks_around_a_name_are_nobodys_and_other_spellings_find_nobody_else() {
    let Some(slapd) = Slapd::start() else { return };
    let (_, spaced) = person("  spaced  out ", 1);
    let (_, long) = person("Straße", 2);
    slapd.add(ROOT, "root", &format!("{spaced}{long}"));
    let house = House::open(&slapd).await;
    // The directory does not count them, either (RFC 4518, section 2.6.1).
    for login in ["  spaced  out ", "spaced out", "SPACED   OUT"] {
        let who = house.lets_in(login, "of   spaced  out ").await;
        assert_eq!(who["email"], "p1@example.com", "{login:?}");
    }
    for login in [
        "spacedout",
        "spaced\\20out",
        "Stra\\c3\\9fe",
        "Strasse",
        "Stra*e",
        "spaced\0out",
        "spaced out\0",
    ] {
        for password in ["of   spaced  out ", "of Straße"] {
            let (_, answer) = house.sign_in(login, password).await;
            assert_ne!(answer.status, StatusCode::SEE_OTHER, "{login:?}");
        }
    }
    house.lets_in("Straße", "of Straße").await;
    house.close().await;
}
