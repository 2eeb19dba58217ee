//! How an account stands in the directory, as its entry says: for those who are signed in already, and for directories whose
//! bind does not look. Locks that failed guesses cause (`lockoutTime`, `pwdAccountLockedTime` with a time, 389's
//! `accountUnlockTime`) are not looked at: a stranger could end sessions by guessing.

use super::bind::Obstacle;
use super::entry::Entry;
use crate::clock::UnixTime;

/// What is asked of an entry for it. Most are operational: they come only by name.
pub(super) const ATTRIBUTES: [&str; 12] = [
    ACCOUNT_CONTROL,
    ACCOUNT_EXPIRES,
    COMPUTED_CONTROL,
    LOCK,
    PRINCIPAL_EXPIRES,
    PASSWORD_EXPIRES,
    PRINCIPAL_PASSWORD_EXPIRES,
    POLICY_LOCK,
    POLICY_END,
    POLICY_RESET,
    PASSWORD_CHANGED,
    POLICY,
];

/// Active Directory (MS-ADTS, section 2.2.16).
const ACCOUNT_CONTROL: &str = "userAccountControl";
const ACCOUNT_DISABLE: i64 = 0x2;
/// Hundreds of nanoseconds since 1601; zero or the largest number is never (MS-ADA1, section 2.2).
const ACCOUNT_EXPIRES: &str = "accountExpires";
/// What only the server can work out (MS-ADTS, section 3.1.1.4.5.17).
const COMPUTED_CONTROL: &str = "msDS-User-Account-Control-Computed";
const PASSWORD_EXPIRED: i64 = 0x80_0000;
/// 389 Directory Server, FreeIPA.
const LOCK: &str = "nsAccountLock";
const PRINCIPAL_EXPIRES: &str = "krbPrincipalExpiration";
const PASSWORD_EXPIRES: &str = "passwordExpirationTime";
/// FreeIPA: also the time of a reset by an administrator, after which it must be changed.
const PRINCIPAL_PASSWORD_EXPIRES: &str = "krbPasswordExpiration";
/// draft-behera-ldap-password-policy, section 5.3.
const POLICY_LOCK: &str = "pwdAccountLockedTime";
/// The lock that has no end: an administrator's.
const FOR_EVER: &str = "000001010000Z";
const POLICY_END: &str = "pwdEndTime";
const POLICY_RESET: &str = "pwdReset";
const PASSWORD_CHANGED: &str = "pwdChangedTime";
/// Which policy's entry says how old a password may become.
pub(super) const POLICY: &str = "pwdPolicySubentry";
/// In a policy's entry.
pub(super) const POLICY_AGE: &str = "pwdMaxAge";

/// What stands against a sign-in with the right password. `grace`: the directory lets an expired one pass this once more.
pub(super) fn at_sign_in(entry: &Entry, grace: bool, now: UnixTime) -> Option<Obstacle> {
    // FreeIPA takes expired passwords from binds, without a word of it, unless grace logins are counted (passwordGraceLimit).
    let expired = || {
        let ends = entry.texts(PRINCIPAL_PASSWORD_EXPIRES).find_map(generalized_time)?;
        (!grace && ends <= now).then_some(Obstacle::Expired)
    };
    obstacle(entry, None, now, now).or_else(expired)
}

/// What stands against somebody who signed in at `since`. A password that had expired before is none: the directory let
/// them in with it (a grace login). `oldest` is how old a password may become by the entry's policy, in seconds.
pub(super) fn obstacle(entry: &Entry, oldest: Option<i64>, since: UnixTime, now: UnixTime) -> Option<Obstacle> {
    let text = |name| entry.texts(name).next();
    let number = |name| text(name).and_then(|text| text.trim().parse::<i64>().ok());
    let time = |name| text(name).and_then(generalized_time);
    let flag = |name| text(name).is_some_and(|text| text.trim().eq_ignore_ascii_case("true"));
    let is_over = |time: UnixTime| time <= now;
    let meanwhile = |time: UnixTime| since < time && time <= now;

    let controls = number(ACCOUNT_CONTROL).unwrap_or_default();
    if controls & ACCOUNT_DISABLE != 0 || flag(LOCK) || text(POLICY_LOCK) == Some(FOR_EVER) {
        return Some(Obstacle::Disabled);
    }
    let ends = [
        number(ACCOUNT_EXPIRES).and_then(file_time),
        time(PRINCIPAL_EXPIRES),
        time(POLICY_END),
    ];
    if ends.into_iter().flatten().any(is_over) {
        return Some(Obstacle::AccountExpired);
    }
    if flag(POLICY_RESET) {
        return Some(Obstacle::MustChange);
    }
    let by_policy = time(PASSWORD_CHANGED)
        .zip(oldest.filter(|oldest| *oldest > 0))
        .map(|(changed, oldest)| changed.plus(oldest));
    let passwords = [time(PASSWORD_EXPIRES), time(PRINCIPAL_PASSWORD_EXPIRES), by_policy];
    let computed = number(COMPUTED_CONTROL).unwrap_or_default();
    if computed & PASSWORD_EXPIRED != 0 || passwords.into_iter().flatten().any(meanwhile) {
        return Some(Obstacle::Expired);
    }
    None
}

