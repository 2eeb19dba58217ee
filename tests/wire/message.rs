//! Messages of HTTP/1.1, as they come from a socket.

use std::io::Read;
use std::net::TcpStream;

pub fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = buffer.drain(..end + 4).collect::<Vec<u8>>();
            return Some(String::from_utf8_lossy(&head[..end]).into_owned());
        }
        fill(stream, buffer)?;
    }
}

pub fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut chunk = vec![0; 65536];
    match stream.read(&mut chunk) {
        Ok(0) | Err(_) => None,
        Ok(count) => {
            buffer.extend_from_slice(&chunk[..count]);
            Some(())
        }
    }
}

pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .find(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

pub fn read_body(stream: &mut TcpStream, buffer: &mut Vec<u8>, head: &str) -> Option<Vec<u8>> {
    if field(head, "transfer-encoding").is_some() {
        loop {
            if let Some(end) = chunked_end(buffer) {
                return Some(buffer.drain(..end).collect());
            }
            fill(stream, buffer)?;
        }
    }
    let length: usize = field(head, "content-length").map_or(0, |length| length.parse().unwrap());
    while buffer.len() < length {
        fill(stream, buffer)?;
    }
    Some(buffer.drain(..length).collect())
}

/// Where a chunked body ends, trailers included.
pub fn chunked_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = bytes[at..].windows(2).position(|window| window == b"\r\n")? + at;
        let size = usize::from_str_radix(
            std::str::from_utf8(&bytes[at..line]).ok()?.split(';').next()?.trim(),
            16,
        )
        .ok()?;
        at = line + 2;
        if size == 0 {
            loop {
                let line = bytes[at..].windows(2).position(|window| window == b"\r\n")? + at;
                if line == at {
                    return Some(at + 2);
                }
                at = line + 2;
            }
        }
        at += size + 2;
        if at > bytes.len() {
            return None;
        }
    }
}

/// A body without its chunk framing.
pub fn dechunked(head: &str, body: &[u8]) -> Vec<u8> {
    if field(head, "transfer-encoding").is_none() {
        return body.to_vec();
    }
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(line) = body[at..].windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&body[at..at + line]).unwrap().trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        at += line + 2;
        out.extend_from_slice(&body[at..at + size]);
        at += size + 2;
    }
    out
}
