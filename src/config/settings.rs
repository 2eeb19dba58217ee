//! The meaning layer: what the other rooms are given.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::header::HeaderName;
use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

use super::shown::ShownSettings;
use crate::person::{EmailAddress, Role};
use crate::seal::SecretKey;

/// The whole configuration of a gateway that serves.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Settings {
    /// Where requests go.
    pub upstream: Upstream,
    /// Who browsers see.
    pub public: PublicUrl,
    /// Other names the gateway answers to: `host` or `host:port`, lower case, no trailing dot.
    pub extra_hosts: Vec<String>,
    /// Addresses of the gateway; never empty.
    pub listen: Vec<SocketAddr>,
    /// Address of health, readiness, metrics and JWKS.
    pub ops_listen: SocketAddr,
    /// People, sessions and keys.
    pub database: Database,
    /// Where sealing keys come from.
    pub secret_keys: SecretKeys,
    /// Where TLS ends at the gateway.
    pub tls: Option<Tls>,
    /// Whether browsers are told to come by https only.
    pub hsts: bool,
    /// Address that redirects http to https.
    pub redirect_listen: Option<SocketAddr>,
    /// Peers whose forwarding header is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The header that those peers write.
    pub trusted_proxy_header: ForwardingHeader,
    /// Paths that need no session.
    pub public_paths: PublicPaths,
    /// Whether a CORS preflight is forwarded without identity.
    pub pass_preflight: bool,
    /// Origins besides the public one that may send changing requests, as browsers write them.
    pub allowed_origins: Vec<String>,
    /// Path of the redirect URI.
    pub callback_path: String,
    /// Path of the logout besides `/.vestibule/logout`, unless left to the app.
    pub logout_path: Option<String>,
    /// PEM file of extra CA certificates.
    pub ca_file: Option<PathBuf>,
    /// Proxy for requests to the provider.
    pub provider_proxy: ProviderProxy,
    /// How long an idle client connection stays open.
    pub keepalive: Duration,
    /// Unready this long before the listeners close.
    pub drain_delay: Duration,
    /// Then this long for requests under way.
    pub drain_timeout: Duration,
    /// Threads that carry requests; at least 1.
    pub threads: usize,
    /// Filter of the log, as `tracing_subscriber::EnvFilter` reads it.
    pub log: String,
    /// Shape of the log.
    pub log_format: LogFormat,
    /// One line a request.
    pub access_log: bool,
    /// What pages call the instance.
    pub instance_name: String,
    /// The OpenID provider, if there is one.
    pub oidc: Option<Oidc>,
    /// The LDAP directory, if one is set; whether people sign in with it is [`Ldap::login`].
    pub ldap: Option<Ldap>,
    /// Who gets in, and as whom.
    pub entry: EntryRules,
    /// `aud` of the assertion.
    pub assertion_audience: String,
    /// How long a session lives.
    pub session_length: Duration,
    /// How long a session lives without a request.
    pub session_idle: Option<Duration>,
    /// Whether a one-time link lets somebody in.
    pub restore: bool,
    /// How long the audit log is kept.
    pub audit_kept: Duration,
    /// Bytes that sessions in memory may take.
    pub session_cache: u64,
    /// What becomes of what is under way when its session ends.
    pub streams: Streams,
    /// All of them as they may be shown.
    pub shown: ShownSettings,
}

/// What a command needs that looks into the database beside a running gateway.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// People, sessions and keys.
    pub database: Database,
    /// Where sealing keys come from.
    pub secret_keys: SecretKeys,
    /// Whether people are known by e-mail addresses.
    pub email_needed: bool,
}

/// What is needed to move an instance from one database to another.
#[derive(Clone, Debug)]
pub struct Moving {
    /// Where it is.
    pub from: Database,
    /// Where it goes.
    pub to: Database,
    /// Where the keys come from that open what is sealed in it.
    pub secret_keys: SecretKeys,
}

