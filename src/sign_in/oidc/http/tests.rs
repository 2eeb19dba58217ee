use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{Answer, LONGEST_ANSWER, NoAnswer, ProviderClient};
use crate::config::ProviderProxy;
use crate::sign_in::CannotStart;

fn client() -> ProviderClient {
    ProviderClient::new(None, &ProviderProxy::default()).unwrap()
}

async fn ask(client: &ProviderClient, url: &str) -> Result<Answer, NoAnswer> {
    let request = Request::builder().uri(url).body(Bytes::new()).unwrap();
    client.ask(request).await
}

/// Reads a request head and answers with `bytes`, whatever was asked, then keeps the connection open.
async fn answers(bytes: Vec<u8>) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else {
                return;
            };
            let (bytes, heard) = (bytes.clone(), Arc::clone(&hears));
            tokio::spawn(async move {
                let head = head(&mut stream).await;
                heard.lock().unwrap().push(head);
                let _ = stream.write_all(&bytes).await;
                tokio::time::sleep(Duration::from_secs(30)).await;
            });
        }
    });
    (address, heard)
}

async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

fn ok(headers: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{headers}\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}

async fn answer_to(bytes: Vec<u8>) -> Result<Answer, NoAnswer> {
    let (address, _) = answers(bytes).await;
    let client = client().waiting_at_most(Duration::from_secs(8));
    ask(&client, &format!("http://{address}/x?y=z")).await
}

#[tokio::test]
async fn an_answer_is_read_whole_and_asked_for_by_its_own_name() {
    let (address, heard) = answers(ok("Content-Type: Application/JSON; charset=utf-8\r\n", b"{}")).await;
    let answer = ask(&client(), &format!("http://{address}/x?y=z")).await.unwrap();
    assert_eq!(answer.body.as_ref(), b"{}");
    assert_eq!(answer.content_type.as_deref(), Some("application/json"));
    let heard = heard.lock().unwrap().concat().to_ascii_lowercase();
    assert!(heard.starts_with("get /x?y=z http/1.1\r\n"), "{heard}");
    assert!(
        heard.contains(&format!("host: {address}\r\n")) && heard.contains("user-agent: vestibule/"),
        "{heard}"
    );
}

#[tokio::test]
async fn more_than_a_mebibyte_is_not_read() {
    assert!(answer_to(ok("", &vec![b' '; LONGEST_ANSWER])).await.is_ok());
    let longer = answer_to(ok("", &vec![b' '; LONGEST_ANSWER + 1])).await;
    assert!(matches!(longer, Err(NoAnswer::TooLong(_))), "{longer:?}");
    let mut chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..20 {
        chunked.extend_from_slice(b"10000\r\n");
        chunked.extend_from_slice(&vec![b' '; 0x10000]);
        chunked.extend_from_slice(b"\r\n");
    }
    let endless = answer_to(chunked).await;
    assert!(matches!(endless, Err(NoAnswer::TooLong(_))), "{endless:?}");
}

