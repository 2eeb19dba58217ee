//! What a directory's answer to a person's own bind means. Only zero is a yes; what says that the directory itself is not
//! well is nobody's wrong password.

use ldap3::LdapResult;

use super::connection::{controls, is_password_policy};
use super::wire;

/// The answer to a person's bind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was their password.
    Right,
    /// It was, and has expired; the directory lets it pass this once more.
    Grace,
    /// It was not, or nobody may know whether it was. For the audit event.
    Wrong(String),
    /// It was their password, and they are not let in all the same.
    But(Obstacle),
    /// The directory can't be used like this. Why.
    Unusable(String),
}

/// Why somebody with the right password is not let in. What stands on the entry says it, or the answer to their bind; people
/// hear it after the right password only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The password is too old.
    #[error("the password has expired")]
    Expired,
    /// Somebody else set it.
    #[error("the password must be changed first")]
    MustChange,
    /// The account is switched off.
    #[error("the account is disabled in the directory")]
    Disabled,
    /// Not at this hour, or not from here.
    #[error("the directory does not allow a sign-in at this time or from here")]
    NotNow,
    /// The account is over.
    #[error("the account has expired in the directory")]
    AccountExpired,
}

/// 389 Directory Server: the password is expired or was reset (draft-vchu-ldap-pwd-policy).
const PASSWORD_EXPIRED: &str = "2.16.840.1.113730.3.4.4";

/// Judges the result of a bind (RFC 4511, section 4.2.2).
pub(super) fn verdict(result: &LdapResult) -> Verdict {
    let policy = controls(result)
        .find(|(kind, _)| is_password_policy(kind))
        .and_then(|(_, value)| Policy::read(value?))
        .unwrap_or_default();
    let expired = controls(result).any(|(kind, _)| kind == PASSWORD_EXPIRED);
    match result.rc {
        // A success that says so is none that counts.
        0 if policy.error == Some(LOCKED) => Verdict::Wrong(reason(result, &policy)),
        0 if policy.error == Some(CHANGE_AFTER_RESET) => Verdict::But(Obstacle::MustChange),
        // It is said with the expiry.
        0 if policy.grace => Verdict::Grace,
        0 if policy.error == Some(EXPIRED) => Verdict::But(Obstacle::Expired),
        0 if expired => Verdict::But(Obstacle::MustChange),
        0 => Verdict::Right,
        49 => match active_directory(&result.text) {
            Some(obstacle) => Verdict::But(obstacle),
            None if expired || policy.error == Some(EXPIRED) => Verdict::But(Obstacle::Expired),
            None if policy.error == Some(CHANGE_AFTER_RESET) => Verdict::But(Obstacle::MustChange),
            None => Verdict::Wrong(reason(result, &policy)),
        },
        // Locked and inactivated accounts: said for wrong passwords, too, so nobody is told. Without the entry (32), with a
        // name that is none (34), without a password in it (48) or the right to use it (50) nobody binds, either.
        19 | 32 | 34 | 48 | 50 | 53 => Verdict::Wrong(reason(result, &policy)),
        code => Verdict::Unusable(format!("result {code} to a person's bind: {}", result.text)),
    }
}

fn reason(result: &LdapResult, policy: &Policy) -> String {
    let locked = policy.error == Some(LOCKED) || sub_code(&result.text) == Some("775");
    match result.rc {
        _ if locked => "the account is locked in the directory".to_owned(),
        49 => "wrong password".to_owned(),
        code => format!("refused by the directory (result {code}): {}", result.text),
    }
}

/// Active Directory's sub-codes of result 49: `…, data 532, v4563`.
fn active_directory(text: &str) -> Option<Obstacle> {
    match sub_code(text)? {
        "532" => Some(Obstacle::Expired),
        "773" => Some(Obstacle::MustChange),
        "533" => Some(Obstacle::Disabled),
        "530" | "531" => Some(Obstacle::NotNow),
        "701" => Some(Obstacle::AccountExpired),
        _ => None,
    }
}

fn sub_code(text: &str) -> Option<&str> {
    if !text.contains("AcceptSecurityContext") {
        return None;
    }
    let (_, code) = text.split_once("data ")?;
    code.split(|c: char| !c.is_ascii_hexdigit()).next()
}

const EXPIRED: u8 = 0;
const LOCKED: u8 = 1;
const CHANGE_AFTER_RESET: u8 = 2;

