//! A gateway on a real socket, an app that writes down every byte it sees, and a client that sends bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use vestibule::cli::serve::Instance;
use vestibule::clock::UnixTime;
use vestibule::config::{
    AuthMethod, ClientAuth, Database, EmailVerified, EntryRules, ForwardingHeader, IdentityField, LogFormat, Oidc,
    ProviderProxy, PublicPaths, PublicUrl, SecretKeys, Settings, Streams, Upstream, UpstreamScheme,
};
use vestibule::directory::{self, Arrival, ClaimedEmail};
use vestibule::person::{EmailAddress, Role};
use vestibule::session::NewSession;
use vestibule::store::Store;
use vestibule::telemetry::Telemetry;

use crate::database;

/// A request as the app saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Everything up to the empty line, as it came.
    pub head: String,
    /// The body as it came, chunk framing included.
    pub body: Vec<u8>,
}

impl Seen {
    /// The values of a field, by its exact name in lower case.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// The names of all fields, lower case with `-` for `_`.
    pub fn names(&self) -> Vec<String> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.to_ascii_lowercase().replace('_', "-"))
            .collect()
    }
}

/// An app that writes down what it sees; what it answers is told by the path.
pub struct App {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
}

impl App {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (for_thread, count) = (Arc::clone(&seen), Arc::clone(&connections));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let seen = Arc::clone(&for_thread);
                thread::spawn(move || serve(stream, &seen));
            }
        });
        Self {
            address,
            seen,
            connections,
        }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Seen>>) {
    let mut buffer = Vec::new();
    let mut served = 0;
    while let Some(head) = read_head(&mut stream, &mut buffer) {
        let path = head
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .split('?')
            .next()
            .unwrap_or_default()
            .to_owned();
        if path == "/early" {
            seen.lock().unwrap().push(Seen { head, body: Vec::new() });
            drop(stream.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
            return;
        }
        let Some(body) = read_body(&mut stream, &mut buffer, &head) else {
            return;
        };
        let plain = dechunked(&head, &body);
        seen.lock().unwrap().push(Seen {
            head: head.clone(),
            body: body.clone(),
        });
        served += 1;
        let answer: Vec<u8> = match path.as_str() {
            "/ws" => return websocket(stream, &head),
            "/switch" => b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\nsmuggled".to_vec(),
            "/coded" => {
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nnot what it seems"));
                return;
            }
            "/nonsense" => b"this is not HTTP\r\n\r\n".to_vec(),
            "/reset" => return,
            "/once" if served > 1 => return,
            "/half" => {
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"));
                return;
            }
            "/slow" => {
                thread::sleep(Duration::from_secs(4));
                b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow".to_vec()
            }
            "/sse" | "/slow-sse" => {
                if path == "/slow-sse" {
                    thread::sleep(Duration::from_millis(600));
                }
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"));
                while stream.write_all(b"data: tick\n\n").is_ok() {
                    thread::sleep(Duration::from_millis(100));
                }
                return;
            }
            "/endless" => {
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n"));
                while stream.write_all(&[b'x'; 16384]).is_ok() {}
                return;
            }
            "/trailers" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Set-Cookie\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\nX-Vestibule-Assertion: x\r\n\r\n".to_vec(),
            "/set-cookie" => b"HTTP/1.1 200 OK\r\nSet-Cookie: vestibule=evil; Path=/\r\nSet-Cookie: app=1\r\nSet-Cookie: __Host-Vestibule-a-1=x\r\nSet-Cookie: =vestibule=x\r\nConnection: X-Internal\r\nX-Internal: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n".to_vec(),
            "/both-lengths" => b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n0\r\n\r\n".to_vec(),
            "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            "/304" => b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n".to_vec(),
            "/103" => b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(),
            "/until-close" => {
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nall of it"));
                return;
            }
            "/large" => [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 8 << 20).into_bytes(), vec![b'x'; 8 << 20]].concat(),
            "/echo" => [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", plain.len()).into_bytes(), plain].concat(),
            _ if head.starts_with("HEAD ") => b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".to_vec(),
            _ => b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\nfrom app".to_vec(),
        };
        if stream.write_all(&answer).is_err() {
            return;
        }
    }
}

fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = buffer.drain(..end + 4).collect::<Vec<u8>>();
            return Some(String::from_utf8_lossy(&head[..end]).into_owned());
        }
        fill(stream, buffer)?;
    }
}

fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut chunk = vec![0; 65536];
    match stream.read(&mut chunk) {
        Ok(0) | Err(_) => None,
        Ok(count) => {
            buffer.extend_from_slice(&chunk[..count]);
            Some(())
        }
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .find(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

fn read_body(stream: &mut TcpStream, buffer: &mut Vec<u8>, head: &str) -> Option<Vec<u8>> {
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
fn chunked_end(bytes: &[u8]) -> Option<usize> {
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

/// Accepts any WebSocket handshake and sends back every byte.
fn websocket(mut stream: TcpStream, head: &str) {
    if !field(head, "upgrade").is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket")) {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nno upgrade"));
        return;
    }
    drop(stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-From: app\r\n\r\n"));
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        if stream.write_all(&chunk[..count]).is_err() {
            return;
        }
    }
}

/// A gateway in front of an [`App`], with one signed-in user.
pub struct Wire {
    pub app: App,
    pub gateway: SocketAddr,
    /// `name=value` of Ada's session cookie.
    pub cookie: String,
    pub instance: Instance,
    settings: Settings,
    runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

impl Wire {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let app = App::start();
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let mut settings = settings(app.address, &folder);
        if let Some(server) = runtime.block_on(database::on_postgres()) {
            settings.database = server;
        }
        change(&mut settings);
        let now = UnixTime::now();
        let instance = runtime
            .block_on(Instance::start(&settings, Arc::new(Telemetry::new(None)), now))
            .unwrap();
        let gateway = instance.addresses()[0];
        let cookie = runtime.block_on(sign_in(&settings, &instance, "ada@example.com", now));
        Self {
            app,
            gateway,
            cookie,
            instance,
            settings,
            runtime,
            _folder: folder,
        }
    }

    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Signs somebody in; `name=value` of their session cookie.
    pub fn sign_in(&self, email: &str) -> String {
        self.run(sign_in(&self.settings, &self.instance, email, UnixTime::now()))
    }

    /// The same, as if it had been at this time.
    pub fn signed_in_at(&self, email: &str, at: UnixTime) -> String {
        self.run(sign_in(&self.settings, &self.instance, email, at))
    }

    pub fn session_length(&self) -> i64 {
        i64::try_from(self.settings.session_length.as_secs()).unwrap()
    }

    pub fn database(&self) -> Database {
        self.settings.database.clone()
    }

    pub fn connect(&self) -> Client {
        Client::to(self.gateway)
    }

    /// Sends `head` (lines, without the last empty one) with Host and the session's cookie, and reads the answer.
    pub fn signed_in(&self, request_line: &str, fields: &[&str]) -> Answer {
        let cookie = format!("Cookie: {}", self.cookie);
        let mut all = vec!["Host: app.test", cookie.as_str()];
        all.extend_from_slice(fields);
        self.ask(request_line, &all)
    }

    /// Sends a request without body and reads the answer.
    pub fn ask(&self, request_line: &str, fields: &[&str]) -> Answer {
        self.connect().ask(request_line, fields)
    }

    /// Sends bytes and reads one answer.
    pub fn raw(&self, bytes: &[u8]) -> Answer {
        let mut client = self.connect();
        client.send(bytes);
        client.answer()
    }
}

async fn sign_in(settings: &Settings, instance: &Instance, email: &str, now: UnixTime) -> String {
    let store = Store::open(&settings.database).await.unwrap();
    let arrival = Arrival {
        issuer: "http://127.0.0.1:9".into(),
        subject: email.into(),
        email: ClaimedEmail::Verified(EmailAddress::parse(email).unwrap()),
        username: Some("ada".into()),
        name: Some("Ada Lovelace".into()),
        groups: Ok(vec!["engineers".into()]),
        hosted_domain: None,
    };
    let admitted = directory::admit(&store, &arrival, &settings.entry, &directory::Actor::system(), now)
        .await
        .unwrap();
    let new = NewSession {
        user: admitted.user,
        issuer: "http://127.0.0.1:9".into(),
        subject: email.into(),
        method: "oidc",
        how: "known",
        groups: vec!["engineers".into()],
        amr: None,
        auth_time: None,
        provider_sid: None,
        id_token: None,
        refresh_token: None,
        from: vestibule::session::Device::default(),
    };
    let (token, _) = instance
        .sessions()
        .begin(new, None, &directory::Actor::system(), now)
        .await
        .unwrap();
    format!("{}={}", settings.public.cookie_name(), token.cookie_value())
}

fn settings(app: SocketAddr, folder: &tempfile::TempDir) -> Settings {
    Settings {
        upstream: Upstream {
            scheme: UpstreamScheme::Http,
            authority: app.to_string().parse().unwrap(),
            timeout: Duration::from_secs(2),
            preserve_host: true,
            headers: vec![("token-user".parse().unwrap(), IdentityField::Email)],
        },
        public: PublicUrl {
            https: false,
            host: "app.test".into(),
            port: None,
        },
        extra_hosts: vec!["app.internal".into()],
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        ops_listen: "127.0.0.1:0".parse().unwrap(),
        database: Database::Sqlite(folder.path().join("test.db")),
        secret_keys: SecretKeys::File(folder.path().join("test.db.key")),
        tls: None,
        hsts: false,
        redirect_listen: None,
        trusted_proxies: Vec::new(),
        trusted_proxy_header: ForwardingHeader::XForwardedFor,
        public_paths: PublicPaths {
            exact: vec!["/health".into()],
            prefixes: vec!["/public/".into()],
        },
        pass_preflight: false,
        allowed_origins: vec!["https://friend.test".into()],
        callback_path: "/oidc/callback".into(),
        logout_path: Some("/logout".into()),
        ca_file: None,
        provider_proxy: ProviderProxy::default(),
        keepalive: Duration::from_secs(75),
        drain_delay: Duration::ZERO,
        drain_timeout: Duration::from_secs(5),
        threads: 2,
        log: "off".into(),
        log_format: LogFormat::Text,
        access_log: false,
        instance_name: "Test".into(),
        oidc: Some(Oidc {
            issuer: "http://127.0.0.1:9".into(),
            client_id: "client".into(),
            client_secret: None,
            auth_method: AuthMethod::Pkce,
            client_auth: ClientAuth::Auto,
            custom_scopes: Vec::new(),
            backchannel: None,
            email_claim: Some("email".into()),
            username_claim: "preferred_username".into(),
            groups_claim: "groups".into(),
            subject_claim: "sub".into(),
            email_verified: EmailVerified::UnlessDenied,
        }),
        ldap: None,
        entry: EntryRules {
            provisioning: true,
            initial_admins: Vec::new(),
            default_role: Role::Member,
            allowed_domains: None,
            allowed_groups: None,
            names_follow: false,
            email_needed: true,
            follow_group_claims: false,
            follow_ldap_groups: false,
        },
        assertion_audience: "http://app.test".into(),
        session_length: Duration::from_hours(1),
        restore: false,
        session_idle: None,
        audit_kept: Duration::from_hours(24),
        session_cache: 64 * 1024 * 1024,
        streams: Streams::EndWithSession,
    }
}

/// A client that sends bytes.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    asked_with: String,
}

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// Nothing came, or the connection broke off.
    pub broken: bool,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    pub fn fields(&self, name: &str) -> Vec<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn is_page(&self) -> bool {
        self.field("content-type")
            .is_some_and(|kind| kind.starts_with("text/html"))
    }

    pub fn is_problem(&self) -> bool {
        self.field("content-type") == Some("application/problem+json")
    }
}