#[tokio::test]
async fn who_does_not_answer_in_time_is_not_waited_for() {
    for bytes in [
        b"".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Le".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{".to_vec(),
    ] {
        let (address, _) = answers(bytes).await;
        let client = client().waiting_at_most(Duration::from_millis(300));
        let begun = Instant::now();
        let slow = ask(&client, &format!("http://{address}/")).await;
        assert!(matches!(slow, Err(NoAnswer::TooSlow(..))), "{slow:?}");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn redirects_are_told_and_not_followed() {
    let (elsewhere, heard) = answers(ok("", b"{}")).await;
    for status in [301, 302, 303, 307, 308] {
        let redirect = format!("HTTP/1.1 {status} X\r\nLocation: http://{elsewhere}/\r\nContent-Length: 0\r\n\r\n");
        let answer = answer_to(redirect.into_bytes()).await.unwrap();
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.location, Some(format!("http://{elsewhere}/")));
    }
    assert!(heard.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_compressed_or_no_http_is_no_answer() {
    for coding in ["gzip", "br", "gzip, identity"] {
        let answer = answer_to(ok(&format!("Content-Encoding: {coding}\r\n"), b"x")).await;
        assert!(matches!(answer, Err(NoAnswer::Compressed(_))), "{answer:?}");
    }
    for nonsense in [
        b"SSH-2.0-OpenSSH\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n".to_vec(),
        format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(4 << 20)).into_bytes(),
    ] {
        let answer = answer_to(nonsense.clone()).await;
        assert!(
            matches!(answer, Err(NoAnswer::Broken(..))),
            "{:?}: {answer:?}",
            nonsense.get(..30)
        );
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let answer = ask(&client(), &format!("http://{closed}/")).await;
    assert!(matches!(answer, Err(NoAnswer::Connect(..))), "{answer:?}");
}

struct Authority {
    file: tempfile::NamedTempFile,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(certificate.pem().as_bytes()).unwrap();
        Self {
            file,
            issuer: Issuer::new(params, key),
        }
    }

    /// A TLS server that calls itself `name`.
    async fn server(&self, name: &str) -> SocketAddr {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &self.issuer)
            .unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    head(&mut stream).await;
                    let _ = stream.write_all(&ok("", b"{}")).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        address
    }
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_only_where_it_is_named() {
    let authority = Authority::new();
    let address = authority.server("localhost").await;
    let url = format!("https://localhost:{}/", address.port());
    let trusting = ProviderClient::new(Some(authority.file.path()), &ProviderProxy::default()).unwrap();
    assert_eq!(ask(&trusting, &url).await.unwrap().body.as_ref(), b"{}");

    let untrusting = ask(&client(), &url).await.unwrap_err();
    assert!(matches!(untrusting, NoAnswer::Tls(..)));
    assert!(untrusting.to_string().contains("VESTIBULE_CA_FILE"), "{untrusting}");

    let other_name = authority.server("other.example").await;
    let answer = ask(&trusting, &format!("https://localhost:{}/", other_name.port())).await;
    assert!(matches!(answer, Err(NoAnswer::Tls(..))), "{answer:?}");
}

#[test]
fn a_file_without_a_certificate_is_told() {
    let missing = std::path::Path::new("/nonexistent/ca.pem");
    let mut empty = tempfile::NamedTempFile::new().unwrap();
    for _ in 0..2 {
        for path in [missing, empty.path()] {
            let error = ProviderClient::new(Some(path), &ProviderProxy::default()).unwrap_err();
            assert!(matches!(error, CannotStart::CaFile(_)), "{error}");
        }
        empty
            .write_all(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
            .unwrap();
    }
}

/// A proxy that connects, or says `status`.
async fn proxy(status: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else {
                return;
            };
            let heard = Arc::clone(&hears);
            tokio::spawn(async move {
                let head = head(&mut stream).await;
                let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
                heard.lock().unwrap().push(head);
                let _ = stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await;
                if status.starts_with("200") {
                    let mut there = TcpStream::connect(target).await.unwrap();
                    carry(&mut stream, &mut there).await;
                }
            });
        }
    });
    (address, heard)
}

async fn carry(here: &mut (impl AsyncRead + AsyncWrite + Unpin), there: &mut TcpStream) {
    let _ = tokio::io::copy_bidirectional(here, there).await;
}

fn through(authority: &Authority, url: &str, no_proxy: &str) -> Result<ProviderClient, CannotStart> {
    let proxy = ProviderProxy {
        url: Some(url.to_owned().into()),
        no_proxy: no_proxy.to_owned(),
    };
    ProviderClient::new(Some(authority.file.path()), &proxy)
}

#[tokio::test]
async fn https_goes_through_the_proxy_but_for_what_is_excepted_and_plain_http() {
    let authority = Authority::new();
    let server = authority.server("localhost").await;
    let (proxy, heard) = proxy("200 Connection established").await;
    let url = format!("https://localhost:{}/", server.port());

    let client = through(&authority, &format!("http://user:p%40ss@{proxy}"), "").unwrap();
    assert_eq!(ask(&client, &url).await.unwrap().body.as_ref(), b"{}");
    let connect = heard.lock().unwrap().concat();
    assert!(
        connect.starts_with(&format!("CONNECT localhost:{} HTTP/1.1\r\n", server.port())),
        "{connect}"
    );
    assert!(
        connect
            .to_ascii_lowercase()
            .contains("proxy-authorization: basic dxnlcjpwqhnz\r\n"),
        "{connect}"
    );

    let client = through(&authority, &format!("http://{proxy}"), "example.com, localhost").unwrap();
    assert!(ask(&client, &url).await.is_ok());
    let (plain, _) = answers(ok("", b"{}")).await;
    let client = through(&authority, &format!("http://{proxy}"), "").unwrap();
    assert!(ask(&client, &format!("http://{plain}/")).await.is_ok());
    assert_eq!(heard.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_proxy_that_refuses_or_is_not_there_is_told() {
    let authority = Authority::new();
    let server = authority.server("localhost").await;
    let url = format!("https://localhost:{}/", server.port());
    for status in ["407 Proxy Authentication Required", "302 Found", "502 Bad Gateway"] {
        let (proxy, _) = proxy(status).await;
        let client = through(&authority, &format!("http://{proxy}"), "").unwrap();
        let error = ask(&client, &url).await.unwrap_err();
        assert!(matches!(error, NoAnswer::Proxy(..)), "{error}");
        assert!(error.to_string().contains(status.split(' ').next().unwrap()), "{error}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = through(&authority, &format!("http://{nobody}"), "").unwrap();
    assert!(matches!(ask(&client, &url).await, Err(NoAnswer::Proxy(..))));
    for scheme in ["socks5", "https", "ftp"] {
        let error = through(&authority, &format!("{scheme}://user:secret@{nobody}"), "").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
