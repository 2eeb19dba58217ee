use serde_json::{Map, Value, json};

use super::super::testing::settings;
use super::{Need, arrival, for_session, need};
use crate::config::{EmailVerified, EntryRules, Oidc};
use crate::directory::{Arrival, ClaimedEmail, GroupsUnreadable};
use crate::person::Role;

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn arrives(id_token: &Value, userinfo: Option<&Value>, settings: &Oidc) -> Arrival {
    arrival(&object(id_token), userinfo.map(object).as_ref(), settings).expect("somebody arrives")
}

fn rules(groups_needed: bool) -> EntryRules {
    EntryRules {
        provisioning: true,
        initial_admins: vec![],
        default_role: Role::Member,
        allowed_domains: None,
        allowed_groups: groups_needed.then(|| vec!["staff".into()]),
        names_follow: false,
        email_needed: true,
        follow_group_claims: false,
        follow_ldap_groups: false,
    }
}

/// `v:` verified, `u:` unverified, `malformed`, `missing`.
fn email(id_token: &Value, userinfo: Option<&Value>, rule: EmailVerified) -> String {
    let settings = Oidc {
        email_verified: rule,
        ..settings()
    };
    let mut id_token = id_token.clone();
    id_token["sub"] = json!("a");
    match arrives(&id_token, userinfo, &settings).email {
        ClaimedEmail::Verified(email) => format!("v:{email}"),
        ClaimedEmail::Presumed(email) => format!("p:{email}"),
        ClaimedEmail::Unverified(email) => format!("u:{email}"),
        ClaimedEmail::Malformed => "malformed".into(),
        ClaimedEmail::Missing => "missing".into(),
    }
}

#[test]
fn an_address_counts_as_verified_as_the_setting_says() {
    use EmailVerified::{Ignored, Required, UnlessDenied};
    for (said, unless_denied, required) in [
        (None, 'p', 'u'),
        (Some(json!(null)), 'p', 'u'),
        (Some(json!(true)), 'v', 'v'),
        (Some(json!("true")), 'v', 'v'),
        (Some(json!(false)), 'u', 'u'),
        (Some(json!("false")), 'u', 'u'),
        // Whatever else it says, it does not say that the address is verified.
        (Some(json!("TRUE ")), 'u', 'u'),
        (Some(json!(1)), 'u', 'u'),
        (Some(json!(["true"])), 'u', 'u'),
        (Some(json!({})), 'u', 'u'),
        (Some(json!("")), 'u', 'u'),
    ] {
        let mut token = json!({ "email": "a@b.example" });
        if let Some(said) = &said {
            token["email_verified"] = said.clone();
        }
        assert_eq!(
            email(&token, None, UnlessDenied),
            format!("{unless_denied}:a@b.example"),
            "{said:?}"
        );
        assert_eq!(
            email(&token, None, Required),
            format!("{required}:a@b.example"),
            "{said:?}"
        );
        assert_eq!(email(&token, None, Ignored), "v:a@b.example", "{said:?}");
    }
}

#[test]
fn address_and_its_verification_come_from_the_same_document() {
    use EmailVerified::{Required, UnlessDenied};
    let other = json!({ "email": "boss@b.example", "email_verified": true });
    assert_eq!(
        email(
            &json!({ "email": "a@b.example", "email_verified": false }),
            Some(&other),
            UnlessDenied
        ),
        "u:a@b.example"
    );
    assert_eq!(
        email(&json!({ "email": "a@b.example" }), Some(&other), UnlessDenied),
        "p:a@b.example"
    );
    // A token that does not say is not made to say so by another document about another address.
    assert_eq!(
        email(&json!({ "email": "a@b.example" }), Some(&other), Required),
        "v:boss@b.example"
    );
    let flag_only = json!({ "email_verified": true });
    assert_eq!(
        email(&json!({ "email": "a@b.example" }), Some(&flag_only), Required),
        "u:a@b.example"
    );
    // The token's flag does not count for userinfo's address.
    assert_eq!(
        email(
            &json!({ "email_verified": true }),
            Some(&json!({ "email": "x@b.example", "email_verified": false })),
            Required
        ),
        "u:x@b.example"
    );
    assert_eq!(
        email(
            &json!({ "email_verified": true }),
            Some(&json!({ "email": "x@b.example" })),
            Required
        ),
        "u:x@b.example"
    );
}

