//! SIGHUP: takes over what can change while the gateway runs, names what can't, refuses what is wrong.

use std::fmt::Display;
use std::sync::Arc;

use arc_swap::ArcSwap;

use secrecy::{ExposeSecret as _, SecretString};

use crate::config::table::{Group, Setting};
use crate::config::{Database, EntryRules, Ldap, Oidc, SecretKeys, Settings};
use crate::telemetry::log::LogHandle;
use crate::telemetry::metrics;

/// Takes over a changed configuration.
#[derive(Debug)]
pub struct Reloader {
    /// What runs: what could not be taken over stays as it was, and is named again the next time.
    current: Settings,
    entry: Arc<ArcSwap<EntryRules>>,
    log: Option<LogHandle>,
}

impl Reloader {
    /// For a gateway that runs with `current` and looks up who gets in in `entry`.
    #[must_use]
    pub fn new(current: Settings, entry: Arc<ArcSwap<EntryRules>>, log: Option<LogHandle>) -> Self {
        Self { current, entry, log }
    }

    /// What the gateway runs with.
    #[must_use]
    pub fn current(&self) -> &Settings {
        &self.current
    }

    /// Takes over what can be, if the configuration could be read. Returns the settings that need a restart.
    pub fn reload(&mut self, read: Result<Settings, impl Display>) -> Vec<&'static str> {
        let new = match read {
            Ok(new) => new,
            Err(problems) => {
                metrics().reloads_refused.inc();
                tracing::error!(%problems, "the new configuration is refused; the old one stays");
                return Vec::new();
            }
        };
        let mut waiting = needs_restart(&self.current, &new);
        self.take_over_log(&new);
        self.take_over_entry(&new, &mut waiting);
        self.current.drain_delay = new.drain_delay;
        self.current.drain_timeout = new.drain_timeout;
        metrics().reloads.inc();
        if waiting.is_empty() {
            tracing::info!("the configuration was read anew");
        } else {
            tracing::warn!(
                settings = waiting.join(", "),
                "the configuration was read anew; these settings changed and need a restart"
            );
        }
        waiting
    }

    fn take_over_log(&mut self, new: &Settings) {
        if new.log == self.current.log {
            return;
        }
        match self.log.as_ref().map(|log| log.set_filter(&new.log)) {
            Some(Err(error)) => tracing::error!(%error, "the log's filter stays as it was"),
            Some(Ok(())) | None => self.current.log.clone_from(&new.log),
        }
    }

    /// Rules were checked together with the provider or directory that they are for: where that one waits for a restart, they
    /// do, too. (Leaving a provider where anyone can get an account, or narrowing whom the directory lets in, and dropping
    /// the list of domains or groups in the same breath, must not open the door for as long as the old one is asked.)
    fn take_over_entry(&mut self, new: &Settings, waiting: &mut Vec<&'static str>) {
        let (old, rules) = (&self.current.entry, &new.entry);
        if !rules_differ(old, rules) {
            return;
        }
        let is_of_where_people_come_from = |setting: &&str| {
            ["OIDC_", "LOCAL_LDAP_", "VESTIBULE_LDAP_"]
                .iter()
                .any(|beginning| setting.starts_with(beginning))
                || *setting == "HTTPS_PROXY"
        };
        if waiting.iter().any(is_of_where_people_come_from) {
            waiting.push("the rules of who gets in");
            return;
        }
        // Whether people need an address goes with OIDC_EMAIL_CLAIM.
        let rules = EntryRules {
            email_needed: old.email_needed,
            ..rules.clone()
        };
        self.entry.store(Arc::new(rules.clone()));
        self.current.entry = rules;
        self.current.shown.take_over(&new.shown, is_of_entry);
        tracing::info!("the rules of who gets in were taken over; they count from the next sign-in on");
    }
}

/// Whether what is shown of a setting is one of the rules of who gets in.
fn is_of_entry(setting: &Setting) -> bool {
    setting.live && matches!(setting.group, Group::People | Group::Directory)
}

fn rules_differ(old: &EntryRules, new: &EntryRules) -> bool {
    let EntryRules {
        provisioning,
        initial_admins,
        default_role,
        allowed_domains,
        allowed_groups,
        names_follow,
        email_needed: _,
        follow_group_claims,
        follow_ldap_groups,
    } = new;
    old.provisioning != *provisioning
        || old.initial_admins != *initial_admins
        || old.default_role != *default_role
        || old.allowed_domains != *allowed_domains
        || old.allowed_groups != *allowed_groups
        || old.names_follow != *names_follow
        || old.follow_group_claims != *follow_group_claims
        || old.follow_ldap_groups != *follow_ldap_groups
}

