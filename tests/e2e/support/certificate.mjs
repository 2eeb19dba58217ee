// A certificate for localhost that vouches for itself.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';

/** Makes `NAME.key` and `NAME.pem` in `folder`. */
export function makeCertificate(folder, name) {
  const [key, cert] = [path.join(folder, `${name}.key`), path.join(folder, `${name}.pem`)];
  execFileSync('openssl', [
    ...'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost'.split(' '),
    ...['-addext', 'subjectAltName=DNS:localhost', '-addext', 'basicConstraints=critical,CA:FALSE', '-keyout', key, '-out', cert],
  ], { stdio: 'ignore' });
  return { key, cert, pem: readFileSync(cert), keyPem: readFileSync(key) };
}