#[test]
fn an_address_of_a_wrong_type_is_malformed_and_none_is_missing() {
    for (value, expected) in [
        (json!(7), "malformed"),
        (json!(true), "malformed"),
        (json!({}), "malformed"),
        (json!("nobody"), "malformed"),
        (json!("a@b\n.example"), "malformed"),
        (json!(" a@b.example"), "malformed"),
        (json!([7]), "malformed"),
        (json!(["x", "a@b.example"]), "malformed"),
        (json!(null), "missing"),
        (json!(""), "missing"),
        (json!([]), "missing"),
        (json!(["a@b.example", "c@d.example"]), "p:a@b.example"),
    ] {
        assert_eq!(
            email(&json!({ "email": value }), None, EmailVerified::UnlessDenied),
            expected,
            "{value}"
        );
    }
}

#[test]
fn without_an_email_claim_nobody_has_an_address() {
    let settings = Oidc {
        email_claim: None,
        ..settings()
    };
    let token = json!({ "sub": "a", "email": "a@b.example", "email_verified": true });
    assert!(matches!(arrives(&token, None, &settings).email, ClaimedEmail::Missing));
    assert_eq!(
        need(&object(&json!({ "sub": "a", "name": "A" })), &settings, &rules(false)),
        Need::Nothing
    );
}

#[test]
fn odd_types_in_what_is_not_needed_are_as_if_missing() {
    let token = json!({
        "sub": "a", "email": "a@b.example", "name": 7, "preferred_username": {}, "updated_at": "yesterday",
        "birthdate": [], "hd": 1, "amr": 7, "auth_time": "yesterday", "sid": 9, "address": "street",
    });
    let arrival = arrives(&token, None, &settings());
    assert!(arrival.name.is_none() && arrival.username.is_none() && arrival.hosted_domain.is_none());
    let kept = for_session(&object(&token));
    assert!(kept.amr.is_none() && kept.auth_time.is_none() && kept.sid.is_none());
}

#[test]
fn amr_and_auth_time_are_kept_as_they_were_sent() {
    let kept = for_session(&object(
        &json!({ "amr": ["pwd", "otp"], "auth_time": 1_800_000_000.25, "sid": "s" }),
    ));
    assert_eq!(kept.amr, Some(json!(["pwd", "otp"])));
    assert_eq!(kept.auth_time, Some(json!(1_800_000_000.25)));
    assert_eq!(kept.sid.as_deref(), Some("s"));
    let many = vec!["x"; 5000];
    assert!(for_session(&object(&json!({ "amr": many }))).amr.is_none());
}

#[test]
fn groups_are_a_list_of_names_or_unreadable() {
    let groups = |value: Value| arrives(&json!({ "sub": "a", "groups": value }), None, &settings()).groups;
    assert_eq!(groups(json!(["a", "b"])), Ok(vec!["a".into(), "b".into()]));
    assert_eq!(groups(json!("a")), Ok(vec!["a".into()]));
    assert_eq!(groups(json!("a,b")), Ok(vec!["a,b".into()]), "one name is one name");
    assert_eq!(groups(json!([])), Ok(vec![]));
    assert_eq!(groups(json!(null)), Ok(vec![]));
    assert_eq!(groups(json!(["a", 7, null, { "b": 1 }])), Ok(vec!["a".into()]));
    assert_eq!(groups(json!([7, 8])), Err(GroupsUnreadable::WrongType));
    assert_eq!(groups(json!(7)), Err(GroupsUnreadable::WrongType));
    assert_eq!(groups(json!({ "a": true })), Err(GroupsUnreadable::WrongType));
    let many: Vec<String> = (0..5000).map(|n| format!("group {n}")).collect();
    assert_eq!(groups(json!(many)).unwrap().len(), 5000);
}

#[test]
fn entras_overage_is_told_by_name() {
    for overage in [
        json!({ "sub": "a", "_claim_names": { "groups": "src1" }, "_claim_sources": {} }),
        json!({ "sub": "a", "hasgroups": true }),
        json!({ "sub": "a", "hasgroups": "true" }),
    ] {
        assert_eq!(
            arrives(&overage, None, &settings()).groups,
            Err(GroupsUnreadable::Overage),
            "{overage}"
        );
        assert_eq!(
            arrives(&json!({ "sub": "a" }), Some(&overage), &settings()).groups,
            Err(GroupsUnreadable::Overage)
        );
    }
    for none in [
        json!({ "sub": "a", "hasgroups": false }),
        json!({ "sub": "a", "_claim_names": { "other": "src1" } }),
        json!({ "sub": "a", "_claim_names": "groups" }),
    ] {
        assert_eq!(arrives(&none, None, &settings()).groups, Ok(vec![]), "{none}");
    }
}

