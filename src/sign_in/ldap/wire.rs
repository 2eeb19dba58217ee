//! What comes from a directory, before the LDAP library sees it: whole messages only, of bounded size and depth, in the one
//! encoding that LDAP allows (RFC 4511, section 5.1). The library keeps what is incomplete without bound, and goes down into
//! each level by a call of its own: a deep message would end the process.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Largest message: an entry with ten thousand groups fits.
const LARGEST: usize = 4 * 1024 * 1024;
/// A search entry has six levels, a control eight.
const DEEPEST: usize = 16;
const SEQUENCE: u8 = 0x30;
/// A tag whose number stands in further bytes; LDAP has none.
const MORE: u8 = 0x1f;
const CONSTRUCTED: u8 = 0x20;

/// The next message, whole; None at the end of the stream.
///
/// # Errors
/// If the stream breaks off in mid-message, or the message is none.
pub(super) async fn message(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut message = vec![0; 2];
    if stream.read(message.get_mut(..1).unwrap_or_default()).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(message.get_mut(1..).unwrap_or_default()).await?;
    let (Some(&tag), Some(&length)) = (message.first(), message.get(1)) else {
        return Ok(None);
    };
    if tag != SEQUENCE {
        return Err(nonsense("it is no LDAP message"));
    }
    let length = if length < 0x80 {
        usize::from(length)
    } else {
        let more = usize::from(length & 0x7f);
        if more == 0 || more > 4 {
            return Err(nonsense("its length is none"));
        }
        message.resize(2 + more, 0);
        stream.read_exact(message.get_mut(2..).unwrap_or_default()).await?;
        message
            .iter()
            .skip(2)
            .fold(0, |length, byte| length << 8 | usize::from(*byte))
    };
    if length > LARGEST {
        return Err(nonsense("it is longer than any"));
    }
    let start = message.len();
    message.resize(start + length, 0);
    stream.read_exact(message.get_mut(start..).unwrap_or_default()).await?;
    if well_formed(&message) {
        Ok(Some(message))
    } else {
        Err(nonsense("it is malformed"))
    }
}

/// One element: its tag, what it holds, what follows. None if it is not written as LDAP writes elements.
pub(super) fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    if tag & MORE == MORE {
        return None;
    }
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        let more = usize::from(length & 0x7f);
        if more == 0 || more > 4 {
            return None;
        }
        let (digits, rest) = rest.split_at_checked(more)?;
        (
            digits.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
            rest,
        )
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// Whether every element ends where its parent ends, and none lies too deep.
fn well_formed(message: &[u8]) -> bool {
    // What is left to be read of each level.
    let mut levels = vec![message];
    while let Some(rest) = levels.pop() {
        if rest.is_empty() {
            continue;
        }
        let Some((tag, content, after)) = element(rest) else {
            return false;
        };
        levels.push(after);
        if tag & CONSTRUCTED != 0 {
            levels.push(content);
        }
        if levels.len() > DEEPEST {
            return false;
        }
    }
    true
}

/// The error of bytes that are none of LDAP's, told by its kind from a connection that breaks.
pub(super) fn nonsense(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("what the directory sent: {why}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{message, well_formed};

    async fn read(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, ()> {
        message(&mut bytes).await.map_err(drop)
    }

    #[tokio::test]
    async fn whole_messages_are_taken_one_by_one() {
        let done = [0x30, 0x0c, 2, 1, 1, 0x65, 7, 10, 1, 0, 4, 0, 4, 0];
        let both = [done, done].concat();
        let mut stream = both.as_slice();
        assert_eq!(message(&mut stream).await.unwrap().unwrap(), done);
        assert_eq!(message(&mut stream).await.unwrap().unwrap(), done);
        assert!(message(&mut stream).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_no_message_is_an_error_and_takes_no_room() {
        for bytes in [
            &[0x30][..],
            &[0x30, 0x05, 2, 1],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1],
            &[0x30, 0x03, 2, 5, 1],
            &[0x30, 0x03, 0x3f, 1, 1],
            b"HTTP/1.1 400 Bad Request\r\n",
        ] {
            assert_eq!(read(bytes).await, Err(()), "{bytes:x?}");
        }
    }

    #[tokio::test]
    async fn a_message_deeper_than_any_is_an_error() {
        let mut deep: Vec<u8> = vec![];
        for _ in 0..60 {
            deep.insert(0, u8::try_from(deep.len()).unwrap());
            deep.insert(0, 0x30);
        }
        assert_eq!(read(&deep).await, Err(()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_check_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = well_formed(&bytes);
        }
    }
}
