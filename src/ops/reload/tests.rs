use std::time::Duration;

use secrecy::SecretString;

use super::*;
use crate::config::{
    AuthMethod, ClientAuth, EmailVerified, ForwardingHeader, LdapAttributes, LdapScheme, LdapServer, LogFormat,
    ProviderProxy, PublicPaths, PublicUrl, Streams, Upstream, UpstreamScheme,
};
use crate::person::Role;
use crate::seal::SecretKey;

fn settings() -> Settings {
    Settings {
        upstream: Upstream {
            scheme: UpstreamScheme::Http,
            authority: http::uri::Authority::from_static("127.0.0.1:8080"),
            timeout: Duration::from_mins(5),
            preserve_host: true,
            headers: Vec::new(),
        },
        public: PublicUrl {
            https: false,
            host: "localhost".into(),
            port: Some(4180),
        },
        extra_hosts: Vec::new(),
        listen: vec![([127, 0, 0, 1], 4180).into()],
        ops_listen: ([127, 0, 0, 1], 4181).into(),
        database: Database::Sqlite("/tmp/none.db".into()),
        secret_keys: SecretKeys::Given(vec![SecretKey::new([1; 32])]),
        tls: None,
        hsts: false,
        redirect_listen: None,
        trusted_proxies: Vec::new(),
        trusted_proxy_header: ForwardingHeader::XForwardedFor,
        public_paths: PublicPaths::default(),
        pass_preflight: false,
        allowed_origins: Vec::new(),
        callback_path: "/oidc/callback".into(),
        logout_path: None,
        ca_file: None,
        provider_proxy: ProviderProxy::default(),
        keepalive: Duration::from_secs(75),
        drain_delay: Duration::ZERO,
        drain_timeout: Duration::from_secs(25),
        threads: 1,
        log: "info".into(),
        log_format: LogFormat::Text,
        access_log: true,
        instance_name: "localhost".into(),
        oidc: Some(Oidc {
            issuer: "https://provider.example".into(),
            client_id: "vestibule".into(),
            client_secret: Some(SecretString::from("old")),
            auth_method: AuthMethod::Pkce,
            client_auth: ClientAuth::Auto,
            custom_scopes: Vec::new(),
            backchannel: None,
            email_claim: Some("email".into()),
            username_claim: "preferred_username".into(),
            groups_claim: "groups".into(),
            subject_claim: "sub".into(),
            email_verified: EmailVerified::UnlessDenied,
        }),
        ldap: None,
        entry: EntryRules {
            provisioning: true,
            initial_admins: Vec::new(),
            default_role: Role::Member,
            allowed_domains: Some(vec!["example.com".into()]),
            allowed_groups: None,
            names_follow: false,
            email_needed: true,
            follow_group_claims: false,
            follow_ldap_groups: false,
        },
        assertion_audience: "http://localhost:4180".into(),
        session_length: Duration::from_hours(24),
        restore: false,
        session_idle: None,
        audit_kept: Duration::from_hours(24),
        session_cache: 64 * 1024 * 1024,
        streams: Streams::EndWithSession,
        shown: crate::config::ShownSettings::default(),
    }
}

fn ldap() -> Ldap {
    Ldap {
        login: true,
        servers: vec![LdapServer {
            scheme: LdapScheme::Ldapi("/run/slapd/ldapi".into()),
        }],
        base_dn: "dc=example".into(),
        bind: None,
        attributes: LdapAttributes {
            email: "mail".into(),
            group: "memberOf".into(),
            username: "uid".into(),
            name: "cn".into(),
        },
        user_filter: "(uid={login})".into(),
        group_filter: None,
        group_base_dn: None,
        start_tls: false,
        allow_list: None,
        id_attribute: None,
        trust_email: true,
        failures: 5,
        failures_address: 50,
        recheck: None,
        recheck_grace: Duration::from_hours(1),
    }
}

