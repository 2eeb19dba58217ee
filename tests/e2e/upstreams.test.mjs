// docs/upstreams.md shows apps how to verify the assertion: that code is run here, on what the gateway really sends and
// on what it would never send.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { exportJWK, generateKeyPair, SignJWT } from 'jose';

import { startHouse } from './support/house.mjs';
import { listen } from './support/net.mjs';

const here = import.meta.dirname;
const root = path.join(here, '../..');
const snippets = {
  Python: { file: 'tests/e2e/upstreams/verify.py', command: ['python3', path.join(here, 'upstreams/verify.py')] },
  Go: { file: 'tests/e2e/upstreams/verify.go' },
  Node: { file: 'tests/e2e/upstreams/verify.mjs', command: ['node', path.join(here, 'upstreams/verify.mjs')] },
  Rust: { file: 'examples/verify_assertion.rs', command: [path.join(root, 'target/debug/examples/verify_assertion')] },
};

let folder;
let house;
let issuer; // { origin, jwks, sign }: what a gateway is to an app, with a key of our own
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'vestibule-upstreams-'));
  const binary = path.join(folder, 'verify-go');
  execFileSync('go', ['build', '-o', binary, '.'], { cwd: path.join(here, 'upstreams') });
  snippets.Go.command = [binary];
  issuer = await startIssuer();
  house = await startHouse();
});
after(async () => {
  await house?.close();
  await issuer?.close();
  await rm(folder, { recursive: true, force: true });
});

async function startIssuer() {
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), kid: 'k1', alg: 'ES256', use: 'sig' };
  const server = http.createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ keys: [jwk] }));
  });
  const origin = `http://127.0.0.1:${await listen(server, '127.0.0.1')}`;
  const sign = (changes = {}, { key = privateKey, header = { alg: 'ES256', typ: 'JWT', kid: 'k1' } } = {}) => {
    const now = Math.floor(Date.now() / 1000);
    const claims = { sub: 'u1', email: 'a@example.com', role: 'member', iss: origin, aud: origin, iat: now - 30 };
    return new SignJWT({ ...claims, nbf: now - 30, exp: now + 240, ...changes }).setProtectedHeader(header).sign(key);
  };
  const close = () => new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  });
  return { origin, jwks: `${origin}/jwks.json`, jwk, sign, close };
}

/** What the snippet prints for this assertion; undefined if it refuses. */
async function verify({ command: [program, ...args], file }, jwks, origin, assertion) {
  let keys = jwks;
  if (file.endsWith('.rs')) {
    keys = path.join(folder, 'jwks.json');
    await writeFile(keys, await (await fetch(jwks)).text());
  }
  const run = spawn(program, [...args, keys, origin, origin], {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, PYTHONPATH: path.join(root, 'target/tools/python') },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  run.stdout.on('data', (text) => (stdout += text));
  run.stderr.on('data', (text) => (stderr += text));
  run.stdin.end(assertion);
  const code = await new Promise((resolve, reject) => run.on('error', reject).on('close', resolve));
  if (/ModuleNotFoundError|ERR_MODULE_NOT_FOUND|SyntaxError|usage:/.test(stderr)) throw new Error(stderr);
  return code === 0 ? stdout.trim() : undefined;
}

for (const [language, snippet] of Object.entries(snippets)) {
  describe(`an app in ${language}`, () => {
    test('believes what the gateway sends', async () => {
      const browser = house.newClient();
      await house.signIn(browser, 'alice');
      const { headers } = house.upstream.requests.at(-1);
      const { sub } = JSON.parse((await house.whoami(browser)).text);
      const said = await verify(
        snippet,
        `${house.gateway.ops}/.vestibule/jwks.json`,
        house.gateway.publicUrl,
        headers['x-vestibule-assertion'],
      );
      assert.equal(said, `${sub} alice@example.com admin`);
    });

    test('believes nothing else', async () => {
      const now = Math.floor(Date.now() / 1000);
      const foreign = await generateKeyPair('ES256');
      const unsigned = (await issuer.sign()).split('.');
      unsigned[0] = Buffer.from('{"alg":"none","typ":"JWT","kid":"k1"}').toString('base64url');
      unsigned[2] = '';
      const secret = Buffer.from(JSON.stringify(issuer.jwk));
      const lies = {
        'another key': await issuer.sign({}, { key: foreign.privateKey }),
        'an unknown key': await issuer.sign({}, { key: foreign.privateKey, header: { alg: 'ES256', typ: 'JWT', kid: 'k2' } }),
        'no signature': unsigned.join('.'),
        'a signature by what is public': await issuer.sign({}, { key: secret, header: { alg: 'HS256', typ: 'JWT', kid: 'k1' } }),
        'another audience': await issuer.sign({ aud: 'https://other.example' }),
        'another issuer': await issuer.sign({ iss: 'https://other.example' }),
        'one that is over': await issuer.sign({ exp: now - 400 }),
        'one that has not begun': await issuer.sign({ nbf: now + 3600, exp: now + 7200 }),
        nothing: '',
      };
      assert.equal(await verify(snippet, issuer.jwks, issuer.origin, await issuer.sign()), 'u1 a@example.com member');
      for (const [lie, assertion] of Object.entries(lies)) {
        assert.equal(await verify(snippet, issuer.jwks, issuer.origin, assertion), undefined, lie);
      }
    });

  });
}

test('docs/upstreams.md shows the programs as they are run', async () => {
  const page = await readFile(path.join(root, 'docs/upstreams.md'), 'utf8');
  const files = [...Object.values(snippets).map(({ file }) => file), 'tests/e2e/upstreams/jupyterhub_config.py'];
  for (const file of files) {
    const code = await readFile(path.join(root, file), 'utf8');
    assert.ok(page.includes(code.trim()), `${file} and the page differ`);
  }
});
