//! Whom the gateway believes when it connects: the system's certificate authorities and those of `VESTIBULE_CA_FILE`, by
//! rustls with aws-lc-rs. Verification cannot be switched off.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

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
