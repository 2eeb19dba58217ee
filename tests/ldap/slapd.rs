//! A real slapd (Debian's OpenLDAP) on loopback ports of its own, with a small company in it.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

pub const BASE: &str = "dc=example,dc=com";
pub const SERVICE: &str = "cn=vestibule,ou=services,dc=example,dc=com";
pub const ROOT: &str = "cn=root,dc=example,dc=com";
pub const SECRET: &str = "service secret";
/// What Active Directory, 389 Directory Server and FreeIPA know, for this slapd.
pub const ELSEWHERE: &str = "
attributetype ( 1.2.840.113556.1.4.8 NAME 'userAccountControl' SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.159 NAME 'accountExpires' SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.662 NAME 'lockoutTime' SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
attributetype ( 2.16.840.1.113730.3.1.610 NAME 'nsAccountLock' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 2.16.840.1.113719.1.301.4.13.1 NAME 'krbPasswordExpiration'
    SYNTAX 1.3.6.1.4.1.1466.115.121.1.24 SINGLE-VALUE )
objectclass ( 1.3.6.1.4.1.99999.1 NAME 'elsewhere' AUXILIARY
    MAY ( userAccountControl $ accountExpires $ lockoutTime $ nsAccountLock $ krbPasswordExpiration ) )
";

pub struct Slapd {
    pub folder: tempfile::TempDir,
    pub port: u16,
    pub tls_port: u16,
    /// Where it listens besides.
    pub also: String,
    child: Option<Child>,
    program: PathBuf,
}

impl Slapd {
    /// None where no slapd is named in `VESTIBULE_TEST_SLAPD`; tests/run.sh names one.
    pub fn start() -> Option<Self> {
        Self::with("")
    }

    /// With more lines in its configuration, before the database.
    #[expect(clippy::disallowed_methods, reason = "the gateway's settings are not concerned")]
    pub fn with(global: &str) -> Option<Self> {
        let Some(program) = std::env::var_os("VESTIBULE_TEST_SLAPD") else {
            eprintln!("VESTIBULE_TEST_SLAPD is not set: nothing is tried against a real directory");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::create_dir(path.join("db")).unwrap();
        certificates(path, &["localhost", "127.0.0.1"]);
        std::fs::write(path.join("slapd.conf"), configuration(path, global)).unwrap();
        let mut slapd = Self {
            port: free_port(),
            tls_port: free_port(),
            also: String::new(),
            folder,
            child: None,
            program: program.into(),
        };
        slapd.run();
        slapd.add(ROOT, "root", COMPANY);
        Some(slapd)
    }

    pub fn run(&mut self) {
        let mut command = Command::new(&self.program);
        let path = self.folder.path();
        if is_root() {
            // slapd is not for root.
            let owned = Command::new("chown")
                .arg("-R")
                .arg("openldap:")
                .arg(path)
                .status()
                .unwrap();
            assert!(owned.success());
            command.args(["-u", "openldap", "-g", "openldap"]);
        }
        let child = command
            .args(["-d", "0", "-f"])
            .arg(path.join("slapd.conf"))
            .arg("-h")
            .arg(format!(
                "ldap://127.0.0.1:{}/ ldaps://127.0.0.1:{}/ ldapi://{}/ {}",
                self.port,
                self.tls_port,
                self.socket().display().to_string().replace('/', "%2F"),
                self.also
            ))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let until = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", self.tls_port)).is_err() {
            assert!(Instant::now() < until, "slapd does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("ldapi")
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub fn add(&self, who: &str, password: &str, ldif: &str) {
        self.tool("ldapadd", who, password, ldif);
    }

    pub fn modify(&self, ldif: &str) {
        self.tool("ldapmodify", ROOT, "root", ldif);
    }

    pub fn delete(&self, dn: &str) {
        self.tool("ldapdelete", ROOT, "root", &format!("{dn}\n"));
    }

    pub fn rename(&self, dn: &str, rdn: &str) {
        self.tool("ldapmodrdn", ROOT, "root", &format!("{dn}\n{rdn}\n"));
    }

    pub fn move_to(&self, dn: &str, rdn: &str, above: &str) {
        let ldif = format!("dn: {dn}\nchangetype: modrdn\nnewrdn: {rdn}\ndeleteoldrdn: 1\nnewsuperior: {above}\n");
        self.modify(&ldif);
    }

    /// Gives it another certificate, of another CA; it must be stopped.
    pub fn certify(&self, names: &[&str]) {
        certificates(self.folder.path(), names);
    }

    /// Changes its configuration; it must be stopped.
    pub fn configure(&self, old: &str, new: &str) {
        let file = self.folder.path().join("slapd.conf");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(old), "{old}");
        std::fs::write(file, text.replace(old, new)).unwrap();
    }

    /// With what result it answers a search of the service account's for somebody.
    pub fn search_code(&self, who: &str) -> Option<i32> {
        let status = Command::new("ldapsearch")
            .args(["-x", "-D", SERVICE, "-w", SECRET, "-b", BASE, "-H"])
            .arg(format!("ldap://127.0.0.1:{}", self.port))
            .arg(format!("(uid={who})"))
            .stdout(Stdio::null())
            .status()
            .unwrap();
        status.code()
    }

    fn tool(&self, tool: &str, who: &str, password: &str, input: &str) {
        let mut child = Command::new(tool)
            .args(["-x", "-D", who, "-w", password, "-H"])
            .arg(format!("ldap://127.0.0.1:{}", self.port))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{tool}");
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().unwrap().stdout == b"0\n"
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A CA, and a certificate of its for these names and addresses.
fn certificates(folder: &Path, names: &[&str]) {
    let mut ca = CertificateParams::new(vec![]).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    std::fs::write(folder.join("ca.pem"), ca_certificate.pem()).unwrap();
    std::fs::write(folder.join("tls.pem"), leaf.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
}

fn configuration(folder: &Path, global: &str) -> String {
    let folder = folder.display();
    format!(
        "include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
moduleload ppolicy
pidfile {folder}/slapd.pid
TLSCACertificateFile {folder}/ca.pem
TLSCertificateFile {folder}/tls.pem
TLSCertificateKeyFile {folder}/tls.key
{global}
database mdb
suffix {BASE}
rootdn {ROOT}
rootpw root
directory {folder}/db
access to attrs=userPassword by anonymous auth by self write by * none
access to attrs=entryUUID filter=(description=hidden) by * none
access to * by dn.exact={SERVICE} read by * none
overlay memberof
overlay ppolicy
ppolicy_default cn=policy,{BASE}
"
    )
}

/// Everybody's password is `NAME's password`.
const COMPANY: &str = r#"dn: dc=example,dc=com
objectClass: organization
objectClass: dcObject
o: Example
dc: example

dn: cn=policy,dc=example,dc=com
objectClass: organizationalRole
objectClass: pwdPolicy
cn: policy
pwdAttribute: userPassword
pwdMustChange: TRUE
pwdLockout: TRUE
pwdMaxFailure: 20
pwdGraceAuthNLimit: 0

dn: cn=short,dc=example,dc=com
objectClass: organizationalRole
objectClass: pwdPolicy
cn: short
pwdAttribute: userPassword
pwdMaxAge: 1

dn: cn=grace,dc=example,dc=com
objectClass: organizationalRole
objectClass: pwdPolicy
cn: grace
pwdAttribute: userPassword
pwdMaxAge: 1
pwdGraceAuthNLimit: 5

dn: ou=services,dc=example,dc=com
objectClass: organizationalUnit
ou: services

dn: cn=vestibule,ou=services,dc=example,dc=com
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: vestibule
userPassword: service secret

dn: ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: people

dn: uid=bob,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: bob
cn: Bob Builder
sn: Builder
mail: bob@example.com
mail: robert@example.com
userPassword: bob's password

dn: uid=ann,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
objectClass: posixAccount
uid: ann
cn: Ann Müller
sn: Müller
mail: ann@example.com
uidNumber: 1000
gidNumber: 1000
homeDirectory: /home/ann
userPassword: ann's password

dn: uid=nomail,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: nomail
cn: No Mail
sn: Mail
userPassword: nomail's password

dn: uid=hidden,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: hidden
cn: Hidden
sn: Hidden
description: hidden
mail: hidden@example.com
userPassword: hidden's password

dn: uid=nopassword,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: nopassword
cn: No Password
sn: Password
mail: nopassword@example.com

dn: uid=twin,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: twin
cn: Twin One
sn: Twin
mail: twin@example.com
userPassword: twin's password

dn: uid=other,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: other
cn: Twin Two
sn: Twin
mail: twin@example.com
userPassword: twin's password

dn: uid=reset,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: reset
cn: Reset
sn: Reset
mail: reset@example.com
pwdReset: TRUE
userPassword: reset's password

dn: uid=expired,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: expired
cn: Expired
sn: Expired
mail: expired@example.com
pwdPolicySubentry: cn=short,dc=example,dc=com
userPassword: expired's password

dn: uid=graceful,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: graceful
cn: Graceful
sn: Graceful
mail: graceful@example.com
pwdPolicySubentry: cn=grace,dc=example,dc=com
userPassword: graceful's password

dn: cn=Smith\2C \22J\2B\22 \5C \28x\29*,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: sm*th(\)
cn: Smith, "J+" \ (x)*
sn: Smith
mail: smith@example.com
userPassword: smith's password

dn: ou=groups,dc=example,dc=com
objectClass: organizationalUnit
ou: groups

dn: cn=Staff\2C all,ou=groups,dc=example,dc=com
objectClass: groupOfNames
cn: Staff, all
member: uid=bob,ou=people,dc=example,dc=com
member: cn=Smith\2C \22J\2B\22 \5C \28x\29*,ou=people,dc=example,dc=com

dn: cn=everyone,ou=groups,dc=example,dc=com
objectClass: groupOfNames
cn: everyone
member: cn=Staff\2C all,ou=groups,dc=example,dc=com

dn: cn=circle,ou=groups,dc=example,dc=com
objectClass: groupOfNames
cn: circle
member: cn=everyone,ou=groups,dc=example,dc=com
member: cn=circle,ou=groups,dc=example,dc=com

dn: cn=unique,ou=groups,dc=example,dc=com
objectClass: groupOfUniqueNames
cn: unique
uniqueMember: uid=ann,ou=people,dc=example,dc=com

dn: cn=posix,ou=groups,dc=example,dc=com
objectClass: posixGroup
cn: posix
gidNumber: 1000
memberUid: ann

dn: ou=elsewhere,dc=example,dc=com
objectClass: organizationalUnit
ou: elsewhere

dn: cn=admins,ou=elsewhere,dc=example,dc=com
objectClass: groupOfNames
cn: admins
member: uid=bob,ou=people,dc=example,dc=com
"#;
