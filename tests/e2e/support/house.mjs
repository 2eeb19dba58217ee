// Everything together: provider, app, gateway and, for https, the front.

import { createRemoteJWKSet, customFetch, jwtVerify } from 'jose';

import { Client } from './client.mjs';
import { startFront } from './front.mjs';
import { prepareGateway } from './gateway.mjs';
import { startProvider } from './provider.mjs';
import { startUpstream } from './upstream.mjs';

/**
 * `client` is one of the provider's clients; those of the implicit flow set the method, too. Several `replicas` need a
 * database that they have in common.
 */
export async function startHouse({ client = 'code-es256', https = false, tls = false, settings = {}, replicas: count = 1 } = {}) {
  const gateway = await prepareGateway({ https, tls });
  const replicas = [gateway];
  while (replicas.length < count) replicas.push(await prepareGateway({ https, publicPort: gateway.publicPort }));
  const provider = await startProvider({ publicUrl: gateway.publicUrl });
  const upstream = await startUpstream();
  let front;
  const house = {
    gateway,
    replicas,
    provider,
    upstream,
    url: (path) => gateway.publicUrl + path,
    newClient: () => new Client({ ca: front?.ca ?? gateway.ca }),
    async close() {
      await front?.close();
      for (const replica of replicas) await replica.close();
      await provider.close();
      await upstream.close();
    },

    /** Signs in as `who` on the way to `path`, and returns where that ends. A provider that remembers them does not ask. */
    async signIn(browser, who, path = '/') {
      const page = await browser.visit(house.url(path));
      return page.url.origin === provider.issuer ? house.choose(browser, page, who) : page;
    },

    /** On the provider's page, says who it is, and returns where that ends. */
    async choose(browser, choice, who) {
      const answer = await browser.submit(choice, { login: who });
      let page = await browser.visit(new URL(answer.headers.location, answer.url), { site: 'same-origin' });
      // What scripts send on: the provider's forms, then (for a form_post brings no cookie) the gateway's own with the same.
      while (/Submitting Callback|name="(id_token|error)"/.test(page.text)) page = await house.post(browser, page);
      return page;
    },

    /** Sends the page's form and follows where that leads. */
    async post(browser, page) {
      const answer = await browser.submit(page);
      if (![302, 303].includes(answer.status)) return answer;
      return browser.visit(new URL(answer.headers.location, answer.url), { site: 'same-origin' });
    },

    /** The claims of the assertion in `headers`, verified as an app would. */
    async assertion(headers) {
      const jwks = createRemoteJWKSet(new URL(house.url('/.vestibule/jwks.json')), {
        [customFetch]: async (url) => {
          const { bytes, status } = await house.newClient().request(url, { navigation: false });
          return new Response(bytes, { status });
        },
      });
      const options = { algorithms: ['ES256'], issuer: gateway.publicUrl, audience: gateway.publicUrl, typ: 'JWT' };
      return (await jwtVerify(headers['x-vestibule-assertion'], jwks, options)).payload;
    },

    /** Status of `whoami` for this browser, as a program asks. */
    whoami: (browser) => browser.request(house.url('/.vestibule/whoami'), { navigation: false }),
  };
  try {
    const common = {
      VESTIBULE_UPSTREAM: upstream.url,
      OIDC_ISSUER: provider.issuer,
      OIDC_CLIENT_ID: client,
      OIDC_AUTH_METHOD: client.startsWith('implicit') ? 'implicit' : 'pkce',
      ...settings,
    };
    await Promise.all(replicas.map((replica) => replica.start(common)));
    if (https) front = await startFront(...replicas);
  } catch (error) {
    await house.close();
    throw error;
  }
  return house;
}
