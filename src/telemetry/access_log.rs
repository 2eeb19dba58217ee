//! The access log: one line a request on standard output, written by a thread of its own. A request never waits for it.

use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};

use super::metrics;
use crate::clock::UnixTime;
use crate::config::LogFormat;
use crate::person::UserId;

/// Lines on their way. A full queue drops and counts.
const QUEUE: usize = 4096;
/// What is kept of a path: a queue full of the longest ones stays small.
const LONGEST_PATH: usize = 2048;
/// How long lines gather before they are written together. A sender has to wake nobody meanwhile, and under load that
/// wake-up would be the dearest part of a line.
const GATHER: Duration = Duration::from_millis(20);

/// The sending end. Lines end up on the thread's writer in the order in which they were sent.
#[derive(Debug)]
pub struct AccessLog {
    queue: SyncSender<Message>,
}

/// One request, as the access log tells it.
#[derive(Debug)]
pub struct AccessEntry {
    /// The request's id: hexadecimal digits.
    pub id: [u8; 24],
    /// The client's address.
    pub client: IpAddr,
    /// On whose behalf it went on.
    pub user: Option<UserId>,
    /// Method.
    pub method: Method,
    /// Path without query: a query may hold secrets.
    pub path: String,
    /// Status of the answer.
    pub status: StatusCode,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// From the head of the request to the end of the answer.
    pub total: Duration,
    /// To the head of the app's answer, if it was asked.
    pub upstream: Option<Duration>,
    /// The answer broke off before its end.
    pub broken: bool,
}

enum Message {
    Line(Box<AccessEntry>),
    Flush(SyncSender<()>),
}

impl AccessLog {
    /// Begins an access log on standard output.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start(format: LogFormat) -> io::Result<Self> {
        Self::start_on(format, io::stdout(), QUEUE)
    }

    fn start_on(format: LogFormat, writer: impl Write + Send + 'static, room: usize) -> io::Result<Self> {
        let (queue, lines) = sync_channel(room);
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_all(&lines, format, writer))?;
        Ok(Self { queue })
    }

    /// Puts a line on its way, or drops and counts it.
    pub fn write(&self, mut entry: AccessEntry) {
        if entry.path.len() > LONGEST_PATH {
            entry.path.truncate(entry.path.floor_char_boundary(LONGEST_PATH));
            entry.path.push('\u{2026}');
            entry.path.shrink_to_fit();
        }
        if self.queue.try_send(Message::Line(Box::new(entry))).is_err() {
            metrics().access_log_lines_dropped.inc();
        }
    }

    /// Waits, a second at most, until what was sent before is written.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        let until = Instant::now() + Duration::from_secs(1);
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(unsent)) = self.queue.try_send(message) {
            if Instant::now() >= until {
                return;
            }
            message = unsent;
            std::thread::sleep(GATHER);
        }
        let _ = written.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

fn write_all(lines: &Receiver<Message>, format: LogFormat, mut writer: impl Write) {
    let mut batch = Vec::with_capacity(16 * 1024);
    let mut stamp = Stamp::default();
    while let Ok(first) = lines.recv() {
        let mut done = None;
        let mut count = 0;
        let mut waiting = Some(first);
        let mut gathered = false;
        loop {
            match waiting.take() {
                Some(Message::Line(entry)) => {
                    count += 1;
                    line(&mut batch, &entry, stamp.at(UnixTime::now()), format);
                }
                Some(Message::Flush(sender)) => {
                    done = Some(sender);
                    break;
                }
                None if gathered => break,
                None => {
                    std::thread::sleep(GATHER);
                    gathered = true;
                }
            }
            if batch.len() > 256 * 1024 {
                break;
            }
            waiting = lines.try_recv().ok();
        }
        if writer.write_all(&batch).and_then(|()| writer.flush()).is_err() {
            metrics().access_log_lines_dropped.inc_by(count);
        }
        batch.clear();
        batch.shrink_to(1024 * 1024);
        if let Some(done) = done {
            let _ = done.send(());
        }
    }
}

/// A time as text, made anew when the second changes.
#[derive(Default)]
struct Stamp {
    second: Option<UnixTime>,
    text: String,
}

impl Stamp {
    fn at(&mut self, now: UnixTime) -> &str {
        if self.second != Some(now) {
            self.second = Some(now);
            self.text = jiff::Timestamp::from_second(now.0)
                .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
                .to_string();
        }
        &self.text
    }
}

fn line(out: &mut Vec<u8>, entry: &AccessEntry, time: &str, format: LogFormat) {
    // Writing to a Vec does not fail.
    let _ = match format {
        LogFormat::Json => json(out, entry, time),
        LogFormat::Text => text(out, entry, time),
    };
}