/// Names the settings that differ and cannot be taken over. Taken apart field by field, so that a new one is thought of.
#[expect(clippy::too_many_lines, reason = "a line a setting")]
fn needs_restart(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let Settings {
        upstream,
        public,
        extra_hosts,
        listen,
        ops_listen,
        database,
        secret_keys,
        tls,
        hsts,
        redirect_listen,
        trusted_proxies,
        trusted_proxy_header,
        public_paths,
        pass_preflight,
        allowed_origins,
        callback_path,
        logout_path,
        ca_file,
        provider_proxy,
        keepalive,
        drain_delay: _,
        drain_timeout: _,
        threads,
        log: _,
        log_format,
        access_log,
        instance_name,
        oidc,
        ldap,
        entry: _,
        assertion_audience,
        session_length: _,
        session_idle: _,
        restore,
        audit_kept: _,
        session_cache: _,
        streams: _,
        shown: _,
    } = new;
    let changes = [
        (
            "VESTIBULE_UPSTREAM",
            old.upstream.authority != upstream.authority || old.upstream.scheme != upstream.scheme,
        ),
        ("VESTIBULE_UPSTREAM_TIMEOUT", old.upstream.timeout != upstream.timeout),
        ("VESTIBULE_UPSTREAM_HEADERS", old.upstream.headers != upstream.headers),
        (
            "VESTIBULE_PRESERVE_HOST",
            old.upstream.preserve_host != upstream.preserve_host,
        ),
        ("VESTIBULE_PUBLIC_URL", old.public != *public),
        ("VESTIBULE_EXTRA_HOSTS", old.extra_hosts != *extra_hosts),
        ("VESTIBULE_LISTEN", old.listen != *listen),
        ("VESTIBULE_OPS_LISTEN", old.ops_listen != *ops_listen),
        ("VESTIBULE_SECRET_KEY", keys_differ(&old.secret_keys, secret_keys)),
        // Changed files are picked up without being told; other files are not.
        ("VESTIBULE_TLS_CERT", old.tls != *tls),
        ("VESTIBULE_HSTS", old.hsts != *hsts),
        ("VESTIBULE_REDIRECT_LISTEN", old.redirect_listen != *redirect_listen),
        ("VESTIBULE_TRUSTED_PROXIES", old.trusted_proxies != *trusted_proxies),
        (
            "VESTIBULE_TRUSTED_PROXY_HEADER",
            old.trusted_proxy_header != *trusted_proxy_header,
        ),
        ("VESTIBULE_PUBLIC_PATHS", old.public_paths != *public_paths),
        ("VESTIBULE_PASS_PREFLIGHT", old.pass_preflight != *pass_preflight),
        ("VESTIBULE_ALLOWED_ORIGINS", old.allowed_origins != *allowed_origins),
        ("VESTIBULE_CALLBACK_PATH", old.callback_path != *callback_path),
        ("VESTIBULE_LOGOUT_PATH", old.logout_path != *logout_path),
        ("VESTIBULE_CA_FILE", old.ca_file != *ca_file),
        (
            "HTTPS_PROXY",
            secret(old.provider_proxy.url.as_ref()) != secret(provider_proxy.url.as_ref())
                || old.provider_proxy.no_proxy != provider_proxy.no_proxy,
        ),
        ("VESTIBULE_KEEPALIVE", old.keepalive != *keepalive),
        ("VESTIBULE_THREADS", old.threads != *threads),
        ("VESTIBULE_LOG_FORMAT", old.log_format != *log_format),
        ("VESTIBULE_ACCESS_LOG", old.access_log != *access_log),
        ("VESTIBULE_INSTANCE_NAME", old.instance_name != *instance_name),
        (
            "VESTIBULE_ASSERTION_AUDIENCE",
            old.assertion_audience != *assertion_audience,
        ),
        ("LOCAL_RESTORE", old.restore != *restore),
    ];
    let mut names: Vec<_> = changes
        .into_iter()
        .chain(session_changes(old, new))
        .filter_map(|(name, differs)| differs.then_some(name))
        .chain(database_changes(&old.database, database))
        .collect();
    match (&old.oidc, oidc) {
        (None, None) => {}
        (Some(old), Some(new)) => names.extend(oidc_changes(old, new)),
        (None, Some(_)) | (Some(_), None) => names.push("OIDC_ISSUER"),
    }
    match (&old.ldap, ldap) {
        (None, None) => {}
        (Some(old), Some(new)) => names.extend(ldap_changes(old, new)),
        (None, Some(_)) | (Some(_), None) => names.push("LOCAL_LDAP_ADDRESS"),
    }
    names
}

