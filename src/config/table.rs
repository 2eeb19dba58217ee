//! Every setting there is, in one table. Parsing, `--help`, docs/configuration.md, the annotated example and "did you
//! mean" are all made from it.

use Group::{App, Browsers, Directory, Network, People, Provider, Running, Sessions, Storage};
use Kind::{Choice, Count, Flag, Hours, List, Minutes, Seconds, Text, Url, Urls};
use Preset::{Text as Is, Words};

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// The name in the environment. The TOML key follows from it: [`Setting::key`].
    pub name: &'static str,
    /// Other names that mean the same.
    pub aliases: &'static [&'static str],
    /// What holds when nothing is set.
    pub default: Preset,
    /// What kind of text it is.
    pub kind: Kind,
    /// Whether its text may be shown.
    pub secret: Secret,
    /// Where it stands in the papers.
    pub group: Group,
    /// What it means.
    pub help: &'static str,
    /// A value to show in the annotated example, where the default is not one.
    pub example: &'static str,
    /// Whether a changed value is taken up while the gateway runs; otherwise at the next start.
    pub live: bool,
    /// Whether "set, but to nothing" means something. Elsewhere empty is unset.
    pub empty_counts: bool,
}

/// What holds when a setting is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// This text, read like any other.
    Text(&'static str),
    /// Something that depends; told in words.
    Words(&'static str),
}

/// What kind of text a setting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Kind {
    Flag,
    Choice(&'static [&'static str]),
    Seconds,
    Minutes,
    Hours,
    Count,
    Text,
    List,
    Url,
    Urls,
}

/// Whether a setting's text may be shown, and whether it can come from a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// Shown.
    No,
    /// A URL that may hold a password: shown only where it certainly does not.
    Partly,
    /// Never shown.
    Whole,
}

/// Where a setting stands in the papers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Group {
    App,
    Browsers,
    Provider,
    People,
    Sessions,
    Storage,
    Network,
    Running,
    Directory,
}

impl Group {
    /// All groups, in the order of the papers.
    pub const ALL: [Self; 9] = [
        Self::App,
        Self::Browsers,
        Self::Provider,
        Self::People,
        Self::Sessions,
        Self::Storage,
        Self::Network,
        Self::Running,
        Self::Directory,
    ];

    /// The heading.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::App => "The app behind",
            Self::Browsers => "What browsers see",
            Self::Provider => "The OpenID provider",
            Self::People => "Who gets in, and as whom",
            Self::Sessions => "Sessions",
            Self::Storage => "What is kept",
            Self::Network => "Listening and the network",
            Self::Running => "Running and logging",
            Self::Directory => "LDAP directories",
        }
    }
}

impl Setting {
    /// The key in the TOML file: the name in lower case, without `vestibule_`.
    #[must_use]
    pub fn key(&self) -> String {
        key_of(self.name)
    }

    /// Whether `NAME_FILE` may name a file that holds the value.
    #[must_use]
    pub const fn can_come_from_a_file(&self) -> bool {
        !matches!(self.secret, Secret::No)
    }

    const fn new(name: &'static str, group: Group, kind: Kind, default: Preset, help: &'static str) -> Self {
        Self {
            name,
            aliases: &[],
            default,
            kind,
            secret: Secret::No,
            group,
            help,
            example: "",
            live: false,
            empty_counts: false,
        }
    }

    const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn secret(mut self, secret: Secret) -> Self {
        self.secret = secret;
        self
    }

    const fn example(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }

    const fn live(mut self) -> Self {
        self.live = true;
        self
    }

    const fn empty_counts(mut self) -> Self {
        self.empty_counts = true;
        self
    }
}

/// The TOML key of a name.
#[must_use]
pub fn key_of(name: &str) -> String {
    name.strip_prefix("VESTIBULE_").unwrap_or(name).to_ascii_lowercase()
}

/// The setting of this name (not alias).
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

const NONE: Preset = Words("none");