fn reloader() -> (Reloader, Arc<ArcSwap<EntryRules>>) {
    let entry = Arc::new(ArcSwap::from_pointee(settings().entry));
    (Reloader::new(settings(), Arc::clone(&entry), None), entry)
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of what is read")]
fn read(change: impl FnOnce(&mut Settings)) -> Result<Settings, String> {
    let mut settings = settings();
    change(&mut settings);
    Ok(settings)
}

#[test]
fn the_same_configuration_changes_nothing() {
    let (mut reloader, entry) = reloader();
    let before = entry.load_full();
    assert_eq!(reloader.reload(read(|_| {})), Vec::<&str>::new());
    assert!(Arc::ptr_eq(&before, &entry.load_full()));
}

#[test]
fn who_gets_in_is_taken_over_at_once() {
    let (mut reloader, entry) = reloader();
    let waiting = reloader.reload(read(|new| {
        new.entry.provisioning = false;
        new.drain_timeout = Duration::from_secs(5);
    }));
    assert!(waiting.is_empty());
    assert!(!entry.load().provisioning);
    assert_eq!(reloader.current().drain_timeout, Duration::from_secs(5));
}

#[test]
fn what_was_taken_over_is_shown_and_what_waits_is_not() {
    let shown_by = |more: &[(&str, &str)]| {
        let base = [
            ("VESTIBULE_UPSTREAM", "http://127.0.0.1:8080"),
            ("OIDC_ISSUER", "https://idp.example.com"),
            ("OIDC_CLIENT_ID", "vestibule"),
        ];
        let env = base
            .iter()
            .chain(more)
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        crate::config::load(env.collect::<Vec<_>>(), None)
            .unwrap()
            .settings
            .shown
    };
    let with_list = |shown: crate::config::ShownSettings| Settings { shown, ..settings() };
    let current = with_list(shown_by(&[]));
    // The console's copy.
    let looking = current.shown.clone();
    let value = |name: &str| {
        let list = looking.list();
        let found = list.iter().find(|shown| shown.setting.name == name).unwrap();
        found.value.clone().unwrap()
    };
    let entry = Arc::new(ArcSwap::from_pointee(current.entry.clone()));
    let mut reloader = Reloader::new(current, entry, None);
    let mut new = with_list(shown_by(&[
        ("VESTIBULE_DEFAULT_ROLE", "viewer"),
        ("SESSION_LENGTH", "1"),
    ]));
    new.entry.default_role = Role::Viewer;
    new.session_length = Duration::from_hours(1);
    assert_eq!(reloader.reload(Ok::<_, &str>(new)), ["SESSION_LENGTH"]);
    assert!(value("VESTIBULE_DEFAULT_ROLE").contains("viewer"));
    assert!(value("SESSION_LENGTH").contains("24"), "{}", value("SESSION_LENGTH"));
}

#[test]
fn a_wrong_configuration_is_refused_whole() {
    let (mut reloader, entry) = reloader();
    assert!(reloader.reload(Err("VESTIBULE_KEEPALIVE: x is no number")).is_empty());
    assert_eq!(entry.load().allowed_domains, settings().entry.allowed_domains);
    assert_eq!(reloader.current().keepalive, settings().keepalive);
}

#[test]
fn what_needs_a_restart_is_named_every_time() {
    let (mut reloader, _) = reloader();
    let change = |new: &mut Settings| {
        new.upstream.authority = http::uri::Authority::from_static("127.0.0.1:9");
        new.secret_keys = SecretKeys::Given(vec![SecretKey::new([2; 32])]);
        new.session_length = Duration::from_mins(1);
    };
    for _ in 0..2 {
        let waiting = reloader.reload(read(change));
        assert_eq!(
            waiting,
            ["VESTIBULE_UPSTREAM", "VESTIBULE_SECRET_KEY", "SESSION_LENGTH"]
        );
    }
}

#[test]
fn rules_for_another_provider_do_not_open_the_door_at_the_old_one() {
    let (mut reloader, entry) = reloader();
    let waiting = reloader.reload(read(|new| {
        new.oidc.as_mut().unwrap().issuer = "https://private.example".into();
        new.entry.allowed_domains = None;
    }));
    assert_eq!(waiting, ["OIDC_ISSUER", "the rules of who gets in"]);
    assert_eq!(entry.load().allowed_domains, settings().entry.allowed_domains);
}

#[test]
fn rules_for_another_directory_do_not_open_the_door_at_the_old_one() {
    type Change = (&'static str, fn(&mut Ldap));
    let with = |directory: Ldap| {
        let mut settings = settings();
        settings.ldap = Some(directory);
        settings.entry.allowed_groups = Some(vec!["staff".into()]);
        settings
    };
    let changes: [Change; 3] = [
        ("LOCAL_LDAP_BASE_DN", |new| new.base_dn = "ou=staff,dc=example".into()),
        ("LOCAL_LDAP_GROUP_ALLOW_LIST", |new| {
            new.allow_list = Some(vec!["staff".into()]);
        }),
        ("VESTIBULE_LDAP_TRUST_EMAIL", |new| new.trust_email = false),
    ];
    for (setting, change) in changes {
        let old = with(ldap());
        let entry = Arc::new(ArcSwap::from_pointee(old.entry.clone()));
        let mut reloader = Reloader::new(old, Arc::clone(&entry), None);
        let mut directory = ldap();
        change(&mut directory);
        let mut new = with(directory);
        new.entry.allowed_groups = None;
        let waiting = reloader.reload(Ok::<_, String>(new));
        assert_eq!(waiting, [setting, "the rules of who gets in"]);
        assert_eq!(entry.load().allowed_groups, Some(vec!["staff".to_owned()]));
    }
}

#[test]
fn whether_people_need_an_address_waits_with_the_claim() {
    let (mut reloader, entry) = reloader();
    let waiting = reloader.reload(read(|new| {
        new.oidc.as_mut().unwrap().email_claim = None;
        new.entry.email_needed = false;
        new.entry.allowed_domains = None;
    }));
    assert_eq!(waiting, ["OIDC_EMAIL_CLAIM", "the rules of who gets in"]);
    assert!(entry.load().email_needed);
}

#[test]
fn a_changed_secret_is_noticed_and_not_shown() {
    let (mut reloader, _) = reloader();
    let waiting = reloader.reload(read(|new| {
        new.oidc.as_mut().unwrap().client_secret = Some(SecretString::from("new"));
    }));
    assert_eq!(waiting, ["OIDC_CLIENT_SECRET"]);
}