impl Settings {
    /// Where the provider sends people after signing in; registered there.
    #[must_use]
    pub fn redirect_uri(&self) -> String {
        self.public.origin() + &self.callback_path
    }

    /// Where the provider sends people after signing out; registered there. Where `/logout` is the app's, the path that
    /// always works.
    #[must_use]
    pub fn post_logout_redirect_uri(&self) -> String {
        self.public.origin() + self.logout_path.as_deref().unwrap_or("/.vestibule/logout")
    }
}

/// The app behind.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// How it is spoken to.
    pub scheme: UpstreamScheme,
    /// `host:port` to connect to; an IPv6 address in brackets. Of a Unix socket `localhost:80`.
    pub authority: http::uri::Authority,
    /// From the last byte of the request body to the response head.
    pub timeout: Duration,
    /// Whether `Host` goes on as received.
    pub preserve_host: bool,
    /// Further identity headers, by the app's names.
    pub headers: Vec<(HeaderName, IdentityField)>,
}

impl Upstream {
    /// The upstream's own `Host`: without the port where that is the scheme's default (RFC 9110, section 7.2).
    #[must_use]
    pub fn host(&self) -> &str {
        let authority = self.authority.as_str();
        let default = if self.scheme == UpstreamScheme::Https {
            ":443"
        } else {
            ":80"
        };
        authority.strip_suffix(default).unwrap_or(authority)
    }
}

/// How the app is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamScheme {
    /// HTTP/1.1 over TCP.
    Http,
    /// Over TLS; HTTP/2 where the app offers it (ALPN).
    Https,
    /// HTTP/2 with prior knowledge over TCP (RFC 9113, section 3.3).
    H2c,
    /// HTTP/1.1 over the Unix socket at this path.
    Unix(PathBuf),
}

impl std::fmt::Display for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.scheme {
            UpstreamScheme::Http => write!(f, "http://{}", self.authority),
            UpstreamScheme::Https => write!(f, "https://{}", self.authority),
            UpstreamScheme::H2c => write!(f, "h2c://{}", self.authority),
            UpstreamScheme::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One thing about a person that an app may want under a header name of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the claims'")]
pub enum IdentityField {
    Sub,
    Email,
    Username,
    Name,
    Role,
    Groups,
    Teams,
}

/// The origin that browsers see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// True for https: cookies get `Secure` and the `__Host-` prefix.
    pub https: bool,
    /// Lower case, no trailing dot; an IPv6 address in brackets.
    pub host: String,
    /// Only if the URL names one that is not the scheme's default.
    pub port: Option<u16>,
}

impl PublicUrl {
    /// `https://host[:port]`: lower case, no default port, no slash at the end.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.authority())
    }

    /// `host[:port]`, as a browser writes it into `Host`.
    #[must_use]
    pub fn authority(&self) -> String {
        self.port
            .map_or_else(|| self.host.clone(), |port| format!("{}:{port}", self.host))
    }

    /// `http` or `https`.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// Name of the session cookie: `__Host-vestibule` on https, `vestibule` on http, with `-PORT` behind it where the
    /// URL names a port (cookies do not know ports: RFC 6265, section 8.5).
    #[must_use]
    pub fn cookie_name(&self) -> String {
        let base = if self.https { "__Host-vestibule" } else { "vestibule" };
        self.port
            .map_or_else(|| base.to_owned(), |port| format!("{base}-{port}"))
    }
}

/// The files of the certificate where TLS ends at the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the chain, the leaf first.
    pub certificate: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
    /// The oldest version taken.
    pub min: TlsMin,
}

/// `VESTIBULE_STREAMS_OUTLIVE_SESSION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// WebSockets, streams and other answers under way end with it.
    EndWithSession,
    /// They run on.
    OutliveSession,
}

/// `VESTIBULE_TLS_MIN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMin {
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

/// Where people, sessions and keys are kept.
#[derive(Clone, Debug)]
pub enum Database {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    Postgres(Postgres),
}