/// The table.
#[rustfmt::skip]
pub static SETTINGS: &[Setting] = &[
    Setting::new("VESTIBULE_UPSTREAM", App, Url, Words("required"),
        "Origin of the app: `http://host:port`; `https://…` (HTTP/2 where the app offers it), `h2c://…` (HTTP/2 without TLS), `unix:/path`. A path, query or user part is an error.")
        .example("http://127.0.0.1:8080"),
    Setting::new("VESTIBULE_UPSTREAM_TIMEOUT", App, Seconds, Is("300"),
        "Seconds from the last byte of the request body to the response head; then 504. While bytes move it does not run; bodies and WebSockets have no limit."),
    Setting::new("VESTIBULE_UPSTREAM_HEADERS", App, List, NONE,
        "More identity headers for apps that read other names: `header=field`, the field being `sub`, `email`, `username`, `name`, `role`, `groups` or `teams`. Guarded like the gateway's own: no request from outside can carry them.")
        .example("X-WEBAUTH-USER=email,Remote-User=username"),
    Setting::new("VESTIBULE_PRESERVE_HOST", App, Flag, Is("true"),
        "`Host` goes on as received; `false` sends the upstream's own."),
    Setting::new("VESTIBULE_PUBLIC_PATHS", App, List, NONE,
        "Paths that need no session: `/exact` or `/prefix/*` (`/p/*` is `/p/` and below, not `/p`; `/*` is an error). Case matters, the query is not looked at; no patterns beyond that.")
        .example("/healthz,/static/*"),
    Setting::new("VESTIBULE_PASS_PREFLIGHT", App, Flag, Is("false"),
        "`true`: an OPTIONS with `Origin` and `Access-Control-Request-Method` is forwarded, without body and identity."),
    Setting::new("VESTIBULE_ASSERTION_AUDIENCE", App, Url, Words("the public URL"),
        "`aud` of the identity assertion: an origin.")
        .example("https://app.example.com"),

    Setting::new("VESTIBULE_PUBLIC_URL", Browsers, Url, Words("`http://localhost:PORT` when listening on loopback, else required"),
        "The origin that browsers see: redirect URIs, cookies and origin checks derive from it. No path: one gateway, one origin, one app. `HOST` is read for it only when it holds a URL.")
        .alias(&["HOST"]).example("https://app.example.com"),
    Setting::new("VESTIBULE_ALLOW_PLAIN_HTTP", Browsers, Flag, Is("false"),
        "`true`: the public URL may be plain http beyond loopback. Warns at each start: everybody on the way can read and take over sessions."),
    Setting::new("VESTIBULE_EXTRA_HOSTS", Browsers, List, NONE,
        "Other names that the gateway answers to (programs inside a cluster), `host` or `host:port`; nobody signs in there.")
        .example("app.internal:4180"),
    Setting::new("VESTIBULE_ALLOWED_ORIGINS", Browsers, Urls, NONE,
        "Origins besides the public URL's that may send changing requests and open WebSockets on a session.")
        .example("https://dashboard.example.com"),
    Setting::new("VESTIBULE_CALLBACK_PATH", Browsers, Text, Is("/oidc/callback"),
        "The redirect URI's path (`/oauth2/callback` when moving from oauth2-proxy)."),
    Setting::new("VESTIBULE_LOGOUT_PATH", Browsers, Text, Is("/logout"),
        "Path that ends the session; empty leaves it to the app. `/.vestibule/logout` always works.")
        .empty_counts(),
    Setting::new("VESTIBULE_INSTANCE_NAME", Browsers, Text, Words("the public host"),
        "What pages call the instance.")
        .example("Experiments"),

    Setting::new("OIDC_ISSUER", Provider, Url, NONE,
        "The provider's issuer, exactly as it writes it. Setting it turns OpenID Connect on. `http://` only on loopback unless `OIDC_ALLOW_HTTP=true`. Entra's `common`, `organizations`, `consumers` and `{tenantid}` are refused: use the tenant's own.")
        .example("https://idp.example.com/realms/main"),
    Setting::new("OIDC_CLIENT_ID", Provider, Text, NONE,
        "The client id that the provider gave.")
        .example("vestibule"),
    Setting::new("OIDC_CLIENT_SECRET", Provider, Text, NONE,
        "The client secret that the provider gave; none for a public client.")
        .alias(&["OIDC_SECRET"]).secret(Secret::Whole),
    Setting::new("OIDC_AUTH_METHOD", Provider, Choice(&["pkce", "implicit"]), Is("pkce"),
        "`pkce`: authorization code with S256; `implicit`: id_token with form_post (W&B Server's default)."),
    Setting::new("OIDC_CLIENT_AUTH", Provider, Choice(&["auto", "basic", "post", "none"]), Is("auto"),
        "How the client shows who it is at the token endpoint. `auto`: basic if the provider offers it or says nothing, else post; none without a secret."),
    Setting::new("OIDC_CUSTOM_SCOPES", Provider, List, NONE,
        "Scopes added to `openid profile email`.")
        .example("groups"),
    Setting::new("OIDC_ALLOW_HTTP", Provider, Flag, Is("false"),
        "`true`: issuer and back channel may be plain http beyond loopback. Warns at each start."),
    Setting::new("OIDC_BACKCHANNEL_URL", Provider, Url, Words("the issuer"),
        "Base address for discovery, token, keys and userinfo where the gateway reaches the provider by another name than browsers do (compose, split DNS). `iss` is still checked against the issuer.")
        .example("https://idp.internal:8443/realms/main"),
    Setting::new("OIDC_EMAIL_CLAIM", Provider, Text, Is("email"),
        "Claim of the e-mail address: the exact name first, then a dotted path (`realm_access.roles`); of an array where one value is meant, the first string. `none`: people need no e-mail here, then nothing that goes by e-mail applies."),
    Setting::new("OIDC_USERNAME_CLAIM", Provider, Text, Is("preferred_username"),
        "Claim of the user name; read like the e-mail claim."),
    Setting::new("OIDC_GROUPS_CLAIM", Provider, Text, Is("groups"),
        "Claim of the groups; read like the e-mail claim."),
    Setting::new("OIDC_SUBJECT_CLAIM", Provider, Text, Is("sub"),
        "Claim of the stable id. It must never be reassigned (Entra: `oid`); changing it or the issuer makes strangers of everyone, until `vestibule users relink` moves them."),
    Setting::new("OIDC_EMAIL_VERIFIED", Provider, Choice(&["unless-denied", "required", "ignored"]), Is("unless-denied"),
        "`unless-denied`: `email_verified: false` is refused, missing is fine; `required`: must be true; `ignored`: the provider's administrators vouch for addresses."),

    Setting::new("VESTIBULE_ALLOWED_EMAIL_DOMAINS", People, List, NONE,
        "Domains of e-mail addresses that may sign in at all, compared exactly. `*` says that everyone is meant. At Google the `hd` claim must be one of them, too.")
        .example("example.com").live(),
    Setting::new("VESTIBULE_ALLOWED_GROUPS", People, List, NONE,
        "Groups whose members may sign in at all; with allowed domains both must hold, at every sign-in. Matched exactly, one leading `/` aside (Keycloak's paths).")
        .example("staff").live(),
    Setting::new("DISABLE_SSO_PROVISIONING", People, Flag, Is("false"),
        "`true`: a first-time user gets in only if an admin added them before.")
        .live(),
    Setting::new("VESTIBULE_INITIAL_ADMINS", People, List, NONE,
        "E-mail addresses that become admins when their account is made, and count as added; with none, the first user ever is the admin.")
        .example("ada@example.com").live(),
    Setting::new("VESTIBULE_DEFAULT_ROLE", People, Choice(&["member", "viewer"]), Is("member"),
        "Role of an auto-provisioned user.")
        .live(),
    Setting::new("USE_IDENTIFIER_CLAIMS", People, Flag, Is("false"),
        "`true`: user name and full name follow the claims at every sign-in.")
        .live(),
    Setting::new("ENABLE_SSO_GROUP_CLAIMS", People, Flag, Is("false"),
        "`true`: places in teams follow the groups claim, at every sign-in.")
        .alias(&["ENABLE_SSO_GROUPS_CLAIMS"]).live(),

    Setting::new("SESSION_LENGTH", Sessions, Hours, Is("24"),
        "Hours a session lives; `720h` is understood, too (W&B Server: 720). An OIDC session is not asked about again at the provider until it ends."),
    Setting::new("VESTIBULE_SESSION_IDLE", Sessions, Minutes, NONE,
        "Minutes without a request after which a session ends.")
        .example("120"),
    Setting::new("VESTIBULE_STREAMS_OUTLIVE_SESSION", Sessions, Flag, Is("false"),
        "`true`: WebSockets, event streams and whatever else is under way run on when their session ends; otherwise they end with it, within seconds."),
    Setting::new("VESTIBULE_SESSION_CACHE", Sessions, Count, Is("64"),
        "MiB that sessions in memory may take; about 3 kB each. One that is not there costs a query, nothing else.")
        .example("256"),
    Setting::new("LOCAL_RESTORE", Sessions, Flag, Is("false"),
        "`true`: one sign-in without SSO through a one-time link on standard error, to repair a broken set-up. It is good for 15 minutes; once it was used, there is no other until the gateway was started without this."),

    Setting::new("VESTIBULE_AUDIT_DAYS", Storage, Count, Is("400"),
        "Days for which the audit log is kept in the database."),
    Setting::new("VESTIBULE_DATABASE_URL", Storage, Url, Words("`sqlite:vestibule.db` with a loopback public URL, else required"),
        "People, teams, sessions and keys: embedded SQLite, `sqlite:` and an absolute path; or PostgreSQL for several replicas, `postgres://user:password@host:5432/database`. Beyond loopback its certificate is verified (`sslmode=verify-full`, which need not be written).")
        .secret(Secret::Partly).example("sqlite:/var/lib/vestibule/vestibule.db"),
    Setting::new("VESTIBULE_DATABASE_POOL", Storage, Count, Is("8"),
        "Connections to PostgreSQL that a gateway keeps at most, besides one on which it hears of changes."),
    Setting::new("VESTIBULE_DATABASE_TIMEOUT", Storage, Seconds, Is("4"),
        "Seconds that PostgreSQL may take for an answer, and that somebody may wait for a connection; then 503."),
    Setting::new("VESTIBULE_DATABASE_ALLOW_UNVERIFIED", Storage, Flag, Is("false"),
        "`true`: the way to PostgreSQL beyond loopback may go without TLS or without verifying the server (`sslmode` `disable`, `prefer`, `require`, `verify-ca`). Warns at each start: somebody on the way could read it, or pose as the database and make themselves admin."),
    Setting::new("VESTIBULE_SECRET_KEY", Storage, List, Words("made once, kept beside the SQLite file (its name and `.key`), mode 0600; required with PostgreSQL"),
        "32 random bytes, base64 (`openssl rand -base64 32`): seals cookies of attempts and private keys at rest. Several: the first seals, all open.")
        .secret(Secret::Whole),

    Setting::new("VESTIBULE_LISTEN", Network, List, Is("127.0.0.1:4180"),
        "Address of the gateway, `ip:port`; several, comma-separated."),
    Setting::new("VESTIBULE_OPS_LISTEN", Network, Text, Is("127.0.0.1:4181"),
        "Address of health, readiness, metrics and JWKS; never on the public listener."),
    Setting::new("VESTIBULE_TLS_CERT", Network, Text, NONE,
        "PEM file of the certificate chain: TLS ends here. A changed file is picked up without a restart; a broken one is refused, and the old certificate stays.")
        .example("/etc/vestibule/tls.crt"),
    Setting::new("VESTIBULE_TLS_KEY", Network, Text, NONE,
        "PEM file of the certificate's key.")
        .example("/etc/vestibule/tls.key"),
    Setting::new("VESTIBULE_TLS_MIN", Network, Choice(&["1.2", "1.3"]), Is("1.2"),
        "The oldest TLS version taken."),
    Setting::new("VESTIBULE_HSTS", Network, Flag, Is("false"),
        "`true`: tells browsers to come by https only, for a year (`Strict-Transport-Security`). It binds every port of the host."),
    Setting::new("VESTIBULE_REDIRECT_LISTEN", Network, Text, NONE,
        "Address that only redirects http to https.")
        .example("0.0.0.0:80"),
    Setting::new("VESTIBULE_TRUSTED_PROXIES", Network, List, NONE,
        "Networks (CIDR) whose forwarding header is believed; the first such header from anyone else logs one warning with the address and the line to set.")
        .example("10.0.0.0/8"),
    Setting::new("VESTIBULE_TRUSTED_PROXY_HEADER", Network, Choice(&["x-forwarded-for", "forwarded"]), Is("x-forwarded-for"),
        "The forwarding header that the proxy writes; the other is always replaced. The client is the rightmost address that is not trusted."),
    Setting::new("VESTIBULE_CA_FILE", Network, Text, Words("system roots"),
        "PEM file of extra CA certificates for everything the gateway connects to.")
        .example("/etc/ssl/company-ca.pem"),
    Setting::new("HTTPS_PROXY", Network, Url, NONE,
        "Proxy for requests to the provider only; never to upstream or database.")
        .secret(Secret::Partly).example("http://proxy.example.com:3128"),
    Setting::new("NO_PROXY", Network, Text, NONE,
        "Hosts that are reached without `HTTPS_PROXY`.")
        .example("idp.internal,10.0.0.0/8"),
    Setting::new("VESTIBULE_KEEPALIVE", Network, Seconds, Is("75"),
        "Seconds an idle client connection stays open (above the load balancer's own)."),

    Setting::new("VESTIBULE_DRAIN_DELAY", Running, Seconds, Is("0"),
        "Seconds: unready before it stops accepting.")
        .live(),
    Setting::new("VESTIBULE_DRAIN_TIMEOUT", Running, Seconds, Is("25"),
        "Seconds: then for requests under way.")
        .live(),
    Setting::new("VESTIBULE_THREADS", Running, Count, Words("the cores it may use (cgroup quota seen), at most 8"),
        "Threads that carry requests.")
        .example("4"),
    Setting::new("VESTIBULE_LOG", Running, Text, Is("info"),
        "What is logged: `error`, `warn`, `info`, `debug`, `trace`, or by target (`info,vestibule::sign_in=debug`).")
        .live(),
    Setting::new("VESTIBULE_LOG_FORMAT", Running, Choice(&["text", "json"]), Words("`text` on a terminal, else `json`"),
        "Shape of the log.")
        .example("json"),
    Setting::new("VESTIBULE_ACCESS_LOG", Running, Flag, Is("true"),
        "One line a request: id, client, user, method, path without query, status, bytes, times."),

    Setting::new("LOCAL_LDAP_LOGIN", Directory, Flag, Is("false"),
        "`true` turns LDAP sign-in on; with `false` the other LDAP settings can be tried with `vestibule check`."),
    Setting::new("LOCAL_LDAP_ADDRESS", Directory, Urls, NONE,
        "`ldap://host:389`, `ldaps://host:636`, `ldapi:///path`; several, comma-separated, are tried in order.")
        .example("ldaps://ldap.example.com"),
    Setting::new("LOCAL_LDAP_BASE_DN", Directory, Text, NONE,
        "Where people are searched, and everything below.")
        .example("ou=people,dc=example,dc=com"),
    Setting::new("LOCAL_LDAP_BIND_DN", Directory, Text, NONE,
        "The service account that searches, by DN or, at Active Directory, by principal name; anonymous when this and the password are empty.")
        .example("cn=vestibule,ou=services,dc=example,dc=com"),
    Setting::new("LOCAL_LDAP_BIND_PW", Directory, Text, NONE,
        "The service account's password.")
        .secret(Secret::Whole),
    Setting::new("LOCAL_LDAP_ATTRIBUTES", Directory, List, Is("email=mail,group=memberOf,username=uid,name=cn"),
        "`name=attribute` pairs; those that are not named keep their default. Where the user name's attribute is missing, `sAMAccountName` and then `userPrincipalName` serve.")
        .example("email=mail,group=gidNumber"),
    Setting::new("LOCAL_LDAP_USER_FILTER", Directory, Text,
        Is("(|(uid={login})(sAMAccountName={login})(mail={login})(userPrincipalName={login}))"),
        "Finds a person by what they typed, `{login}`, escaped. Exactly one entry must match."),
    Setting::new("LOCAL_LDAP_GROUP_FILTER", Directory, Text, NONE,
        "Finds groups that list their members: `{dn}` is the person's DN, `{username}` the user name's attribute, both escaped.")
        .example("(|(member={dn})(uniqueMember={dn})(memberUid={username}))"),
    Setting::new("LOCAL_LDAP_GROUP_BASE_DN", Directory, Text, Words("the base DN"),
        "Where groups are searched. Bare names in the allow list mean groups below it.")
        .example("ou=groups,dc=example,dc=com"),
    Setting::new("LOCAL_LDAP_TLS_ENABLE", Directory, Flag, Is("false"),
        "`true`: StartTLS on `ldap://` addresses; where it fails, no password is sent."),
    Setting::new("LOCAL_LDAP_GROUP_ALLOW_LIST", Directory, Text, NONE,
        "Only members get in: names or DNs of groups, separated by `;` (or `,` where none is a DN), compared as directories compare them.")
        .example("cn=staff,ou=groups,dc=example,dc=com;admins"),
    Setting::new("LDAP_GROUP_SYNC", Directory, Flag, Is("false"),
        "`true`: places in teams follow LDAP groups, at every sign-in.")
        .live(),
    Setting::new("VESTIBULE_LDAP_ID_ATTRIBUTE", Directory, Text, Words("the first of `entryUUID`, `objectGUID`, `nsUniqueId`, `ipaUniqueID`"),
        "Attribute of the entry's stable id, by which people are known again. It must never be given to somebody else; changing it makes strangers of everyone, until `vestibule users relink` moves them.")
        .example("employeeNumber"),
    Setting::new("VESTIBULE_LDAP_TRUST_EMAIL", Directory, Flag, Is("true"),
        "Whether the directory's e-mail addresses count as verified: an invitation is found by them."),
    Setting::new("VESTIBULE_LDAP_ALLOW_CLEARTEXT", Directory, Flag, Is("false"),
        "`true`: `ldap://` without StartTLS beyond loopback. Warns at each start: everybody on the way can read passwords."),
    Setting::new("VESTIBULE_LOGIN_FAILURES", Directory, Count, Is("5"),
        "Wrong passwords in 15 minutes per person; then 429. Keep it below what the directory locks at."),
    Setting::new("VESTIBULE_LOGIN_FAILURES_ADDRESS", Directory, Count, Is("50"),
        "Wrong passwords in 15 minutes per address (IPv6 by /64); then 429."),
    Setting::new("VESTIBULE_SESSION_RECHECK", Directory, Minutes, Is("15"),
        "Minutes between looks at the entry of a live session: gone, disabled, expired or out of the allow list ends it; changed groups are taken over. `0`: never."),
    Setting::new("VESTIBULE_RECHECK_GRACE", Directory, Minutes, Is("60"),
        "Minutes that sessions outlive a directory that can't be used, beyond the look that was due."),
];
