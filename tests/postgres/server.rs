//! A PostgreSQL server of a test's own: with a certificate, a password, and a switch.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

pub const PASSWORD: &str = "canary: p@ss/word";
const PASSWORD_IN_A_URL: &str = "canary%3A%20p%40ss%2Fword";

pub struct Server {
    folder: tempfile::TempDir,
    programs: PathBuf,
    pub port: u16,
}

impl Server {
    /// None where `VESTIBULE_TEST_POSTGRES_BIN` names no folder of PostgreSQL's programs; tests/run.sh does.
    #[expect(clippy::disallowed_methods, reason = "the gateway's settings are not concerned")]
    pub fn start() -> Option<Self> {
        let Some(programs) = std::env::var_os("VESTIBULE_TEST_POSTGRES_BIN") else {
            eprintln!("VESTIBULE_TEST_POSTGRES_BIN is not set: nothing is tried on a server of its own");
            return None;
        };
        let server = Self {
            folder: tempfile::tempdir().unwrap(),
            programs: programs.into(),
            port: TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(),
        };
        let path = server.folder.path();
        std::fs::write(path.join("password"), PASSWORD).unwrap();
        certificates(path);
        own(path);
        let data = path.join("data");
        server.run(
            "initdb",
            &[
                "-D",
                data.to_str().unwrap(),
                "-U",
                "vestibule",
                "-A",
                "scram-sha-256",
                "--no-sync",
                "-E",
                "UTF8",
            ],
            &["--locale=C.UTF-8", "--pwfile", path.join("password").to_str().unwrap()],
        );
        let configuration = format!(
            "listen_addresses = '127.0.0.1,::1'\nport = {}\nunix_socket_directories = ''\nfsync = off\nssl = on\n\
             ssl_cert_file = '{folder}/server.pem'\nssl_key_file = '{folder}/server.key'\n",
            server.port,
            folder = path.display()
        );
        std::fs::write(data.join("postgresql.auto.conf"), configuration).unwrap();
        std::fs::write(
            data.join("pg_hba.conf"),
            "hostssl all all 0.0.0.0/0 scram-sha-256\nhostssl all all ::/0 scram-sha-256\n",
        )
        .unwrap();
        own(path);
        server.switch("start");
        Some(server)
    }

    /// `start`, `stop` or `restart`.
    pub fn switch(&self, what: &str) {
        let data = self.folder.path().join("data");
        let log = self.folder.path().join("log");
        self.run(
            "pg_ctl",
            &["-D", data.to_str().unwrap(), "-w", "-t", "60", "-m", "fast"],
            &["-l", log.to_str().unwrap(), what],
        );
    }

    fn run(&self, program: &str, arguments: &[&str], more: &[&str]) {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            // PostgreSQL is not for root.
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        let done = command
            .args(arguments)
            .args(more)
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{}{}",
            String::from_utf8_lossy(&done.stderr),
            std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
        );
    }

    /// Its address as a setting, with these parameters.
    pub fn url(&self, host: &str, parameters: &str) -> String {
        format!(
            "postgres://vestibule:{PASSWORD_IN_A_URL}@{host}:{}/postgres?{parameters}",
            self.port
        )
    }

    /// An empty database of this name.
    pub fn database(&self, name: &str) -> String {
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url("localhost", "sslmode=require")
            .replace("/postgres?", &format!("/{name}?"))
    }

    /// Runs a statement and returns what it answers, a line a row.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let done = Command::new(self.programs.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .env("PGPASSWORD", PASSWORD)
            .arg(format!(
                "host=127.0.0.1 port={} user=vestibule dbname={database} sslmode=require",
                self.port
            ))
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{sql}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        String::from_utf8(done.stdout).unwrap()
    }

    /// The CA whose certificate it has, and one that has nothing to do with it.
    pub fn authority(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap_or_default();
        if let Some(pid) = pid.lines().next() {
            let _ = Command::new("kill").args(["-QUIT", pid]).status();
        }
    }
}

/// `ca.pem`, `other-ca.pem`, and a certificate of the first for `localhost` alone.
fn certificates(folder: &Path) {
    for name in ["ca", "other-ca"] {
        let key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(vec![]).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = authority.self_signed(&key).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        if name == "ca" {
            let issuer = Issuer::new(authority, key);
            let key = KeyPair::generate().unwrap();
            let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            let server = server.signed_by(&key, &issuer).unwrap();
            std::fs::write(folder.join("server.pem"), server.pem()).unwrap();
            std::fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
        }
    }
}

fn own(folder: &Path) {
    let mode = Command::new("chmod")
        .arg("600")
        .arg(folder.join("server.key"))
        .status()
        .unwrap();
    assert!(mode.success());
    if is_root() {
        let owned = Command::new("chown")
            .args(["-R", "postgres:"])
            .arg(folder)
            .status()
            .unwrap();
        assert!(owned.success());
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}
