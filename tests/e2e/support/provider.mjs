// The real counterpart: npm's oidc-provider on 127.0.0.1, with people to choose from and keys that can be rotated.
// On 127.0.0.1, so that it is another site than the gateway on localhost: only then is a form_post cross-site.

import { randomUUID } from 'node:crypto';
import http from 'node:http';

import { exportJWK, generateKeyPair } from 'jose';
import Provider from 'oidc-provider';

import { listen } from './net.mjs';

export const PEOPLE = {
  alice: {
    email: 'alice@example.com',
    email_verified: true,
    preferred_username: 'alice',
    name: 'Alice Archer',
    groups: ['engineering', 'night, shift'],
  },
  bob: { email: 'bob@example.com', email_verified: true, preferred_username: 'bob', name: 'Bob Baker', groups: [] },
  carol: { email: 'carol@example.com', email_verified: true, preferred_username: 'carol', name: 'Carol 🎠 Čapek' },
  // What a name may be: markup, marks of direction, and long.
  hostile: {
    email: 'hostile@example.com',
    email_verified: true,
    preferred_username: `<img src=x onerror=alert(1)>${'W'.repeat(100)}`,
    name: `\u202e</td><script>alert(1)</script>"' 🦀 ${'Wörterbuch'.repeat(30)}`,
  },
  mallory: { email: 'alice@example.com', email_verified: false, preferred_username: 'alice', name: 'Mallory' },
};

async function freshKeys() {
  const keys = [];
  for (const alg of ['RS256', 'ES256']) {
    const { privateKey } = await generateKeyPair(alg, { extractable: true });
    keys.push({ ...(await exportJWK(privateKey)), alg, use: 'sig', kid: `${alg}-${randomUUID()}` });
  }
  return { keys };
}

/**
 * Starts a provider with clients `code-es256`, `code-rs256`, `implicit-es256` and `implicit-rs256` for the gateway at
 * `publicUrl`; all have the secret `CLIENT_SECRET`.
 */
export const CLIENT_SECRET = 'a secret that only the two of them know';

export async function startProvider({ publicUrl, claimsInIdToken = false, port: wanted = 0 }) {
  let handler = (_request, response) => response.writeHead(503).end();
  const requests = [];
  const server = http.createServer((request, response) => {
    requests.push({ method: request.method, url: request.url, headers: request.headers });
    handler(request, response);
  });
  const port = await listen(server, '127.0.0.1', wanted);
  const issuer = `http://127.0.0.1:${port}`;
  const cookieKey = randomUUID();

  const client = (client_id, alg, response_type) => ({
    client_id,
    client_secret: CLIENT_SECRET,
    redirect_uris: [`${publicUrl}/oidc/callback`],
    post_logout_redirect_uris: [`${publicUrl}/logout`],
    response_types: [response_type],
    grant_types: [response_type === 'code' ? 'authorization_code' : 'implicit'],
    id_token_signed_response_alg: alg,
  });

  async function install(jwks) {
    const provider = new Provider(issuer, {
      jwks,
      cookies: { keys: [cookieKey] },
      clients: [
        client('code-es256', 'ES256', 'code'),
        client('code-rs256', 'RS256', 'code'),
        client('implicit-es256', 'ES256', 'id_token'),
        client('implicit-rs256', 'RS256', 'id_token'),
      ],
      responseTypes: ['code', 'id_token'],
      conformIdTokenClaims: !claimsInIdToken,
      claims: {
        openid: ['sub'],
        email: ['email', 'email_verified'],
        profile: ['name', 'preferred_username', 'groups'],
      },
      pkce: { required: () => true },
      ttl: { AccessToken: 3600, Grant: 3600, IdToken: 3600, Interaction: 3600, Session: 3600 },
      features: {
        devInteractions: { enabled: false },
        rpInitiatedLogout: { enabled: true, logoutSource },
      },
      interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
      findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id, ...PEOPLE[id] }) }),
      loadExistingGrant,
      renderError: (ctx, out, error) => {
        ctx.type = 'text/plain';
        ctx.body = JSON.stringify({ ...out, at: error.message });
      },
    });
    // A web client that uses the implicit flow must be https and not localhost: right in the world, in the way here.
    const { invalidate } = provider.Client.Schema.prototype;
    provider.Client.Schema.prototype.invalidate = function (message, code) {
      if (code !== 'implicit-force-https' && code !== 'implicit-forbid-localhost') invalidate.call(this, message);
    };
    const oidc = provider.callback();
    handler = (request, response) => {
      if (!request.url.startsWith('/interaction/')) return oidc(request, response);
      interaction(provider, request, response).catch((error) => {
        response.writeHead(400, { 'content-type': 'text/plain' }).end(`${error}`);
      });
    };
  }
  await install(await freshKeys());

  const close = () => new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  });
  return {
    issuer,
    /** Every request that it got, oldest first. */
    requests,
    /** Requests whose path is `path`. */
    hits: (path) => requests.filter(({ url }) => url.split('?')[0] === path),
    /** From now on signs with new keys and does not know the old ones. */
    rotateKeys: async () => install(await freshKeys()),
    /** Stops listening, until `resume`. */
    pause: close,
    resume: () => listen(server, '127.0.0.1', port),
    close,
  };
}

async function interaction(provider, request, response) {
  const { prompt } = await provider.interactionDetails(request, response);
  if (request.method === 'GET') {
    const buttons = Object.keys(PEOPLE).map((who) => `<button name="login" value="${who}">${who}</button>`).join('');
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
    return response.end(
      `<!doctype html><title>Who are you?</title><p>${prompt.name}</p><form method="post" action="${request.url}">` +
        `${buttons}<button name="login" value="">nobody</button></form>`,
    );
  }
  let body = '';
  for await (const chunk of request) body += chunk;
  const login = new URLSearchParams(body).get('login');
  const result = login
    ? { login: { accountId: login } }
    : { error: 'access_denied', error_description: '<b>the person said no</b>' };
  return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

// Nobody is asked for consent: every scope is granted.
async function loadExistingGrant(ctx) {
  const { client, session, provider } = ctx.oidc;
  const existing = session.grantIdFor(client.clientId);
  if (existing) return provider.Grant.find(existing);
  const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope('openid profile email');
  await grant.save();
  return grant;
}

async function logoutSource(ctx, form) {
  ctx.type = 'html';
  ctx.body =
    `<!doctype html><title>Sign out?</title>${form}` +
    '<button type="submit" form="op.logoutForm" value="yes" name="logout">Yes, sign me out</button>';
}
