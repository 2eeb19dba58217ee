//! What a form must bring so that it counts: made by us for this session, not too old, not used before. A page that another
//! site or a script of the app made up has none; one that was sent is of no use to whoever saw it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::UnixTime;
use crate::seal::{self, Sealer};

/// How long a page may stand open before what it sends is refused.
const LIFE: i64 = 12 * 3600;
const TIME: usize = 8;
const RANDOM: usize = 16;
const CHECK: usize = 16;

/// A token that is ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// By which its use is remembered.
    pub(super) id: String,
    /// Until when it would be taken.
    pub(super) until: UnixTime,
}

/// A new token for the forms of one page.
pub(super) fn make(sealer: &Sealer, sid: &str, now: UnixTime) -> String {
    let mut bytes = Vec::with_capacity(TIME + RANDOM + CHECK);
    bytes.extend_from_slice(&now.0.to_be_bytes());
    bytes.extend_from_slice(&seal::random::<RANDOM>());
    let check = sealer.check_of(&checked(&bytes, sid));
    bytes.extend(check.iter().take(CHECK));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The token that `text` is, if it was made for this session and counts still.
pub(super) fn read(sealer: &Sealer, sid: &str, text: &str, now: UnixTime) -> Option<Token> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (made, check) = bytes.split_at_checked(TIME + RANDOM)?;
    if check.len() != CHECK || !sealer.checks(&checked(made, sid), check) {
        return None;
    }
    let (time, random) = made.split_first_chunk::<TIME>()?;
    let at = UnixTime(i64::from_be_bytes(*time));
    let until = at.plus(LIFE);
    // A minute for another gateway's clock.
    (at <= now.plus(60) && now < until).then(|| Token {
        id: format!("form-{}", URL_SAFE_NO_PAD.encode(random)),
        until: until.plus(60),
    })
}

/// The purpose goes into the check: nothing else that we check is a form's token.
fn checked(made: &[u8], sid: &str) -> Vec<u8> {
    [b"console form ".as_slice(), made, sid.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::SecretKey;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    #[test]
    fn a_token_counts_for_its_session_and_its_time_only() {
        let sealer = Sealer::new(&[SecretKey::generate()]).unwrap();
        let text = make(&sealer, "s1", NOW);
        let token = read(&sealer, "s1", &text, NOW.plus(LIFE - 1)).unwrap();
        assert_eq!(read(&sealer, "s1", &text, NOW), Some(token));
        assert_eq!(read(&sealer, "s2", &text, NOW), None);
        assert_eq!(read(&sealer, "s1", &text, NOW.plus(LIFE)), None);
        assert_eq!(read(&sealer, "s1", &text, NOW.plus(-61)), None);
        assert_eq!(
            read(&Sealer::new(&[SecretKey::generate()]).unwrap(), "s1", &text, NOW),
            None
        );
        assert_ne!(make(&sealer, "s1", NOW), text);
    }

    #[test]
    fn a_changed_token_is_none() {
        let sealer = Sealer::new(&[SecretKey::generate()]).unwrap();
        let text = make(&sealer, "s1", NOW);
        for at in 0..text.len() {
            let mut changed: Vec<char> = text.chars().collect();
            changed[at] = if changed[at] == 'A' { 'B' } else { 'A' };
            let changed: String = changed.into_iter().collect();
            assert_eq!(read(&sealer, "s1", &changed, NOW), None, "letter {at} does not matter");
        }
        for odd in ["", "A", &text[1..], &format!("{text}A"), &format!("{text}=")] {
            assert_eq!(read(&sealer, "s1", odd, NOW), None);
        }
    }
}
