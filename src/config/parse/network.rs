//! Where the gateway listens, who browsers see, and what stands in between.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::SecretString;
use url::Host;

use super::Reader;
use crate::config::settings::{ForwardingHeader, ProviderProxy, PublicUrl, Tls, TlsMin};
use crate::config::words;

pub(super) fn listen(reader: &mut Reader<'_>) -> Option<Vec<SocketAddr>> {
    const NAME: &str = "VESTIBULE_LISTEN";
    let mut addresses: Vec<SocketAddr> = Vec::new();
    let mut well = true;
    for item in reader.items(NAME) {
        match item.parse::<SocketAddr>() {
            Ok(address) if addresses.iter().any(|other| same_socket(*other, address)) => {
                reader.wrong_item(NAME, &item, "it is there twice", "each address once");
                well = false;
            }
            Ok(address) => addresses.push(address),
            Err(_) => {
                reader.wrong_item(NAME, &item, "it is no ip:port", LISTEN_WRITE);
                well = false;
            }
        }
    }
    if well && addresses.is_empty() {
        reader.wrong(NAME, "it names no address", LISTEN_WRITE);
    }
    (well && !addresses.is_empty()).then_some(addresses)
}

const LISTEN_WRITE: &str = "127.0.0.1:4180, 0.0.0.0:4180 (every IPv4 address) or [::]:4180 (every address)";

pub(super) fn ops_listen(reader: &mut Reader<'_>, listen: Option<&[SocketAddr]>) -> Option<SocketAddr> {
    const NAME: &str = "VESTIBULE_OPS_LISTEN";
    let Ok(address) = reader.text(NAME)?.parse::<SocketAddr>() else {
        reader.wrong(
            NAME,
            "it is no ip:port",
            "127.0.0.1:4181, or 0.0.0.0:4181 for a probe from outside",
        );
        return None;
    };
    if listen
        .unwrap_or_default()
        .iter()
        .any(|other| same_socket(*other, address))
    {
        reader.wrong(
            NAME,
            "it is an address of VESTIBULE_LISTEN: what operators see is never on the public listener",
            "another port, such as 127.0.0.1:4181",
        );
        return None;
    }
    Some(address)
}

/// Whether two addresses cannot both be listened on.
fn same_socket(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() != 0 && one.port() == other.port() && (a == b || a.is_unspecified() || b.is_unspecified())
}

pub(super) fn public_url(reader: &mut Reader<'_>, listen: Option<&[SocketAddr]>) -> Option<PublicUrl> {
    const NAME: &str = "VESTIBULE_PUBLIC_URL";
    const WRITE: &str = "https://app.example.com: what people type into their browser";
    reader.flag("VESTIBULE_ALLOW_PLAIN_HTTP");
    let Some(value) = reader.set(NAME) else {
        let listen = listen?;
        let first = listen.first()?;
        if !listen.iter().all(|address| address.ip().is_loopback()) || first.port() == 0 {
            reader.wrong(
                NAME,
                "it is missing, and VESTIBULE_LISTEN is not only on loopback",
                WRITE,
            );
            return None;
        }
        let https = reader.set("VESTIBULE_TLS_CERT").is_some();
        let public = PublicUrl {
            https,
            host: "localhost".to_owned(),
            port: Some(first.port()).filter(|port| *port != if https { 443 } else { 80 }),
        };
        reader.derived.push((NAME, public.origin()));
        return Some(public);
    };
    let origin = match words::origin(&value.text) {
        Ok(origin) => origin,
        Err(wrong) => {
            reader.wrong(NAME, wrong, WRITE);
            return None;
        }
    };
    let https = origin.scheme == "https";
    if !https && reader.set("VESTIBULE_TLS_CERT").is_some() {
        reader.wrong(
            NAME,
            "it is plain http, but TLS ends here (VESTIBULE_TLS_CERT)",
            format!("https://{}", origin.host),
        );
        return None;
    }
    if !https && !is_local(&origin.host) {
        if !reader.is_on("VESTIBULE_ALLOW_PLAIN_HTTP") {
            reader.wrong(
                NAME,
                "it is plain http beyond loopback: everybody on the way could read and take over sessions",
                format!(
                    "https://{}, or VESTIBULE_ALLOW_PLAIN_HTTP=true if that is what you want",
                    origin.host
                ),
            );
            return None;
        }
        reader.warn(
            "VESTIBULE_ALLOW_PLAIN_HTTP",
            "the public URL is plain http: everybody on the way can read and take over sessions",
        );
    }
    Some(PublicUrl {
        https,
        host: origin.host_text(),
        port: origin.port,
    })
}