/// A FILETIME that is one.
fn file_time(value: i64) -> Option<UnixTime> {
    /// From 1601 to 1970.
    const EPOCH: i64 = 11_644_473_600;
    (value > 0 && value < i64::MAX).then(|| UnixTime(value / 10_000_000 - EPOCH))
}

/// GeneralizedTime (RFC 4517, section 3.3.13): to the second, fractions aside.
fn generalized_time(text: &str) -> Option<UnixTime> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, zone) = text.split_at_checked(end)?;
    let zone = zone.trim_start_matches(|c: char| c == '.' || c == ',' || c.is_ascii_digit());
    let offset = match zone.split_at_checked(1)? {
        ("Z", "") => 0,
        (sign @ ("+" | "-"), offset) if offset.len() == 4 || offset.len() == 2 => {
            let hours: i64 = offset.get(..2)?.parse().ok()?;
            let minutes: i64 = offset
                .get(2..)
                .filter(|text| !text.is_empty())
                .map_or(Ok(0), str::parse)
                .ok()?;
            let seconds = hours * 3_600 + minutes * 60;
            if sign == "+" { seconds } else { -seconds }
        }
        _ => return None,
    };
    let part = |range: std::ops::Range<usize>| digits.get(range);
    let (minute, second) = (part(10..12).unwrap_or("00"), part(12..14).unwrap_or("00"));
    // A leap second is the one before.
    let second = if second == "60" { "59" } else { second };
    let written = format!(
        "{}-{}-{}T{}:{minute}:{second}Z",
        part(0..4)?,
        part(4..6)?,
        part(6..8)?,
        part(8..10)?
    );
    let time: jiff::Timestamp = written.parse().ok()?;
    Some(UnixTime(time.as_second().saturating_sub(offset)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Entry, Obstacle, at_sign_in, generalized_time, obstacle};
    use crate::clock::UnixTime;

    /// 2027-01-15T08:00:00Z.
    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn of(attributes: &[(&str, &str)]) -> Option<Obstacle> {
        with_age(attributes, None)
    }

    fn with_age(attributes: &[(&str, &str)], oldest: Option<i64>) -> Option<Obstacle> {
        let values: Vec<[&[u8]; 1]> = attributes.iter().map(|(_, value)| [value.as_bytes()]).collect();
        let attributes: Vec<(&str, &[&[u8]])> = attributes
            .iter()
            .zip(&values)
            .map(|((name, _), value)| (*name, value.as_slice()))
            .collect();
        // They signed in an hour ago.
        obstacle(&Entry::of("uid=a", &attributes), oldest, NOW.plus(-3_600), NOW)
    }

    #[test]
    fn accounts_that_are_switched_off_or_over_are_found() {
        for (attribute, value, expected) in [
            ("userAccountControl", "514", Obstacle::Disabled),
            ("useraccountcontrol", "66050", Obstacle::Disabled),
            ("nsAccountLock", "TRUE", Obstacle::Disabled),
            ("nsAccountLock", "true", Obstacle::Disabled),
            ("pwdAccountLockedTime", "000001010000Z", Obstacle::Disabled),
            // 2026 and 1601.
            ("accountExpires", "134100000000000000", Obstacle::AccountExpired),
            ("accountExpires", "1", Obstacle::AccountExpired),
            ("krbPrincipalExpiration", "20270115075959Z", Obstacle::AccountExpired),
            ("pwdEndTime", "20270115080000Z", Obstacle::AccountExpired),
            ("pwdReset", "TRUE", Obstacle::MustChange),
            ("msDS-User-Account-Control-Computed", "8388608", Obstacle::Expired),
            ("passwordExpirationTime", "20270115073000Z", Obstacle::Expired),
            ("krbPasswordExpiration", "20270115073000Z", Obstacle::Expired),
        ] {
            assert_eq!(of(&[(attribute, value)]), Some(expected), "{attribute}: {value}");
        }
    }

    #[test]
    fn what_failed_guesses_cause_or_the_directory_let_pass_ends_nothing() {
        for (attribute, value) in [
            ("userAccountControl", "512"),
            ("userAccountControl", "66048"),
            ("userAccountControl", "two"),
            // Locked out, by userAccountControl's own bit and by the computed one.
            ("userAccountControl", "528"),
            ("msDS-User-Account-Control-Computed", "16"),
            ("lockoutTime", "133500000000000000"),
            ("pwdAccountLockedTime", "20270115075900Z"),
            ("accountUnlockTime", "20270115090000Z"),
            ("accountExpires", "0"),
            ("accountExpires", "9223372036854775807"),
            ("accountExpires", "140000000000000000"),
            ("nsAccountLock", "FALSE"),
            ("pwdReset", "FALSE"),
            // Before the sign-in: a grace login, or a policy that is not in force.
            ("passwordExpirationTime", "19700101000000Z"),
            ("passwordExpirationTime", "20270115065900Z"),
            ("passwordExpirationTime", "20270115080001Z"),
            ("passwordExpirationTime", "soon"),
            ("krbPasswordExpiration", "20270115065900Z"),
            ("krbPasswordExpiration", "20270115080001Z"),
        ] {
            assert_eq!(of(&[(attribute, value)]), None, "{attribute}: {value}");
        }
    }

    #[test]
    fn a_password_that_a_kerberos_directory_calls_expired_lets_in_with_grace_only() {
        let at = |time: &str, grace| {
            let entry = Entry::of("uid=a", &[("krbPasswordExpiration", &[time.as_bytes()])]);
            at_sign_in(&entry, grace, NOW)
        };
        // As a reset leaves it, and long ago.
        for over in ["20270115080000Z", "20200101000000Z"] {
            assert_eq!(at(over, false), Some(Obstacle::Expired), "{over}");
            assert_eq!(at(over, true), None, "{over}");
        }
        assert_eq!(at("20270115080001Z", false), None);
        assert_eq!(at("", false), None);
        let disabled = Entry::of("uid=a", &[("nsAccountLock", &[b"TRUE"])]);
        assert_eq!(at_sign_in(&disabled, true, NOW), Some(Obstacle::Disabled));
    }

    #[test]
    fn a_password_grows_as_old_as_its_policy_lets_it() {
        let changed = [("pwdChangedTime", "20270114080000Z")];
        let day = 86_400;
        assert_eq!(with_age(&changed, Some(day)), Some(Obstacle::Expired));
        assert_eq!(with_age(&changed, Some(day + 1)), None);
        assert_eq!(with_age(&changed, Some(day - 3_600)), None, "as old when they came");
        assert_eq!(with_age(&changed, Some(0)), None);
        assert_eq!(with_age(&changed, None), None);
    }

    #[test]
    fn times_are_read_in_every_spelling() {
        for same in [
            "20270115080000Z",
            "20270115080000.123Z",
            "20270115080000,5Z",
            "2027011508Z",
            "202701150800Z",
            "20270115090000+0100",
            "20270115023000-0530",
            "20270115100000+02",
        ] {
            assert_eq!(generalized_time(same), Some(NOW), "{same}");
        }
        for none in [
            "",
            "Z",
            "20270115080000",
            "20271315080000Z",
            "2027Z",
            "20270115080000+1",
            "99999999999999Z",
            "äöZ",
        ] {
            assert_eq!(generalized_time(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_a_time_panic(text in "[0-9]{0,20}[.,]?[0-9]{0,3}[Z+-]?\\PC{0,5}") {
            let _ = generalized_time(&text);
        }
    }
}