#[test]
fn a_claim_is_found_by_its_exact_name_first_then_by_a_dotted_path() {
    let nested = |claim: &str, token: Value| {
        let settings = Oidc {
            groups_claim: claim.into(),
            ..settings()
        };
        let mut token = token;
        token["sub"] = json!("a");
        arrives(&token, None, &settings).groups.unwrap()
    };
    assert_eq!(
        nested("realm_access.roles", json!({ "realm_access": { "roles": ["r"] } })),
        ["r"]
    );
    assert_eq!(
        nested(
            "realm_access.roles",
            json!({ "realm_access.roles": ["x"], "realm_access": { "roles": ["r"] } })
        ),
        ["x"]
    );
    assert_eq!(
        nested(
            "https://app.example.com/roles",
            json!({ "https://app.example.com/roles": ["r"] })
        ),
        ["r"]
    );
    assert_eq!(
        nested(
            "resource_access.my.client.roles",
            json!({ "resource_access": { "my.client": { "roles": ["r"] } } })
        ),
        ["r"]
    );
    for none in [
        json!({ "realm_access": ["roles"] }),
        json!({ "realm_access": "roles" }),
        json!({ "realm_access": { "roles": null } }),
        json!({ "roles": ["r"] }),
    ] {
        assert!(nested("realm_access.roles", none).is_empty());
    }
    for odd in [".", "..", ".a", "a.", ""] {
        assert!(nested(odd, json!({ "a": { "": ["x"] } })).len() <= 1);
    }
}

#[test]
fn who_somebody_is_only_the_signed_token_says() {
    let settings = Oidc {
        subject_claim: "oid".into(),
        ..settings()
    };
    assert_eq!(
        arrives(&json!({ "sub": "a", "oid": "o" }), None, &settings).subject,
        "o"
    );
    for oid in [
        json!(null),
        json!(""),
        json!(" "),
        json!(7),
        json!(["o"]),
        json!("o\u{0}"),
    ] {
        let token = object(&json!({ "sub": "a", "oid": oid }));
        let userinfo = object(&json!({ "sub": "a", "oid": "boss" }));
        assert!(arrival(&token, Some(&userinfo), &settings).is_err(), "{oid}");
    }
    assert!(arrival(&object(&json!({ "sub": "a" })), None, &settings).is_err());
}

#[test]
fn userinfo_fills_in_and_never_overrides() {
    let token = json!({ "sub": "a", "name": "Token", "groups": ["t"], "email": "t@b.example" });
    let userinfo = json!({ "sub": "a", "name": "Info", "preferred_username": "info", "groups": ["i"], "email": "i@b.example", "hd": "b.example" });
    let arrival = arrives(&token, Some(&userinfo), &settings());
    assert_eq!(arrival.name.as_deref(), Some("Token"));
    assert_eq!(arrival.username.as_deref(), Some("info"));
    assert_eq!(arrival.groups, Ok(vec!["t".into()]));
    assert!(matches!(arrival.email, ClaimedEmail::Presumed(email) if email.as_str() == "t@b.example"));
    assert!(arrival.hosted_domain.is_none(), "hd is the signed token's to say");
}

#[test]
fn userinfo_is_asked_when_address_name_or_needed_groups_are_missing() {
    let whole = json!({ "sub": "a", "email": "a@b.example", "name": "A", "groups": [] });
    let asks = |remove: &str, groups_needed: bool| {
        let mut token = object(&whole);
        token.remove(remove);
        need(&token, &settings(), &rules(groups_needed))
    };
    assert_eq!(asks("", true), Need::Nothing);
    assert_eq!(asks("email", false), Need::Must);
    assert_eq!(asks("name", false), Need::Wish);
    assert_eq!(asks("groups", false), Need::Nothing);
    assert_eq!(asks("groups", true), Need::Must);
    let overage = object(&json!({ "sub": "a", "email": "a@b.example", "name": "A", "hasgroups": true }));
    assert_eq!(need(&overage, &settings(), &rules(true)), Need::Nothing);
    let required = Oidc {
        email_verified: EmailVerified::Required,
        ..settings()
    };
    assert_eq!(need(&object(&whole), &required, &rules(false)), Need::Must);
}
