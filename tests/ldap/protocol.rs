//! LDAP's messages (RFC 4511), as servers of our own speak them.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The operations' tags.
pub const BIND: u8 = 0x60;
pub const SEARCH: u8 = 0x63;
pub const BOUND: u8 = 0x61;
pub const DONE: u8 = 0x65;

/// One BER element.
pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82], &length[..], content].concat()
}

pub fn message(id: u8, operation: &[u8]) -> Vec<u8> {
    element(0x30, &[&[2, 1, id], operation].concat())
}

pub fn result(tag: u8, code: u8, text: &str) -> Vec<u8> {
    let parts = [&[10, 1, code, 4, 0][..], &element(4, text.as_bytes())].concat();
    element(tag, &parts)
}

/// An entry whose attributes have one value each.
pub fn entry(dn: &str, attributes: &[(&str, &[u8])]) -> Vec<u8> {
    let values: Vec<[&[u8]; 1]> = attributes.iter().map(|(_, value)| [*value]).collect();
    let attributes: Vec<(&str, &[&[u8]])> = attributes
        .iter()
        .zip(&values)
        .map(|((name, _), values)| (*name, values.as_slice()))
        .collect();
    entry_of(dn, &attributes)
}

pub fn entry_of(dn: &str, attributes: &[(&str, &[&[u8]])]) -> Vec<u8> {
    let attributes: Vec<u8> = attributes
        .iter()
        .flat_map(|(name, values)| {
            let values: Vec<u8> = values.iter().flat_map(|value| element(4, value)).collect();
            element(0x30, &[element(4, name.as_bytes()), element(0x31, &values)].concat())
        })
        .collect();
    element(0x64, &[element(4, dn.as_bytes()), element(0x30, &attributes)].concat())
}

/// A SearchResultReference.
pub fn reference(to: &str) -> Vec<u8> {
    element(0x73, &element(4, to.as_bytes()))
}

/// What a client sends.
pub struct Request {
    pub id: u8,
    pub operation: u8,
    /// From the message's number on.
    pub body: Vec<u8>,
}

impl Request {
    /// The next one.
    pub async fn read(stream: &mut TcpStream) -> std::io::Result<Self> {
        let mut head = [0; 2];
        stream.read_exact(&mut head).await?;
        let length = if head[1] < 0x80 {
            usize::from(head[1])
        } else {
            let mut more = vec![0; usize::from(head[1] & 0x7f)];
            stream.read_exact(&mut more).await?;
            more.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
        };
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        Ok(Self {
            id: body[2],
            operation: body[3],
            body,
        })
    }

    /// Where a search begins.
    pub fn base(&self) -> String {
        // The number, the operation's tag and length, and the base's tag and length.
        let operation = &self.body[4..];
        let skipped = if operation[0] < 0x80 {
            1
        } else {
            1 + usize::from(operation[0] & 0x7f)
        };
        let base = &operation[skipped..];
        let length = usize::from(base[1]);
        String::from_utf8(base[2..2 + length].to_vec()).unwrap()
    }

    /// Whether these bytes stand somewhere in it.
    pub fn holds(&self, bytes: &[u8]) -> bool {
        self.body.windows(bytes.len()).any(|part| part == bytes)
    }

    /// Whether this is one of its strings, whole.
    pub fn has_text(&self, text: &str) -> bool {
        let length = u8::try_from(text.len()).unwrap();
        self.holds(&[&[4, length], text.as_bytes()].concat())
    }
}

/// A server that answers each request as `answer` says: nothing is nothing, ever. Its port.
pub async fn serve(answer: impl Fn(&Request) -> Option<Vec<u8>> + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                while let Ok(request) = Request::read(&mut stream).await {
                    let Some(bytes) = answer(&request) else { continue };
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}
