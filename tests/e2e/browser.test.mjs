// What only a real browser shows: cookies that it withholds, pages that it keeps, scripts that its policy lets run.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { launchBrowser, LAX_GRACE } from './support/browser.mjs';
import { startHouse } from './support/house.mjs';
import { sleep } from './support/net.mjs';

const HOUSES = [
  { client: 'code-es256' },
  { client: 'code-rs256', https: true },
  { client: 'implicit-rs256' },
  { client: 'implicit-es256', https: true },
];

let chromium;
before(async () => {
  chromium = await launchBrowser();
});
after(() => chromium?.close());

for (const options of HOUSES) {
  const { client, https = false } = options;
  const implicit = client.startsWith('implicit');

  describe(`in Chromium with ${client} on ${https ? 'https behind nginx' : 'http'}`, () => {
    let house;
    let context;
    let complaints;
    before(async () => {
      house = await startHouse(options);
    });
    after(() => house?.close());

    /** A fresh profile with a tab; whatever its console complains about on our origin is collected. */
    async function openTab() {
      await context?.close();
      context = await chromium.newContext({ ignoreHTTPSErrors: true });
      complaints = [];
      return newTab();
    }

    async function newTab() {
      const tab = await context.newPage();
      tab.setDefaultTimeout(15_000);
      tab.on('console', (message) => {
        const { url } = message.location();
        const ours = url.startsWith(house.gateway.publicUrl);
        // The browser says of each 4xx answer that it is one; that is no complaint.
        if (message.type() === 'error' && ours && !/Failed to load resource/.test(message.text())) {
          complaints.push(`${url}: ${message.text()}`);
        }
      });
      tab.on('pageerror', (error) => complaints.push(`${error}`));
      return tab;
    }

    async function signIn(tab, who, path) {
      await tab.goto(house.url(path));
      await choose(tab, who, path);
    }

    async function choose(tab, who, path) {
      await Promise.all([tab.waitForURL(house.url(path)), tab.getByRole('button', { name: who, exact: true }).click()]);
    }

    /** Who the gateway says that this profile is, or the status of its refusal. */
    async function whoami() {
      const answer = await context.request.get(house.url('/.vestibule/whoami'));
      return answer.ok() ? answer.json() : answer.status();
    }

    test('a person signs in, however long they took at the provider', async () => {
      const tab = await openTab();
      const callbacks = [];
      tab.on('request', (request) => {
        if (new URL(request.url()).pathname === '/oidc/callback') callbacks.push(request);
      });
      await tab.goto(house.url('/a/page?with=query'));
      // Until then the browser would send a fresh Lax cookie even with a cross-site POST.
      if (implicit) await sleep(LAX_GRACE);
      await choose(tab, 'alice', '/a/page?with=query');
      assert.equal(await tab.title(), 'The app');
      assert.equal((await whoami()).email, 'alice@example.com');
      const methods = callbacks.map((request) => request.method());
      assert.deepEqual(methods, implicit ? ['POST', 'POST'] : ['GET']);
      if (implicit) {
        const cookies = await Promise.all(callbacks.map(async (request) => (await request.allHeaders()).cookie));
        assert.equal(cookies[0], undefined, 'the form_post was not cross-site: this test shows nothing');
        assert.ok(cookies[1]);
      }
      for (const request of callbacks.slice(implicit ? 0 : 1)) assert.doesNotMatch(request.url(), /\?|eyJ/);
      assert.deepEqual(complaints, []);
    });

    test('two tabs sign in at once', async () => {
      const first = await openTab();
      const second = await newTab();
      await first.goto(house.url('/tab/one'));
      await second.goto(house.url('/tab/two'));
      await choose(second, 'alice', '/tab/two');
      // The provider knows them by now, but this tab's page still stands there.
      await choose(first, 'alice', '/tab/one');
      assert.equal(await first.title(), 'The app');
      assert.equal(await second.title(), 'The app');
      assert.deepEqual(complaints, []);
    });

    test('Back after signing in leads to no dead end, and a used callback goes on to its page', async () => {
      const tab = await openTab();
      let callback;
      tab.on('request', (request) => {
        if (new URL(request.url()).pathname === '/oidc/callback') callback ??= request.url();
      });
      await signIn(tab, 'alice', '/first');
      await tab.goto(house.url('/second'));
      await tab.goBack();
      assert.equal(tab.url(), house.url('/first'));
      assert.equal(await tab.title(), 'The app');
      await tab.goto(callback);
      assert.equal(new URL(tab.url()).origin, house.gateway.publicUrl);
      assert.equal(await tab.title(), 'The app');
      assert.equal((await whoami()).email, 'alice@example.com');
    });

    test('after signing out, Back shows nothing of the app', async () => {
      const tab = await openTab();
      await signIn(tab, 'alice', '/secret');
      await tab.goto(house.url('/logout'));
      await Promise.all([
        tab.waitForURL((url) => url.origin === house.gateway.publicUrl && url.pathname === '/logout'),
        tab.getByRole('button', { name: 'Yes, sign me out' }).click(),
      ]);
      assert.notEqual(await tab.title(), 'The app');
      assert.equal(await whoami(), 401);
      const seen = house.upstream.requests.length;
      await tab.goto(house.url('/secret'));
      assert.equal(new URL(tab.url()).origin, house.provider.issuer);
      for (let back = 0; back < 4; back += 1) {
        await tab.goBack().catch(() => {});
        assert.notEqual(await tab.title(), 'The app', tab.url());
      }
      assert.equal(house.upstream.requests.length, seen);
      assert.deepEqual(complaints, []);
    });

    test('a form sent after the session ended is answered by a page that says so', async () => {
      const tab = await openTab();
      await signIn(tab, 'alice', '/form');
      await context.clearCookies({ domain: 'localhost' });
      const seen = house.upstream.requests.length;
      const [answer] = await Promise.all([
        tab.waitForResponse((response) => response.url() === house.url('/notes')),
        tab.getByRole('button', { name: 'Save' }).click(),
      ]);
      assert.equal(answer.status(), 401);
      assert.match((await answer.allHeaders())['content-type'], /^text\/html/);
      assert.match(await tab.locator('body').innerText(), /sign in/i);
      // The icon of the page before may be on its way still, from when there was a session.
      const since = house.upstream.requests.slice(seen).map(({ method, url }) => `${method} ${url}`);
      assert.deepEqual(since.filter((request) => request !== 'GET /favicon.ico'), []);
      assert.deepEqual(complaints, []);
    });

    test('a page of the app opens a WebSocket', async () => {
      const tab = await openTab();
      await signIn(tab, 'alice', '/socket-page');
      const echo = await tab.evaluate(() => new Promise((resolve, reject) => {
        const socket = new WebSocket(`${location.origin.replace('http', 'ws')}/socket`);
        socket.onopen = () => socket.send('hello');
        socket.onmessage = ({ data }) => resolve(data);
        socket.onerror = () => reject(new Error('the socket failed'));
      }));
      assert.equal(echo, 'echo: hello');
    });

    test('people come back in after the provider rotated its keys', async () => {
      const tab = await openTab();
      await signIn(tab, 'alice', '/before');
      await house.provider.rotateKeys();
      const fresh = await openTab();
      await signIn(fresh, 'alice', '/after');
      assert.equal(await fresh.title(), 'The app');
    });
  });
}