/// PasswordPolicyResponseValue (draft-behera-ldap-password-policy, section 6.2).
#[derive(Debug, Default, PartialEq, Eq)]
struct Policy {
    grace: bool,
    error: Option<u8>,
}

impl Policy {
    fn read(value: &[u8]) -> Option<Self> {
        let (0x30, mut rest, _) = wire::element(value)? else {
            return None;
        };
        let mut policy = Self::default();
        while !rest.is_empty() {
            let (tag, content, after) = wire::element(rest)?;
            match tag {
                0xa0 => policy.grace = wire::element(content)?.0 == 0x81,
                0x81 => policy.error = content.first().copied(),
                _ => {}
            }
            rest = after;
        }
        Some(policy)
    }
}

#[cfg(test)]
mod tests {
    use ldap3::LdapResult;
    use ldap3::controls::{Control, RawControl};

    use super::{Obstacle, PASSWORD_EXPIRED, Verdict, verdict};

    fn result(code: u32, text: &str, controls: &[(&str, &[u8])]) -> LdapResult {
        LdapResult {
            rc: code,
            matched: String::new(),
            text: text.to_owned(),
            refs: vec![],
            ctrls: controls
                .iter()
                .map(|(kind, value)| {
                    Control(
                        None,
                        RawControl {
                            ctype: (*kind).to_owned(),
                            crit: false,
                            val: Some(value.to_vec()),
                        },
                    )
                })
                .collect(),
        }
    }

    const POLICY: &str = "1.3.6.1.4.1.42.2.27.8.5.1";

    #[test]
    fn only_zero_is_a_yes() {
        assert_eq!(verdict(&result(0, "", &[])), Verdict::Right);
        for code in 1..130 {
            assert_ne!(verdict(&result(code, "", &[])), Verdict::Right, "{code}");
        }
        for code in [19, 49, 53] {
            assert!(matches!(verdict(&result(code, "", &[])), Verdict::Wrong(_)), "{code}");
        }
        for code in [1, 8, 14, 51, 52, 80] {
            assert!(
                matches!(verdict(&result(code, "", &[])), Verdict::Unusable(_)),
                "{code}"
            );
        }
    }

    #[test]
    fn active_directory_says_why_in_its_own_way() {
        let text = |data: &str| {
            format!("80090308: LdapErr: DSID-0C09042A, comment: AcceptSecurityContext error, data {data}, v3839\0")
        };
        let but = |data: &str| verdict(&result(49, &text(data), &[]));
        assert_eq!(but("532"), Verdict::But(Obstacle::Expired));
        assert_eq!(but("773"), Verdict::But(Obstacle::MustChange));
        assert_eq!(but("533"), Verdict::But(Obstacle::Disabled));
        assert_eq!(but("530"), Verdict::But(Obstacle::NotNow));
        assert_eq!(but("701"), Verdict::But(Obstacle::AccountExpired));
        assert_eq!(but("52e"), Verdict::Wrong("wrong password".into()));
        assert!(matches!(but("775"), Verdict::Wrong(why) if why.contains("locked")));
    }

    #[test]
    fn a_success_that_comes_with_must_change_is_refused_and_grace_is_not() {
        let reset = result(0, "", &[(POLICY, b"\x30\x03\x81\x01\x02")]);
        assert_eq!(verdict(&reset), Verdict::But(Obstacle::MustChange));
        let expired = result(0, "", &[(PASSWORD_EXPIRED, b"0")]);
        assert_eq!(verdict(&expired), Verdict::But(Obstacle::MustChange));
        let grace = result(
            0,
            "",
            &[(PASSWORD_EXPIRED, b"0"), (POLICY, b"\x30\x05\xa0\x03\x81\x01\x02")],
        );
        assert_eq!(verdict(&grace), Verdict::Grace);
        let locked = result(0, "", &[(POLICY, b"\x30\x03\x81\x01\x01")]);
        assert!(matches!(verdict(&locked), Verdict::Wrong(_)));
        let soon = result(0, "", &[(POLICY, b"\x30\x05\xa0\x03\x80\x01\x02")]);
        assert_eq!(verdict(&soon), Verdict::Right);
        let over = result(49, "", &[(POLICY, b"\x30\x03\x81\x01\x00")]);
        assert_eq!(verdict(&over), Verdict::But(Obstacle::Expired));
        let locked = result(49, "", &[(POLICY, b"\x30\x03\x81\x01\x01")]);
        assert!(matches!(verdict(&locked), Verdict::Wrong(_)));
    }
}
