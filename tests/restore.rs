//! The one-time link into a set-up that nobody can sign in to, with the program as it is run.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

struct Gateway {
    child: Child,
    port: u16,
    written: Arc<Mutex<Vec<String>>>,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Gateway {
    /// Its provider is a port where nobody listens.
    fn start(folder: &Path, port: u16, restore: bool) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
        command
            .env_clear()
            .env("VESTIBULE_UPSTREAM", "http://127.0.0.1:9")
            .env("VESTIBULE_LISTEN", format!("127.0.0.1:{port}"))
            .env("VESTIBULE_OPS_LISTEN", format!("127.0.0.1:{}", free_port()))
            .env("VESTIBULE_PUBLIC_URL", format!("http://localhost:{port}"))
            .env("VESTIBULE_EXTRA_HOSTS", "inside.example")
            .env(
                "VESTIBULE_DATABASE_URL",
                format!("sqlite:{}", folder.join("v.db").display()),
            )
            .env("OIDC_ISSUER", "http://127.0.0.1:9")
            .env("OIDC_CLIENT_ID", "app")
            .env("VESTIBULE_INITIAL_ADMINS", "ada@example.com")
            .env("VESTIBULE_LOG", "trace")
            .env("VESTIBULE_LOG_FORMAT", "json")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if restore {
            command.env("LOCAL_RESTORE", "true");
        }
        let mut child = command.spawn().unwrap();
        let written = Arc::new(Mutex::new(Vec::new()));
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let lines = Arc::clone(&written);
        std::thread::spawn(move || collect(BufReader::new(out), &lines));
        let lines = Arc::clone(&written);
        std::thread::spawn(move || collect(BufReader::new(err), &lines));
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                Instant::now() < until,
                "it does not start: {:?}",
                written.lock().unwrap()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        let gateway = Self { child, port, written };
        while gateway.said("serving").is_empty() {
            assert!(Instant::now() < until, "it does not serve");
            std::thread::sleep(Duration::from_millis(50));
        }
        // What it wrote on the other stream is read by another thread.
        std::thread::sleep(Duration::from_millis(500));
        gateway
    }

    fn said(&self, what: &str) -> Vec<String> {
        let lines = self.written.lock().unwrap();
        lines.iter().filter(|line| line.contains(what)).cloned().collect()
    }

    /// The path and query of the link, if one was written.
    fn link(&self) -> Option<String> {
        let line = self.said("/.vestibule/restore?link=").into_iter().next()?;
        let at = line.find("/.vestibule/restore").unwrap();
        Some(line[at..].trim().to_owned())
    }

