import { readFileSync } from 'node:fs';

import { createRemoteJWKSet, jwtVerify } from 'jose'; // npm install jose

/** Made once: keeps the keys for five minutes, and asks again for one that it does not know. */
export function assertions(jwksUrl, issuer, audience) {
  const keys = createRemoteJWKSet(new URL(jwksUrl), { cacheMaxAge: 300_000 });
  const options = { algorithms: ['ES256'], typ: 'JWT', issuer, audience, requiredClaims: ['sub', 'exp', 'nbf'] };
  /** The claims of X-Vestibule-Assertion; throws if it is not to be believed. */
  return async (assertion) => (await jwtVerify(assertion, keys, { ...options, clockTolerance: 10 })).payload;
}

if (process.argv[1] === import.meta.filename) {
  const verify = assertions(...process.argv.slice(2, 5));
  const { sub, email, role } = await verify(readFileSync(0, 'utf8').trim());
  console.log(sub, email, role);
}
