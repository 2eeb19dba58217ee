// Many people sign in at once, with a provider of its own that costs nearly nothing: every answer is made beforehand but
// for a signature. Prints how many signed in, and how long one took.
//
//   node storm.mjs PUBLIC_URL PROVIDER_PORT COUNT [TOGETHER]

import { createHash, randomBytes } from 'node:crypto';
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

import { exportJWK, generateKeyPair, SignJWT } from '../tests/e2e/node_modules/jose/dist/webapi/index.js';

const [publicUrl, port, count, together = '50'] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const { privateKey, publicKey } = await generateKeyPair('ES256');
const jwk = { ...(await exportJWK(publicKey)), kid: 'storm', alg: 'ES256', use: 'sig' };
const discovery = {
  issuer,
  authorization_endpoint: `${issuer}/auth`,
  token_endpoint: `${issuer}/token`,
  jwks_uri: `${issuer}/jwks`,
  response_types_supported: ['code'],
  subject_types_supported: ['public'],
  id_token_signing_alg_values_supported: ['ES256'],
  token_endpoint_auth_methods_supported: ['client_secret_basic'],
};
const codes = new Map();
const provider = http.createServer(async (request, response) => {
  const json = (value) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  if (request.url.startsWith('/.well-known/')) return json(discovery);
  if (request.url === '/jwks') return json({ keys: [jwk] });
  let body = '';
  for await (const chunk of request) body += chunk;
  const { nonce, who } = codes.get(new URLSearchParams(body).get('code'));
  const id_token = await new SignJWT({ nonce, email: `${who}@example.com`, preferred_username: who, name: who })
    .setProtectedHeader({ alg: 'ES256', kid: 'storm' })
    .setIssuer(issuer)
    .setAudience('code-es256')
    .setSubject(who)
    .setIssuedAt()
    .setExpirationTime('5m')
    .sign(privateKey);
  return json({ access_token: 'x', token_type: 'Bearer', expires_in: 60, id_token });
});
await new Promise((resolve) => provider.listen(Number(port), '127.0.0.1', resolve));

const agent = new http.Agent({ keepAlive: true, maxSockets: Number(together) });
const ask = (path, cookie) => new Promise((resolve, reject) => {
  const headers = { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document', ...(cookie ? { cookie } : {}) };
  http.get(publicUrl + path, { agent, headers }, (answer) => {
    answer.resume().on('end', () => resolve(answer));
  }).on('error', reject);
});
const cookiesOf = (answer) => (answer.headers['set-cookie'] ?? []).map((line) => line.split(';')[0]);

async function signIn(who) {
  const start = performance.now();
  const login = await ask('/.vestibule/login?rd=/private/x');
  if (login.statusCode !== 302) throw new Error(`signing in begins with ${login.statusCode}`);
  const to = new URL(login.headers.location).searchParams;
  const code = randomBytes(12).toString('hex');
  codes.set(code, { nonce: to.get('nonce'), who });
  const back = await ask(`/oidc/callback?code=${code}&state=${encodeURIComponent(to.get('state'))}`, cookiesOf(login).join('; '));
  codes.delete(code);
  if (back.statusCode !== 303) throw new Error(`the callback answers ${back.statusCode}`);
  return performance.now() - start;
}

for (;;) {
  const answer = await ask('/.vestibule/login?rd=/');
  if (answer.statusCode === 302) break;
  await sleep(100);
}
const storm = createHash('sha256').update(randomBytes(8)).digest('hex').slice(0, 8);
const times = [];
let next = 0;
const began = performance.now();
await Promise.all(Array.from({ length: Number(together) }, async () => {
  while (next < Number(count)) {
    next += 1;
    times.push(await signIn(`s${storm}-${next}`));
  }
}));
const took = (performance.now() - began) / 1000;
times.sort((a, b) => a - b);
const at = (part) => times[Math.floor((times.length - 1) * part)].toFixed(0);
console.log(`${times.length} sign-ins in ${took.toFixed(1)} s, p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`);
provider.closeAllConnections();
provider.close();
agent.destroy();