/// For logs and messages, without anything that is secret.
impl std::fmt::Display for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(file) => write!(f, "{}", file.display()),
            Self::Postgres(server) => write!(f, "PostgreSQL at {}", server.place),
        }
    }
}

/// A PostgreSQL server, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// The address as it was given; it may hold a password.
    pub url: SecretString,
    /// Host, port and database, for logs and messages.
    pub place: String,
    /// The server's name or address, without brackets; None for a Unix socket.
    pub host: Option<String>,
    /// How far the way there is protected.
    pub tls: PostgresTls,
    /// PEM files of CA certificates that count besides the system's.
    pub ca_files: Vec<PathBuf>,
    /// Connections at most.
    pub pool: u32,
    /// How long a statement may take, and the wait for a connection.
    pub timeout: Duration,
}

/// `sslmode` of a PostgreSQL address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostgresTls {
    /// None.
    Off,
    /// Where the server offers it, with whatever certificate.
    Prefer,
    /// With whatever certificate.
    Require,
    /// With a certificate of an authority that counts, for whatever name.
    VerifyCa,
    /// With a certificate of an authority that counts, for this host.
    VerifyFull,
}

/// Where the sealing keys come from.
#[derive(Clone, Debug)]
pub enum SecretKeys {
    /// Given by the operator; never empty. The first seals, all open.
    Given(Vec<SecretKey>),
    /// Made once and kept in this file, mode 0600.
    File(PathBuf),
}

/// The forwarding header that the trusted proxies write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardingHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Paths that need no session: exact ones and prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicPaths {
    /// Exact paths, each beginning with `/`.
    pub exact: Vec<String>,
    /// Prefixes, each beginning and ending with `/` and longer than `/`: `/p/` for `/p/*`.
    pub prefixes: Vec<String>,
}

impl PublicPaths {
    /// Whether `path` (one reading of it, without query) is public. Case matters.
    #[must_use]
    pub fn contains(&self, path: &[u8]) -> bool {
        self.exact.iter().any(|exact| exact.as_bytes() == path)
            || self.prefixes.iter().any(|prefix| path.starts_with(prefix.as_bytes()))
    }
}

/// A proxy for requests to the provider.
#[derive(Clone, Debug, Default)]
pub struct ProviderProxy {
    /// `HTTPS_PROXY`: may hold a password.
    pub url: Option<SecretString>,
    /// `NO_PROXY`, as it was written.
    pub no_proxy: String,
}

/// Shape of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// The OpenID provider and how to talk to it.
#[derive(Clone, Debug)]
pub struct Oidc {
    /// The issuer, exactly as written: it is compared byte for byte (OpenID Connect Discovery 1.0, section 4.3).
    pub issuer: String,
    /// `client_id`.
    pub client_id: String,
    /// None for a public client.
    pub client_secret: Option<SecretString>,
    /// Response type and mode.
    pub auth_method: AuthMethod,
    /// How the client shows who it is at the token endpoint.
    pub client_auth: ClientAuth,
    /// Scopes besides `openid profile email`.
    pub custom_scopes: Vec<String>,
    /// Base address for discovery, token, keys and userinfo, where it is not the issuer's.
    pub backchannel: Option<Url>,
    /// None for `OIDC_EMAIL_CLAIM=none`: people need no e-mail here.
    pub email_claim: Option<String>,
    /// Claim of the user name.
    pub username_claim: String,
    /// Claim of the groups.
    pub groups_claim: String,
    /// Claim of the stable id.
    pub subject_claim: String,
    /// What a missing or false `email_verified` means.
    pub email_verified: EmailVerified,
}

/// `OIDC_AUTH_METHOD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// Authorization code with PKCE S256 (RFC 7636).
    Pkce,
    /// `response_type=id_token`, `response_mode=form_post`.
    Implicit,
}

/// `OIDC_CLIENT_AUTH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Basic if the provider offers it or says nothing, else post; none without a secret.
    Auto,
    /// `client_secret_basic`.
    Basic,
    /// `client_secret_post`.
    Post,
    /// A public client.
    None,
}

