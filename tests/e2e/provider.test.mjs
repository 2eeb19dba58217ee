// The harness itself: the provider does what a provider should, so that a failure elsewhere is the gateway's.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';

import { createRemoteJWKSet, jwtVerify } from 'jose';

import { Client, form } from './support/client.mjs';
import { CLIENT_SECRET, startProvider } from './support/provider.mjs';

const publicUrl = 'http://localhost:1';
let provider;

before(async () => {
  provider = await startProvider({ publicUrl });
});
after(() => provider.close());

async function authorize(client, client_id, extra) {
  const query = new URLSearchParams({
    client_id,
    redirect_uri: `${publicUrl}/oidc/callback`,
    scope: 'openid profile email',
    state: 'the-state',
    nonce: 'the-nonce',
    ...extra,
  });
  const choice = await client.visit(`${provider.issuer}/auth?${query}`);
  const answer = await client.submit(choice, { login: 'alice' });
  return client.visit(new URL(answer.headers.location, answer.url), { follow: (next) => next.origin === provider.issuer });
}

async function verified(token) {
  const keys = createRemoteJWKSet(new URL(`${provider.issuer}/jwks`));
  return jwtVerify(token, keys, { issuer: provider.issuer });
}

for (const alg of ['ES256', 'RS256']) {
  const lower = alg.toLowerCase();

  test(`the provider's code with PKCE becomes an ID token signed with ${alg}`, async () => {
    const verifier = randomBytes(32).toString('base64url');
    const answer = await authorize(new Client(), `code-${lower}`, {
      response_type: 'code',
      code_challenge: createHash('sha256').update(verifier).digest('base64url'),
      code_challenge_method: 'S256',
    });
    const callback = new URL(answer.headers.location);
    assert.equal(callback.searchParams.get('state'), 'the-state');
    const response = await fetch(`${provider.issuer}/token`, {
      method: 'POST',
      headers: { authorization: `Basic ${btoa(`code-${lower}:${encodeURIComponent(CLIENT_SECRET)}`)}` },
      body: new URLSearchParams({
        grant_type: 'authorization_code',
        code: callback.searchParams.get('code'),
        redirect_uri: `${publicUrl}/oidc/callback`,
        code_verifier: verifier,
      }),
    });
    const { id_token } = await response.json();
    const { payload, protectedHeader } = await verified(id_token);
    assert.equal(protectedHeader.alg, alg);
    assert.equal(payload.sub, 'alice');
  });

  test(`the provider posts an ID token signed with ${alg} to the callback`, async () => {
    const page = await authorize(new Client(), `implicit-${lower}`, {
      response_type: 'id_token',
      response_mode: 'form_post',
    });
    const { action, values } = form(page.text);
    assert.equal(action, `${publicUrl}/oidc/callback`);
    const { payload, protectedHeader } = await verified(values.id_token);
    assert.equal(protectedHeader.alg, alg);
    assert.equal(payload.email, 'alice@example.com');
  });
}

test('after a rotation the provider does not publish the old keys', async () => {
  const kids = async () => (await (await fetch(`${provider.issuer}/jwks`)).json()).keys.map(({ kid }) => kid);
  const old = await kids();
  await provider.rotateKeys();
  assert.deepEqual((await kids()).filter((kid) => old.includes(kid)), []);
});
