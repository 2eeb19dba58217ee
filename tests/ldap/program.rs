//! The gateway as a process of its own, for what is counted in each.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http::StatusCode;

use crate::browser::Browser;
use crate::slapd::{BASE, SECRET, SERVICE, free_port};

pub struct Program {
    child: Child,
    address: SocketAddr,
    ops: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Program {
    /// With directory servers in clear on these ports of this machine.
    pub async fn start(servers: &[u16]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (address, ops) = (at(free_port()), at(free_port()));
        let servers: Vec<String> = servers.iter().map(|port| format!("ldap://127.0.0.1:{port}")).collect();
        let child = Command::new(env!("CARGO_BIN_EXE_vestibule"))
            .env_clear()
            .env("VESTIBULE_UPSTREAM", "http://127.0.0.1:9")
            .env("VESTIBULE_LISTEN", address.to_string())
            .env("VESTIBULE_OPS_LISTEN", ops.to_string())
            .env("VESTIBULE_PUBLIC_URL", format!("http://localhost:{}", address.port()))
            .env(
                "VESTIBULE_DATABASE_URL",
                format!("sqlite:{}", folder.path().join("v.db").display()),
            )
            .env("LOCAL_LDAP_LOGIN", "true")
            .env("LOCAL_LDAP_ADDRESS", servers.join(","))
            .env("LOCAL_LDAP_BASE_DN", BASE)
            .env("LOCAL_LDAP_BIND_DN", SERVICE)
            .env("LOCAL_LDAP_BIND_PW", SECRET)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let program = Self {
            child,
            address,
            ops,
            _folder: folder,
        };
        let until = Instant::now() + Duration::from_secs(30);
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(Instant::now() < until, "it does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        program
    }

    pub fn browser(&self) -> Browser {
        Browser::new(self.address, &format!("http://localhost:{}", self.address.port()))
    }

    /// What a counter stands at.
    pub async fn counted(&self, name: &str) -> u64 {
        let mut browser = Browser::new(self.ops, &format!("http://{}", self.ops));
        let page = browser.get("/metrics").await;
        assert_eq!(page.status, StatusCode::OK);
        let line = page
            .body
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {}", page.body))
            .parse()
            .unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