fn json(out: &mut Vec<u8>, entry: &AccessEntry, time: &str) -> io::Result<()> {
    write!(out, "{{\"timestamp\":\"{time}\",\"target\":\"access\",\"id\":\"")?;
    out.extend_from_slice(&entry.id);
    write!(out, "\",\"client\":\"{}\",\"user\":", entry.client)?;
    match &entry.user {
        Some(user) => quoted(out, user.as_str())?,
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"method\":");
    quoted(out, method(&entry.method))?;
    out.extend_from_slice(b",\"path\":");
    quoted(out, &entry.path)?;
    write!(
        out,
        ",\"status\":{},\"bytes\":{},\"seconds\":",
        entry.status.as_u16(),
        entry.bytes
    )?;
    seconds(out, entry.total)?;
    if let Some(upstream) = entry.upstream {
        out.extend_from_slice(b",\"upstream_seconds\":");
        seconds(out, upstream)?;
    }
    if entry.broken {
        out.extend_from_slice(b",\"broken\":true");
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}

fn text(out: &mut Vec<u8>, entry: &AccessEntry, time: &str) -> io::Result<()> {
    write!(out, "{time} access id=")?;
    out.extend_from_slice(&entry.id);
    write!(out, " client={} user=", entry.client)?;
    match &entry.user {
        Some(user) => quoted(out, user.as_str())?,
        None => out.push(b'-'),
    }
    out.push(b' ');
    quoted(out, method(&entry.method))?;
    out.push(b' ');
    quoted(out, &entry.path)?;
    write!(out, " status={} bytes={} seconds=", entry.status.as_u16(), entry.bytes)?;
    seconds(out, entry.total)?;
    if let Some(upstream) = entry.upstream {
        out.extend_from_slice(b" upstream_seconds=");
        seconds(out, upstream)?;
    }
    if entry.broken {
        out.extend_from_slice(b" broken");
    }
    out.push(b'\n');
    Ok(())
}

/// A method is a token of any length (RFC 9110, section 9.1); one that nobody knows is not worth more than this.
fn method(method: &Method) -> &str {
    let word = method.as_str();
    // All of a token is ASCII.
    word.get(..32).unwrap_or(word)
}

fn seconds(out: &mut Vec<u8>, time: Duration) -> io::Result<()> {
    write!(out, "{}.{:06}", time.as_secs(), time.subsec_micros())
}

/// A JSON string in printable ASCII only: whatever is in `value` makes no second line, and does nothing to a terminal.
fn quoted(out: &mut Vec<u8>, value: &str) -> io::Result<()> {
    out.push(b'"');
    if value
        .bytes()
        .all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\')
    {
        out.extend_from_slice(value.as_bytes());
    } else {
        for unit in value.encode_utf16() {
            match u8::try_from(unit) {
                Ok(byte @ (b'"' | b'\\')) => out.extend_from_slice(&[b'\\', byte]),
                Ok(byte @ 0x20..=0x7e) => out.push(byte),
                _ => write!(out, "\\u{unit:04x}")?,
            }
        }
    }
    out.push(b'"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Page {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn entry(path: &str) -> AccessEntry {
        AccessEntry {
            id: *b"0123456789abcdef00000001",
            client: IpAddr::from([192, 0, 2, 7]),
            user: Some(UserId::new("u_1")),
            method: Method::GET,
            path: path.to_owned(),
            status: StatusCode::OK,
            bytes: 12,
            total: Duration::from_micros(1_500),
            upstream: Some(Duration::from_micros(1_200)),
            broken: false,
        }
    }

    fn logged(format: LogFormat, entries: Vec<AccessEntry>) -> String {
        let page = Page::default();
        let log = AccessLog::start_on(format, page.clone(), 100).unwrap();
        for entry in entries {
            log.write(entry);
        }
        log.flush();
        page.text()
    }

    #[test]
    fn the_last_lines_are_written_before_the_end_though_the_queue_is_full() {
        let page = Page::default();
        let log = AccessLog::start_on(LogFormat::Json, page.clone(), 3).unwrap();
        for _ in 0..3 {
            log.write(entry("/"));
        }
        log.flush();
        assert_eq!(page.text().lines().count(), 3);
    }

    #[test]
    fn a_json_line_tells_everything_of_a_request() {
        let text = logged(LogFormat::Json, vec![entry("/a/b")]);
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let time = value.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
        assert_eq!(
            value,
            serde_json::json!({
                "target": "access", "id": "0123456789abcdef00000001", "client": "192.0.2.7", "user": "u_1", "method": "GET",
                "path": "/a/b", "status": 200, "bytes": 12, "seconds": 0.0015, "upstream_seconds": 0.0012,
            })
        );
    }

    #[test]
    fn nothing_in_a_path_begins_a_line_or_moves_a_terminal() {
        let hostile = "/\n\r\u{1b}[2J\u{9b}x\u{202e}\u{2028}\"\\ \u{1f600}\u{7f}";
        for format in [LogFormat::Json, LogFormat::Text] {
            let text = logged(format, vec![entry(hostile), entry("/next")]);
            assert_eq!(text.lines().count(), 2, "{text}");
            assert!(
                text.bytes().all(|byte| byte == b'\n' || matches!(byte, 0x20..=0x7e)),
                "{text:?}"
            );
        }
        let json = logged(LogFormat::Json, vec![entry(hostile)]);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["path"], hostile);
    }

    #[test]
    fn a_line_without_user_and_app_says_so() {
        let mut nobody = entry("/");
        nobody.user = None;
        nobody.upstream = None;
        nobody.broken = true;
        let text = logged(LogFormat::Text, vec![nobody]);
        assert!(
            text.contains(" user=- \"GET\" \"/\" status=200 bytes=12 seconds=0.001500 broken\n"),
            "{text}"
        );
    }

    #[test]
    fn the_longest_path_is_cut() {
        let text = logged(LogFormat::Json, vec![entry(&format!("/{}", "\u{e9}".repeat(40_000)))]);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let path = value["path"].as_str().unwrap();
        assert!(
            path.len() < LONGEST_PATH + 8 && path.ends_with('\u{2026}'),
            "{}",
            path.len()
        );
    }

    /// A writer that does not come back until it is told to.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_is_stuck_costs_lines_and_never_time() {
        let (release, stuck) = sync_channel(1);
        let log = AccessLog::start_on(LogFormat::Json, Stuck(stuck), 10).unwrap();
        let before = metrics().access_log_lines_dropped.get();
        let began = Instant::now();
        for _ in 0..10_000 {
            log.write(entry("/"));
        }
        assert!(began.elapsed() < Duration::from_secs(5));
        assert!(metrics().access_log_lines_dropped.get() > before + 5_000);
        drop(release);
    }
}
