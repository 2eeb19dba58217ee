//! What operators see and do, on the real program: its ops listener, its log, its access log, and the signals it hears.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

/// The program, running, with all that it says.
struct Gateway {
    child: Child,
    public: SocketAddr,
    ops: SocketAddr,
    log: Lines,
    access_log: Lines,
    folder: TempDir,
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn of(reader: impl std::io::Read + Send + 'static) -> Self {
        let lines = Self::default();
        let kept = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                kept.0.lock().unwrap().push(line);
            }
        });
        lines
    }

    /// Waits for a line that holds `part`.
    fn wait_for(&self, part: &str) -> String {
        let found = || self.0.lock().unwrap().iter().find(|line| line.contains(part)).cloned();
        until(found).unwrap_or_else(|| panic!("no line with {part:?} in {:#?}", self.0.lock().unwrap()))
    }
}

fn until<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if began.elapsed() > SOON {
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

impl Gateway {
    /// Runs it in front of [`app`] with this TOML besides what it needs. There is no provider behind its issuer.
    fn run(toml: &str) -> Self {
        Self::start(Command::new(env!("CARGO_BIN_EXE_vestibule")), toml, app())
    }

    /// Runs it with so many files that it may open.
    fn with_files(files: usize, app: SocketAddr) -> Self {
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg(format!("ulimit -n {files} && exec \"$0\" \"$@\""))
            .arg(env!("CARGO_BIN_EXE_vestibule"));
        Self::start(shell, "threads = 2", app)
    }

    fn start(mut program: Command, toml: &str, app: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (public, ops) = (free_address(), free_address());
        std::fs::write(folder.path().join("vestibule.toml"), toml).unwrap();
        let mut child = program
            .arg("--config")
            .arg(folder.path().join("vestibule.toml"))
            .env_clear()
            .env("VESTIBULE_UPSTREAM", format!("http://{app}"))
            .env("VESTIBULE_LISTEN", public.to_string())
            .env("VESTIBULE_OPS_LISTEN", ops.to_string())
            .env(
                "VESTIBULE_DATABASE_URL",
                format!("sqlite:{}", folder.path().join("v.db").display()),
            )
            .env("VESTIBULE_PUBLIC_PATHS", "/public/*")
            .env("OIDC_ISSUER", format!("http://{}", free_address()))
            .env("OIDC_CLIENT_ID", "vestibule")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let gateway = Self {
            access_log: Lines::of(child.stdout.take().unwrap()),
            log: Lines::of(child.stderr.take().unwrap()),
            child,
            public,
            ops,
            folder,
        };
        gateway.log.wait_for("\"serving\"");
        gateway
    }

    fn signal(&self, name: &str) {
        let told = Command::new("kill").arg(name).arg(self.child.id().to_string()).status();
        assert!(told.unwrap().success());
    }

    fn rewrite(&self, toml: &str) {
        std::fs::write(self.folder.path().join("vestibule.toml"), toml).unwrap();
    }

    fn metric(&self, name: &str) -> u64 {
        let metrics = get(self.ops, "/metrics");
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {metrics}"))
            .parse()
            .unwrap()
    }

    fn ends(&mut self) -> ExitStatus {
        until(|| self.child.try_wait().unwrap()).expect("it ends")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// An app that takes its time for `/public/slow`, and never ends `/public/stream`.
fn app() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut head = String::new();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|read| read > 0) {}
                if head.starts_with("GET /public/stream") {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
                    while stream.write_all(b"data: tick\n\n").is_ok() {
                        thread::sleep(Duration::from_millis(50));
                    }
                    return;
                }
                if head.starts_with("GET /public/slow") {
                    thread::sleep(Duration::from_secs(2));
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\ndone");
            });
        }
    });
    address
}

fn ask(address: SocketAddr, path: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SOON))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\r\n",
        address.port()
    );
    stream.write_all(request.as_bytes())?;
    Ok(stream)
}

/// The whole answer, head and body.
fn get(address: SocketAddr, path: &str) -> String {
    let mut answer = String::new();
    ask(address, path).unwrap().read_to_string(&mut answer).unwrap();
    answer
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn operators_see_how_it_is_and_clients_do_not() {
    let gateway = Gateway::run("");
    assert!(get(gateway.ops, "/healthz").starts_with("HTTP/1.1 200 "));
    let ready = get(gateway.ops, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    let ready: Value = serde_json::from_str(body(&ready)).unwrap();
    assert_eq!(
        (&ready["ready"], &ready["provider"]["state"]),
        (&true.into(), &"unknown".into())
    );

    assert!(get(gateway.public, "/public/x").starts_with("HTTP/1.1 200 "));
    assert!(get(gateway.public, "/private?token=secret").starts_with("HTTP/1.1 401 "));
    assert_eq!(
        gateway.metric("vestibule_requests_total{class=\"public\",code=\"200\"}"),
        1
    );
    assert_eq!(
        gateway.metric("vestibule_requests_total{class=\"protected\",code=\"401\"}"),
        1
    );
    assert_eq!(gateway.metric("vestibule_provider_state{state=\"unknown\"}"), 1);

    let keys = get(gateway.ops, "/.vestibule/jwks.json");
    assert!(body(&keys).contains("\"ES256\""), "{keys}");
    assert_eq!(body(&keys), body(&get(gateway.public, "/.vestibule/jwks.json")));
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert!(
            get(gateway.public, path).starts_with("HTTP/1.1 401 "),
            "{path} is the app's own on the public listener"
        );
    }
}

#[test]
fn a_request_is_one_line_without_its_query() {
    let gateway = Gateway::run("");
    get(gateway.public, "/public/x?token=secret");
    let line = gateway.access_log.wait_for("/public/x");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["path"], "/public/x");
    assert_eq!(
        (&line["status"], &line["bytes"], &line["user"]),
        (&200.into(), &4.into(), &Value::Null)
    );
    assert!(
        line["id"].is_string() && line["seconds"].is_number() && line["upstream_seconds"].is_number(),
        "{line}"
    );
    for line in gateway.log.0.lock().unwrap().iter() {
        assert!(
            serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()),
            "{line}"
        );
    }
}