impl Client {
    pub fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
            asked_with: "GET".into(),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        text.split(' ')
            .next()
            .unwrap_or_default()
            .clone_into(&mut self.asked_with);
        // A server may have closed already; the answer tells.
        drop(self.stream.write_all(bytes));
    }

    /// Sends more of a body; whether it could be sent.
    pub fn goes_on(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub fn ask(&mut self, request_line: &str, fields: &[&str]) -> Answer {
        self.send(format!("{request_line} HTTP/1.1\r\n{}\r\n\r\n", fields.join("\r\n")).as_bytes());
        self.answer()
    }

    pub fn head(&mut self) -> Option<String> {
        read_head(&mut self.stream, &mut self.buffer)
    }

    /// Reads one answer to its end.
    pub fn answer(&mut self) -> Answer {
        let Some(head) = self.head() else {
            return Answer {
                status: 0,
                head: String::new(),
                body: std::mem::take(&mut self.buffer),
                broken: true,
            };
        };
        let status: u16 = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or(0);
        if self.asked_with == "HEAD" || matches!(status, 101 | 204 | 304) || (100..200).contains(&status) {
            return Answer {
                status,
                head,
                body: Vec::new(),
                broken: false,
            };
        }
        let to_end = field(&head, "content-length").is_none() && field(&head, "transfer-encoding").is_none();
        if to_end {
            while fill(&mut self.stream, &mut self.buffer).is_some() {}
            return Answer {
                status,
                head,
                body: std::mem::take(&mut self.buffer),
                broken: false,
            };
        }
        match read_body(&mut self.stream, &mut self.buffer, &head) {
            Some(body) => Answer {
                status,
                head,
                body,
                broken: false,
            },
            None => Answer {
                status,
                head,
                body: std::mem::take(&mut self.buffer),
                broken: true,
            },
        }
    }

    /// Whether the server closes within `limit`; what it still sends is kept.
    pub fn closes_within(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        self.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut chunk = [0; 4096];
        while Instant::now() < until {
            match self.stream.read(&mut chunk) {
                Ok(0) => return true,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return true,
            }
        }
        false
    }

    pub fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            if fill(&mut self.stream, &mut self.buffer).is_none() {
                break;
            }
        }
        let count = count.min(self.buffer.len());
        self.buffer.drain(..count).collect()
    }

    pub fn finish_sending(&self) {
        drop(self.stream.shutdown(Shutdown::Write));
    }
}
