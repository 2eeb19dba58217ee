// A directory of a test's own: Debian's slapd with a small company, spoken to over ldaps.

import { execFileSync, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { makeCertificate } from './certificate.mjs';
import { freePort, until } from './net.mjs';

const BASE = 'dc=example,dc=com';
const SERVICE = `cn=vestibule,${BASE}`;

/** Everybody's password. */
export const passwordOf = (name) => `${name}'s password`;

/** Starts one with these people, each with a mail, and all of them in the group `staff`. */
export async function startSlapd({ people = ['ann', 'ben', 'cleo', 'dan'] } = {}) {
  const folder = await mkdtemp(path.join(tmpdir(), 'vestibule-slapd-'));
  const [port, tlsPort] = [await freePort(), await freePort()];
  const { key, cert } = makeCertificate(folder, 'directory');
  const inFolder = (name) => path.join(folder, name);
  execFileSync('mkdir', [inFolder('db')]);
  await writeFile(inFolder('slapd.conf'), `
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
TLSCertificateFile ${cert}
TLSCertificateKeyFile ${key}
database mdb
maxsize 1073741824
suffix ${BASE}
rootdn cn=root,${BASE}
rootpw root
directory ${inFolder('db')}
index uid,mail,member,entryUUID,objectClass eq
dbnosync
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact=${SERVICE} read by * none
overlay memberof
`);
  const root = process.getuid() === 0;
  // slapd is not for root.
  if (root) execFileSync('chown', ['-R', 'openldap:', folder]);
  const child = spawn('/usr/sbin/slapd', [
    '-d', '0', '-f', inFolder('slapd.conf'), '-h', `ldap://127.0.0.1:${port}/ ldaps://127.0.0.1:${tlsPort}/`,
    ...(root ? ['-u', 'openldap', '-g', 'openldap'] : []),
  ], { stdio: 'ignore' });
  const directory = {
    /** What the gateway is told of it. */
    settings: {
      LOCAL_LDAP_LOGIN: 'true',
      LOCAL_LDAP_ADDRESS: `ldaps://localhost:${tlsPort}`,
      LOCAL_LDAP_BASE_DN: BASE,
      LOCAL_LDAP_BIND_DN: SERVICE,
      LOCAL_LDAP_BIND_PW: 'service',
      VESTIBULE_CA_FILE: cert,
    },
    async close() {
      const ended = new Promise((resolve) => (child.exitCode === null ? child.on('exit', resolve) : resolve()));
      child.kill('SIGKILL');
      await ended;
      await rm(folder, { recursive: true, force: true });
    },
  };
  try {
    await until('slapd to listen', () => new Promise((resolve) => {
      const socket = net.connect(tlsPort, '127.0.0.1', () => resolve(socket.destroy()));
      socket.on('error', () => resolve(false));
    }));
    execFileSync('ldapadd', ['-x', '-D', `cn=root,${BASE}`, '-w', 'root', '-H', `ldap://127.0.0.1:${port}`], {
      input: company(people),
      stdio: ['pipe', 'ignore', 'inherit'],
    });
  } catch (error) {
    await directory.close();
    throw error;
  }
  return directory;
}

function company(people) {
  const person = (name) => `uid=${name},${BASE}`;
  return [
    `dn: ${BASE}\nobjectClass: organization\nobjectClass: dcObject\no: Example\ndc: example`,
    `dn: ${SERVICE}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: vestibule\nuserPassword: service`,
    ...people.map((name) =>
      `dn: ${person(name)}\nobjectClass: inetOrgPerson\nuid: ${name}\ncn: ${name}\nsn: ${name}\n` +
        `mail: ${name}@example.com\nuserPassword: ${passwordOf(name)}`),
    `dn: cn=staff,${BASE}\nobjectClass: groupOfNames\ncn: staff\n${people.map((name) => `member: ${person(name)}`).join('\n')}`,
  ].join('\n\n') + '\n';
}