/// None inside: TLS does not end here.
#[expect(clippy::option_option, reason = "the outer one says whether the value could be read")]
pub(super) fn tls(reader: &mut Reader<'_>) -> Option<Option<Tls>> {
    const CERTIFICATE: &str = "VESTIBULE_TLS_CERT";
    const KEY: &str = "VESTIBULE_TLS_KEY";
    let min = reader.choice("VESTIBULE_TLS_MIN").map(|min| match min {
        "1.3" => TlsMin::V1_3,
        _ => TlsMin::V1_2,
    });
    let (certificate, key) = match (reader.set(CERTIFICATE), reader.set(KEY)) {
        (None, None) => return min.map(|_| None),
        (Some(certificate), Some(key)) => (PathBuf::from(&certificate.text), PathBuf::from(&key.text)),
        (Some(_), None) => {
            reader.wrong(KEY, "VESTIBULE_TLS_CERT is set, and its key is missing", PEM_KEY_WRITE);
            return None;
        }
        (None, Some(_)) => {
            reader.wrong(
                CERTIFICATE,
                "VESTIBULE_TLS_KEY is set, and the certificate is missing",
                PEM_CERTIFICATE_WRITE,
            );
            return None;
        }
    };
    let tls = Tls {
        certificate,
        key,
        min: min?,
    };
    let mut well = true;
    match CertificateDer::pem_file_iter(&tls.certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(chain) if chain.is_empty() => {
            reader.wrong(CERTIFICATE, "the file holds no certificate", PEM_CERTIFICATE_WRITE);
            well = false;
        }
        Ok(_) => {}
        Err(error) => {
            reader.wrong(
                CERTIFICATE,
                format!("the file cannot be used: {error}"),
                PEM_CERTIFICATE_WRITE,
            );
            well = false;
        }
    }
    if let Err(error) = PrivateKeyDer::from_pem_file(&tls.key) {
        reader.wrong(KEY, format!("the file cannot be used: {error}"), PEM_KEY_WRITE);
        well = false;
    }
    well.then_some(Some(tls))
}

const PEM_CERTIFICATE_WRITE: &str = "the path of a PEM file: the certificate first, then those that signed it";
const PEM_KEY_WRITE: &str = "the path of a PEM file that holds the certificate's private key";

pub(super) fn hsts(reader: &mut Reader<'_>, public: Option<&PublicUrl>) -> Option<bool> {
    const NAME: &str = "VESTIBULE_HSTS";
    let hsts = reader.flag(NAME)?;
    if hsts && public.is_some_and(|public| !public.https) {
        reader.wrong(
            NAME,
            "the public URL is plain http: browsers pass over it",
            "nothing, or a public URL with https",
        );
        return None;
    }
    Some(hsts)
}

/// None inside: nothing redirects.
#[expect(clippy::option_option, reason = "the outer one says whether the value could be read")]
pub(super) fn redirect_listen(
    reader: &mut Reader<'_>,
    public: Option<&PublicUrl>,
    taken: &[SocketAddr],
) -> Option<Option<SocketAddr>> {
    const NAME: &str = "VESTIBULE_REDIRECT_LISTEN";
    const WRITE: &str = "0.0.0.0:80, or nothing";
    let Some(value) = reader.set(NAME) else {
        return Some(None);
    };
    let Ok(address) = value.text.parse::<SocketAddr>() else {
        reader.wrong(NAME, "it is no ip:port", WRITE);
        return None;
    };
    if taken.iter().any(|other| same_socket(*other, address)) {
        reader.wrong(NAME, "the gateway listens there itself", WRITE);
        return None;
    }
    if public.is_some_and(|public| !public.https) {
        reader.wrong(
            NAME,
            "the public URL is plain http: there is nothing to redirect to",
            WRITE,
        );
        return None;
    }
    Some(Some(address))
}

/// Loopback, or a name below `localhost`: browsers never ask the network for it (RFC 6761, section 6.3).
fn is_local(host: &Host<String>) -> bool {
    words::is_loopback(host) || matches!(host, Host::Domain(domain) if domain.ends_with(".localhost"))
}

/// Whether the public URL is this machine's own, as of [`is_local`].
pub(super) fn is_local_url(public: &PublicUrl) -> bool {
    Host::parse(&public.host).is_ok_and(|host| is_local(&host))
}

pub(super) fn extra_hosts(reader: &mut Reader<'_>, public: Option<&PublicUrl>) -> Option<Vec<String>> {
    const NAME: &str = "VESTIBULE_EXTRA_HOSTS";
    let scheme = public.map_or("https", PublicUrl::scheme);
    let mut hosts = Vec::new();
    let mut well = true;
    for item in reader.items(NAME) {
        let origin = if item.contains('/') {
            Err("it is more than a host")
        } else {
            words::origin(&format!("{scheme}://{item}"))
        };
        match origin {
            Ok(origin) => {
                let port = origin.port.map(|port| format!(":{port}")).unwrap_or_default();
                hosts.push(format!("{}{port}", origin.host));
            }
            Err(wrong) => {
                reader.wrong_item(
                    NAME,
                    &item,
                    wrong,
                    "host or host:port, each name in full, without wildcards",
                );
                well = false;
            }
        }
    }
    well.then_some(hosts)
}