fn session_changes(old: &Settings, new: &Settings) -> [(&'static str, bool); 5] {
    [
        ("SESSION_LENGTH", old.session_length != new.session_length),
        ("VESTIBULE_SESSION_IDLE", old.session_idle != new.session_idle),
        ("VESTIBULE_AUDIT_DAYS", old.audit_kept != new.audit_kept),
        ("VESTIBULE_SESSION_CACHE", old.session_cache != new.session_cache),
        ("VESTIBULE_STREAMS_OUTLIVE_SESSION", old.streams != new.streams),
    ]
}

fn ldap_changes(old: &Ldap, new: &Ldap) -> impl Iterator<Item = &'static str> {
    let Ldap {
        login,
        servers,
        base_dn,
        bind,
        attributes,
        user_filter,
        group_filter,
        group_base_dn,
        start_tls,
        allow_list,
        id_attribute,
        trust_email,
        failures,
        failures_address,
        recheck,
        recheck_grace,
    } = new;
    let account = |bind: &Option<(String, SecretString)>| bind.as_ref().map(|(name, _)| name.clone());
    let password =
        |bind: &Option<(String, SecretString)>| bind.as_ref().map(|(_, password)| password.expose_secret().to_owned());
    [
        ("LOCAL_LDAP_LOGIN", old.login != *login),
        ("LOCAL_LDAP_ADDRESS", old.servers != *servers),
        ("LOCAL_LDAP_BASE_DN", old.base_dn != *base_dn),
        ("LOCAL_LDAP_BIND_DN", account(&old.bind) != account(bind)),
        ("LOCAL_LDAP_BIND_PW", password(&old.bind) != password(bind)),
        ("LOCAL_LDAP_ATTRIBUTES", old.attributes != *attributes),
        ("LOCAL_LDAP_USER_FILTER", old.user_filter != *user_filter),
        ("LOCAL_LDAP_GROUP_FILTER", old.group_filter != *group_filter),
        ("LOCAL_LDAP_GROUP_BASE_DN", old.group_base_dn != *group_base_dn),
        ("LOCAL_LDAP_TLS_ENABLE", old.start_tls != *start_tls),
        ("LOCAL_LDAP_GROUP_ALLOW_LIST", old.allow_list != *allow_list),
        ("VESTIBULE_LDAP_ID_ATTRIBUTE", old.id_attribute != *id_attribute),
        ("VESTIBULE_LDAP_TRUST_EMAIL", old.trust_email != *trust_email),
        ("VESTIBULE_LOGIN_FAILURES", old.failures != *failures),
        (
            "VESTIBULE_LOGIN_FAILURES_ADDRESS",
            old.failures_address != *failures_address,
        ),
        ("VESTIBULE_SESSION_RECHECK", old.recheck != *recheck),
        ("VESTIBULE_RECHECK_GRACE", old.recheck_grace != *recheck_grace),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
}

fn oidc_changes(old: &Oidc, new: &Oidc) -> impl Iterator<Item = &'static str> {
    let Oidc {
        issuer,
        client_id,
        client_secret,
        auth_method,
        client_auth,
        custom_scopes,
        backchannel,
        email_claim,
        username_claim,
        groups_claim,
        subject_claim,
        email_verified,
    } = new;
    [
        ("OIDC_ISSUER", old.issuer != *issuer),
        ("OIDC_CLIENT_ID", old.client_id != *client_id),
        (
            "OIDC_CLIENT_SECRET",
            secret(old.client_secret.as_ref()) != secret(client_secret.as_ref()),
        ),
        ("OIDC_AUTH_METHOD", old.auth_method != *auth_method),
        ("OIDC_CLIENT_AUTH", old.client_auth != *client_auth),
        ("OIDC_CUSTOM_SCOPES", old.custom_scopes != *custom_scopes),
        ("OIDC_BACKCHANNEL_URL", old.backchannel != *backchannel),
        ("OIDC_EMAIL_CLAIM", old.email_claim != *email_claim),
        ("OIDC_USERNAME_CLAIM", old.username_claim != *username_claim),
        ("OIDC_GROUPS_CLAIM", old.groups_claim != *groups_claim),
        ("OIDC_SUBJECT_CLAIM", old.subject_claim != *subject_claim),
        ("OIDC_EMAIL_VERIFIED", old.email_verified != *email_verified),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
}

fn database_changes(old: &Database, new: &Database) -> impl Iterator<Item = &'static str> {
    let [url, pool, timeout] = match (old, new) {
        (Database::Sqlite(old), Database::Sqlite(new)) => [old != new, false, false],
        (Database::Postgres(old), Database::Postgres(new)) => [
            secret(Some(&old.url)) != secret(Some(&new.url)) || old.tls != new.tls,
            old.pool != new.pool,
            old.timeout != new.timeout,
        ],
        _ => [true, false, false],
    };
    [
        ("VESTIBULE_DATABASE_URL", url),
        ("VESTIBULE_DATABASE_POOL", pool),
        ("VESTIBULE_DATABASE_TIMEOUT", timeout),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
}

fn keys_differ(old: &SecretKeys, new: &SecretKeys) -> bool {
    match (old, new) {
        (SecretKeys::Given(old), SecretKeys::Given(new)) => old != new,
        (SecretKeys::File(old), SecretKeys::File(new)) => old != new,
        _ => true,
    }
}

fn secret(secret: Option<&secrecy::SecretString>) -> Option<&str> {
    secret.map(secrecy::ExposeSecret::expose_secret)
}

#[cfg(test)]
mod tests;