    fn ask(&self, method: &str, target: &str, host: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let mut lines = String::new();
        for (name, value) in headers {
            lines.extend([name, ": ", value, "\r\n"]);
        }
        write!(
            stream,
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\nConnection: close\r\nContent-Type: \
             application/x-www-form-urlencoded\r\nContent-Length: {}\r\n{lines}\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        Answer(text)
    }

    fn get(&self, target: &str, cookies: &str) -> Answer {
        self.ask("GET", target, &self.host(), &[("Cookie", cookies)], "")
    }

    fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    fn stop(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(reader: impl std::io::BufRead, lines: &Mutex<Vec<String>>) {
    for line in reader.lines().map_while(Result::ok) {
        lines.lock().unwrap().push(line);
    }
}

struct Answer(String);

impl Answer {
    fn status(&self) -> &str {
        self.0.split(' ').nth(1).unwrap_or_default()
    }

    fn cookies(&self) -> String {
        let head = self.0.split("\r\n\r\n").next().unwrap();
        let set = head.lines().filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("set-cookie")
                .then(|| value.split(';').next().unwrap())
        });
        set.filter(|cookie| !cookie.ends_with('='))
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// What the button sends.
    fn form(&self) -> String {
        let mut fields = url::form_urlencoded::Serializer::new(String::new());
        for part in self.0.split("type=\"hidden\" name=\"").skip(1) {
            let (name, rest) = part.split_once("\" value=\"").unwrap();
            fields.append_pair(name, rest.split('"').next().unwrap());
        }
        fields.finish()
    }
}

#[test]
fn one_link_signs_an_admin_in_once_for_an_hour_whatever_the_provider_does() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    // Without the setting there is no such path.
    let gateway = Gateway::start(folder.path(), port, false);
    assert_eq!(gateway.get("/.vestibule/restore?link=x", "").status(), "404");
    assert_eq!(gateway.link(), None);
    gateway.stop();

    let first = Gateway::start(folder.path(), port, true);
    let link = first.link().expect("a link on standard error");
    let (path, secret) = link.split_once("?link=").unwrap();
    assert_eq!(
        first.get("/.vestibule/login", "").status(),
        "503",
        "the provider is down"
    );
    // Another start writes no other, and takes the first one's not away.
    first.stop();
    let gateway = Gateway::start(folder.path(), port, true);
    assert_eq!(gateway.link(), None);
    assert_eq!(gateway.said("was written before").len(), 1);

    // Looking at it does not use it up.
    for _ in 0..3 {
        assert_eq!(gateway.get(&link, "").status(), "200");
    }
    assert_eq!(gateway.ask("HEAD", &link, &gateway.host(), &[], "").status(), "405");
    assert_eq!(gateway.get(&format!("{path}?link=other"), "").status(), "403");
    // Those who try links are slowed, and keep out nobody who has the right one, whoever shares their address.
    let mut statuses = (0..12).map(|_| gateway.get(&format!("{path}?link=guess"), "").status().to_owned());
    assert!(statuses.any(|status| status == "429"));
    let guess = gateway.ask("POST", path, &gateway.host(), &[], "link=guess&state=x");
    assert_eq!(guess.status(), "429", "by the form, too");
    let page = gateway.get(&link, "");
    let (form, cookies) = (page.form(), page.cookies());
    let send = |host: &str, cookies: &str, headers: &[(&str, &str)], form: &str| {
        let headers = [&[("Cookie", cookies)], headers].concat();
        gateway.ask("POST", path, host, &headers, form)
    };
    let host = gateway.host();
    assert_eq!(
        send("inside.example", &cookies, &[], &form).status(),
        "421",
        "nobody signs in under another name"
    );
    assert_eq!(send(&host, "", &[], &form).status(), "400", "another browser's page");
    assert_eq!(
        send(&host, &cookies, &[("Origin", "https://evil.example")], &form).status(),
        "403"
    );
    assert_eq!(
        send(&host, &cookies, &[("Sec-Fetch-Site", "cross-site")], &form).status(),
        "403"
    );

    let entered = send(&host, &cookies, &[], &form);
    assert_eq!(entered.status(), "303", "{}", entered.0);
    assert!(
        entered.0.contains("Max-Age=3600") || entered.0.contains("Max-Age=3599"),
        "{}",
        entered.0
    );
    let session = entered.cookies();
    let who = gateway.get("/.vestibule/whoami", &session);
    assert!(
        who.0.contains("\"method\":\"restore\"") && who.0.contains("\"role\":\"admin\""),
        "{}",
        who.0
    );

    // Once.
    assert_eq!(send(&host, &cookies, &[], &form).status(), "429");
    assert_eq!(gateway.get(&link, "").status(), "429");
    assert!(
        gateway.said("restore link").iter().any(|line| line.contains("sign_in")),
        "an audit event"
    );
    assert!(gateway.said(secret).is_empty(), "it stands in no log");
    gateway.stop();

    let again = Gateway::start(folder.path(), port, true);
    assert_eq!(again.link(), None);
    assert_eq!(again.said("the link was used").len(), 1);
    // The form counts as the link does.
    let guess = || {
        again
            .ask("POST", path, &again.host(), &[], "link=guess")
            .status()
            .to_owned()
    };
    let guesses: Vec<_> = (0..12).map(|_| guess()).collect();
    assert!(guesses[..10].iter().all(|status| status == "403"), "{guesses:?}");
    assert_eq!(guesses[10..], ["429", "429"]);
    assert!(
        again
            .get("/.vestibule/whoami", &session)
            .0
            .contains("\"role\":\"admin\"")
    );
    again.stop();
    // Switched off and on again, there is another.
    Gateway::start(folder.path(), port, false).stop();
    let again = Gateway::start(folder.path(), port, true);
    assert!(again.link().is_some_and(|other| other != link));
    again.stop();
}