pub(super) fn assertion_audience(reader: &mut Reader<'_>, public: Option<&PublicUrl>) -> Option<String> {
    const NAME: &str = "VESTIBULE_ASSERTION_AUDIENCE";
    let Some(value) = reader.set(NAME) else {
        let origin = public?.origin();
        reader.derived.push((NAME, origin.clone()));
        return Some(origin);
    };
    match words::origin(&value.text) {
        Ok(origin) => Some(origin.text()),
        Err(wrong) => {
            reader.wrong(NAME, wrong, "an origin, such as https://app.example.com");
            None
        }
    }
}

pub(super) fn allowed_origins(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    const NAME: &str = "VESTIBULE_ALLOWED_ORIGINS";
    let mut origins = Vec::new();
    let mut well = true;
    for item in reader.items(NAME) {
        match words::origin(&item) {
            Ok(origin) => origins.push(origin.text()),
            Err(wrong) => {
                reader.wrong_item(
                    NAME,
                    &item,
                    wrong,
                    "each origin in full, such as https://dashboard.example.com",
                );
                well = false;
            }
        }
    }
    well.then_some(origins)
}

pub(super) fn trusted_proxies(reader: &mut Reader<'_>) -> Option<Vec<IpNet>> {
    const NAME: &str = "VESTIBULE_TRUSTED_PROXIES";
    let mut networks = Vec::new();
    let mut well = true;
    for item in reader.items(NAME) {
        let network = item
            .parse::<IpNet>()
            .ok()
            .or_else(|| item.parse::<IpAddr>().ok().map(IpNet::from));
        if let Some(network) = network.map(|network| plain_network(network.trunc())) {
            if network.prefix_len() == 0 {
                reader.warn(
                    NAME,
                    "everybody's forwarding header is believed: anybody can claim any address",
                );
            }
            networks.push(network);
        } else {
            reader.wrong_item(
                NAME,
                &item,
                "it is no network",
                "addresses or networks, such as 10.0.0.7 or 10.0.0.0/8",
            );
            well = false;
        }
    }
    well.then_some(networks)
}

/// An IPv4 network written as IPv6 (`::ffff:10.0.0.0/104`), as the one that it is.
fn plain_network(network: IpNet) -> IpNet {
    let IpNet::V6(six) = network else {
        return network;
    };
    match (six.addr().to_ipv4_mapped(), six.prefix_len().checked_sub(96)) {
        (Some(four), Some(prefix)) => IpNet::new(IpAddr::V4(four), prefix).unwrap_or(network),
        _ => network,
    }
}

pub(super) fn trusted_proxy_header(reader: &mut Reader<'_>) -> Option<ForwardingHeader> {
    Some(match reader.choice("VESTIBULE_TRUSTED_PROXY_HEADER")? {
        "forwarded" => ForwardingHeader::Forwarded,
        _ => ForwardingHeader::XForwardedFor,
    })
}

/// None inside: the system's roots alone.
#[expect(clippy::option_option, reason = "the outer one says whether the value could be read")]
pub(super) fn ca_file(reader: &mut Reader<'_>) -> Option<Option<PathBuf>> {
    const NAME: &str = "VESTIBULE_CA_FILE";
    let Some(value) = reader.set(NAME) else {
        return Some(None);
    };
    let path = PathBuf::from(&value.text);
    let count = CertificateDer::pem_file_iter(&path).and_then(|certificates| {
        let mut count = 0_usize;
        for certificate in certificates {
            certificate?;
            count += 1;
        }
        Ok(count)
    });
    match count {
        Ok(1..) => return Some(Some(path)),
        Ok(0) => reader.wrong(NAME, "the file holds no certificate", CA_WRITE),
        Err(error) => reader.wrong(NAME, format!("the file cannot be used: {error}"), CA_WRITE),
    }
    None
}

const CA_WRITE: &str = "the path of a PEM file: -----BEGIN CERTIFICATE----- and so on";

pub(super) fn provider_proxy(reader: &mut Reader<'_>) -> Option<ProviderProxy> {
    const NAME: &str = "HTTPS_PROXY";
    let no_proxy = reader.text("NO_PROXY").unwrap_or_default().to_owned();
    let Some(value) = reader.set(NAME) else {
        return Some(ProviderProxy { url: None, no_proxy });
    };
    // Written without a scheme, it is one for plain http, as curl has it.
    let text = if value.text.contains("://") {
        value.text.clone()
    } else {
        format!("http://{}", value.text)
    };
    let fits = url::Url::parse(&text).is_ok_and(|url| url.scheme() == "http" && url.has_host());
    if !fits {
        reader.wrong(NAME, "it is no http:// URL of a proxy", "http://proxy.example.com:3128");
        return None;
    }
    Some(ProviderProxy {
        url: Some(SecretString::from(text)),
        no_proxy,
    })
}