/// `OIDC_EMAIL_VERIFIED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmailVerified {
    /// False is refused, missing is fine.
    UnlessDenied,
    /// Must be true.
    Required,
    /// The provider's administrators vouch for addresses.
    Ignored,
}

/// The LDAP directory and how to use it.
#[derive(Clone, Debug)]
pub struct Ldap {
    /// Whether people sign in with it; otherwise it is only tried by `vestibule check`.
    pub login: bool,
    /// In the order in which they are tried; never empty.
    pub servers: Vec<LdapServer>,
    /// Where people are searched.
    pub base_dn: String,
    /// Name and password of the service account, neither of them empty; None: anonymous.
    pub bind: Option<(String, SecretString)>,
    /// What is read of an entry.
    pub attributes: LdapAttributes,
    /// Finds a person; holds `{login}`.
    pub user_filter: String,
    /// Finds a person's groups; holds `{dn}` or `{username}`.
    pub group_filter: Option<String>,
    /// Where groups are searched, if not where people are.
    pub group_base_dn: Option<String>,
    /// StartTLS on `ldap://` addresses.
    pub start_tls: bool,
    /// Names or DNs of groups; None: not restricted.
    pub allow_list: Option<Vec<String>>,
    /// Attribute of the stable id; None: found out.
    pub id_attribute: Option<String>,
    /// Whether addresses count as verified.
    pub trust_email: bool,
    /// Wrong passwords in 15 minutes per person.
    pub failures: usize,
    /// Wrong passwords in 15 minutes per address.
    pub failures_address: usize,
    /// Between two looks at the entry of a live session; None: it is not looked at.
    pub recheck: Option<Duration>,
    /// How long sessions outlive a directory that can't be used.
    pub recheck_grace: Duration,
}

/// Names of attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub struct LdapAttributes {
    pub email: String,
    pub group: String,
    pub username: String,
    pub name: String,
}

/// Where a directory server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapServer {
    /// How it is spoken to.
    pub scheme: LdapScheme,
}

/// How a directory server is spoken to; an IPv6 host without brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum LdapScheme {
    Ldap { host: String, port: u16 },
    Ldaps { host: String, port: u16 },
    Ldapi(PathBuf),
}

impl LdapServer {
    /// Whether it is spoken to by TLS from the first byte.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        matches!(self.scheme, LdapScheme::Ldaps { .. })
    }

    /// Whether it is spoken to through a Unix socket.
    #[must_use]
    pub const fn is_local_socket(&self) -> bool {
        matches!(self.scheme, LdapScheme::Ldapi(_))
    }
}

impl std::fmt::Display for LdapServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (scheme, host, port) = match &self.scheme {
            LdapScheme::Ldap { host, port } => ("ldap", host, port),
            LdapScheme::Ldaps { host, port } => ("ldaps", host, port),
            LdapScheme::Ldapi(path) => return write!(f, "ldapi://{}", path.display()),
        };
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}")
        } else {
            write!(f, "{scheme}://{host}:{port}")
        }
    }
}

/// Who gets in, and as whom.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct EntryRules {
    /// False for `DISABLE_SSO_PROVISIONING=true`.
    pub provisioning: bool,
    /// Become admins when their account is made, and count as added.
    pub initial_admins: Vec<EmailAddress>,
    /// Role of an auto-provisioned user: member or viewer.
    pub default_role: Role,
    /// Folded domains; None: not restricted, or `*`.
    pub allowed_domains: Option<Vec<String>>,
    /// Group names without their one leading `/`; None: not restricted.
    pub allowed_groups: Option<Vec<String>>,
    /// Whether user name and full name follow the claims at every sign-in.
    pub names_follow: bool,
    /// Whether people need an e-mail address here.
    pub email_needed: bool,
    /// Whether places in teams follow the provider's groups claim.
    pub follow_group_claims: bool,
    /// Whether places in teams follow the LDAP directory's groups.
    pub follow_ldap_groups: bool,
}
