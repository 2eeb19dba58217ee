//! Whom the gateway believes when it connects: the system's certificate authorities and those of `VESTIBULE_CA_FILE`, by
//! rustls with aws-lc-rs. Verification cannot be switched off.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CertificateError, ClientConfig, RootCertStore};

/// Why the CA file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}")]
pub struct CannotTrust {
    path: PathBuf,
    why: String,
}

impl CannotTrust {
    /// Of a name that no certificate can be for.
    pub fn new(name: &str, why: &dyn std::error::Error) -> Self {
        Self {
            path: PathBuf::from(name),
            why: why.to_string(),
        }
    }
}

/// TLS as a client, TLS 1.2 and 1.3, offering these protocols (ALPN, RFC 7301).
///
/// # Errors
/// If the CA file cannot be read or holds no certificate.
pub fn client(ca_file: Option<&Path>, protocols: &[&[u8]]) -> Result<ClientConfig, CannotTrust> {
    let roots = roots(ca_file)?;
    let unusable = |error: rustls::Error| CannotTrust {
        path: PathBuf::from("TLS"),
        why: error.to_string(),
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// What to do about a certificate that was not believed; nothing if that is not what the error is about.
#[must_use]
pub fn advice(error: &io::Error) -> Option<&'static str> {
    let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::InvalidCertificate(wrong) = tls else {
        return None;
    };
    // webpki has a word for it, rustls has none.
    let wrong_kind = wrong.to_string().contains("CaUsedAsEndEntity");
    Some(match wrong {
        CertificateError::UnknownIssuer => {
            "if its certificate is from an authority of your own, name that in VESTIBULE_CA_FILE"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name: write one that stands in it (subjectAltName)"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired: renew it",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet: compare the clocks"
        }
        _ if wrong_kind => {
            "its certificate is one of an authority, not of a server: make it with basicConstraints CA:FALSE, or have the \
             authority sign one"
        }
        _ => "its certificate is not good: renew it",
    })
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, CannotTrust> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::debug!(%error, "a certificate authority of the system can't be read");
    }
    roots.add_parsable_certificates(native.certs);
    let Some(file) = ca_file else { return Ok(roots) };
    let wrong = |why: String| CannotTrust {
        path: file.to_owned(),
        why,
    };
    let mut found = false;
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        found = true;
    }
    if found {
        Ok(roots)
    } else {
        Err(wrong("there is no certificate in it (PEM)".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
    use rustls::ServerConfig;
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::{advice, client};

    /// What a client that believes the certificate, or not, meets at `localhost`.
    fn met(believed: bool, change: impl FnOnce(&mut CertificateParams)) -> io::Error {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let file = std::env::temp_dir().join(format!("vestibule-trust-{}.pem", crate::seal::random_name()));
        std::fs::write(&file, certificate.pem()).unwrap();
        let client = client(believed.then_some(file.as_path()), &[]).unwrap();
        std::fs::remove_file(file).unwrap();
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let name = ServerName::try_from("localhost").unwrap();
            let (outcome, _) = tokio::join!(
                TlsConnector::from(Arc::new(client)).connect(name, ours),
                TlsAcceptor::from(Arc::new(server)).accept(theirs)
            );
            outcome.unwrap_err()
        })
    }

    #[test]
    fn each_kind_of_bad_certificate_gets_its_own_advice() {
        let advised = |error: io::Error| advice(&error).unwrap_or_else(|| panic!("{error}"));
        assert!(advised(met(false, |_| ())).contains("VESTIBULE_CA_FILE"));
        let wrong_name = met(true, |params| {
            params.subject_alt_names = CertificateParams::new(["elsewhere.test".to_owned()])
                .unwrap()
                .subject_alt_names;
        });
        assert!(advised(wrong_name).contains("another name"));
        let expired = met(true, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        });
        assert!(advised(expired).contains("expired"));
        let early = met(true, |params| params.not_before = date_time_ymd(2100, 1, 1));
        assert!(advised(early).contains("not valid yet"));
        // What `openssl req -x509` makes unless told otherwise.
        let authority = met(true, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        assert!(advised(authority).contains("CA:FALSE"));
    }

    #[test]
    fn other_errors_get_none() {
        assert_eq!(advice(&io::Error::from(io::ErrorKind::ConnectionRefused)), None);
        assert_eq!(advice(&io::Error::other("whatever")), None);
    }
}