#[test]
fn draining_finishes_what_is_under_way_and_takes_nothing_new() {
    let mut gateway = Gateway::run("drain_delay = 1\ndrain_timeout = 15\n");
    let mut slow = ask(gateway.public, "/public/slow").unwrap();
    let mut stream = ask(gateway.public, "/public/stream").unwrap();
    let mut first = [0; 1024];
    assert!(stream.read(&mut first).unwrap() > 0);

    gateway.signal("-TERM");
    let unready = || get(gateway.ops, "/readyz").starts_with("HTTP/1.1 503 ").then_some(());
    until(unready).expect("it is unready");
    assert!(get(gateway.ops, "/healthz").starts_with("HTTP/1.1 200 "));
    // Load balancers have not noticed yet.
    assert!(get(gateway.public, "/public/x").starts_with("HTTP/1.1 200 "));

    let closed = || TcpStream::connect(gateway.public).is_err().then(Instant::now);
    let closed = until(closed).expect("the listener closes");
    // The stream ends though it would go on for ever; the request under way is answered.
    while stream.read(&mut first).is_ok_and(|read| read > 0) {}
    assert!(closed.elapsed() < Duration::from_secs(5), "the stream went on");
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert_eq!(body(&answer), "done");
    assert_eq!(gateway.ends().code(), Some(0));
    gateway.access_log.wait_for("/public/slow");
}

#[test]
fn a_second_signal_does_not_wait() {
    let mut gateway = Gateway::run("drain_delay = 600\n");
    gateway.signal("-TERM");
    gateway.log.wait_for("draining");
    gateway.signal("-INT");
    assert_eq!(gateway.ends().code(), Some(0));
}

#[test]
fn a_reload_takes_over_names_or_refuses() {
    let mut gateway = Gateway::run("allowed_email_domains = [\"example.com\"]\n");

    gateway.rewrite("allowed_email_domains = [\"example.org\"]\nkeepalive = 30\n");
    gateway.signal("-HUP");
    gateway.log.wait_for("rules of who gets in were taken over");
    let named = gateway.log.wait_for("need a restart");
    assert!(
        named.contains("VESTIBULE_KEEPALIVE") && !named.contains("DOMAINS"),
        "{named}"
    );

    gateway.rewrite("keepalive = \"long\"\n");
    gateway.signal("-HUP");
    let refused = gateway.log.wait_for("is refused; the old one stays");
    assert!(refused.contains("VESTIBULE_KEEPALIVE"), "{refused}");
    assert_eq!(gateway.metric("vestibule_reloads_total"), 1);
    assert_eq!(gateway.metric("vestibule_reloads_refused_total"), 1);

    gateway.rewrite("log = \"error\"\n");
    gateway.signal("-HUP");
    until(|| (gateway.metric("vestibule_reloads_total") == 2).then_some(())).expect("it is taken over");

    assert!(get(gateway.public, "/public/x").starts_with("HTTP/1.1 200 "));
    gateway.signal("-TERM");
    assert_eq!(gateway.ends().code(), Some(0));
    let log = gateway.log.0.lock().unwrap();
    assert!(
        !log.iter().any(|line| line.contains("draining")),
        "only errors are told now: {log:#?}"
    );
}

/// An app that counts its connections and closes none. To a POST it answers at once, whatever of it has come; to a GET never.
fn hoarder() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            counted.fetch_add(1, Ordering::SeqCst);
            thread::spawn(move || {
                let mut chunk = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut chunk) {
                    if chunk[..read].starts_with(b"POST ") {
                        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
                    }
                }
            });
        }
    });
    (address, count)
}

#[test]
fn clients_with_many_streams_leave_files_for_others() {
    for method in ["GET", "POST"] {
        let (app, connections) = hoarder();
        let gateway = Gateway::with_files(64, app);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let streams = runtime.block_on(async {
            let mut streams = Vec::new();
            for _ in 0..3 {
                let stream = tokio::net::TcpStream::connect(gateway.public).await.unwrap();
                let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
                tokio::spawn(connection);
                for _ in 0..30 {
                    sender = sender.ready().await.unwrap();
                    let uri = format!("http://localhost:{}/public/x", gateway.public.port());
                    let request = http::Request::builder().method(method).uri(uri).body(()).unwrap();
                    // The body of a POST never ends.
                    streams.push(sender.send_request(request, method == "GET").unwrap());
                }
            }
            // As long as connections to the app idle, and longer.
            tokio::time::sleep(Duration::from_secs(4)).await;
            streams
        });
        let count = connections.load(Ordering::SeqCst);
        assert!(
            count > 0 && count <= 16,
            "{method}: {count} connections of at most 64 files"
        );
        let answer = get(gateway.public, "/.vestibule/jwks.json");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{method}: {answer}");
        drop(streams);
    }
}
