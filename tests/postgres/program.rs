//! The program as a shell sees it, with what every gateway needs set.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// `VESTIBULE_SECRET_KEY` of all of them.
pub const KEY: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";

pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn objects(&self) -> Vec<Value> {
        assert_eq!(self.code, Some(0), "{}", self.err);
        serde_json::from_str(&self.out).unwrap()
    }
}

fn command(folder: &Path, env: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    command
        .current_dir(folder)
        .env_clear()
        .env("VESTIBULE_SECRET_KEY", KEY)
        .envs(env.iter().copied())
        .args(arguments);
    command
}

pub fn run(folder: &Path, env: &[(&str, &str)], arguments: &[&str]) -> Said {
    let output = command(folder, env, arguments).output().unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A gateway in front of nothing, behind a provider that is not there.
pub struct Gateway {
    child: Child,
    pub ops: SocketAddr,
}

impl Gateway {
    pub fn start(folder: &Path, database: &str) -> Self {
        let (listen, ops) = (free_address(), free_address());
        let env = [
            ("VESTIBULE_DATABASE_URL", database),
            ("VESTIBULE_UPSTREAM", "http://127.0.0.1:9"),
            ("OIDC_ISSUER", "http://127.0.0.1:9"),
            ("OIDC_CLIENT_ID", "vestibule"),
            ("VESTIBULE_LISTEN", &listen.to_string()),
            ("VESTIBULE_OPS_LISTEN", &ops.to_string()),
        ];
        let log = std::fs::File::create(folder.join(format!("log-{}", ops.port()))).unwrap();
        let child = command(folder, &env, &["serve"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Self {
            child: child.unwrap(),
            ops,
        }
    }

    /// Whether `/readyz` says yes.
    pub fn is_ready(&self) -> bool {
        get(self.ops, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    pub fn log(&self, folder: &Path) -> String {
        std::fs::read_to_string(folder.join(format!("log-{}", self.ops.port()))).unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn get(address: SocketAddr, path: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
