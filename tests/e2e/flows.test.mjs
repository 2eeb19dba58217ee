// Signing in, being known to the app, and signing out: the whole way against the real provider, without a window.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import WebSocket from 'ws';

import { sleep, until } from './support/net.mjs';
import { startHouse } from './support/house.mjs';

const HOUSES = [
  { client: 'code-es256' },
  { client: 'code-rs256', https: true },
  { client: 'implicit-es256', https: true },
  { client: 'implicit-rs256' },
];

for (const options of HOUSES) {
  const { client, https = false } = options;
  describe(`with ${client} on ${https ? 'https behind nginx' : 'http'}`, () => {
    let house;
    before(async () => {
      house = await startHouse(options);
    });
    after(() => house?.close());

    test('a person signs in and stands on the page they asked for, byte for byte', async () => {
      const path = "/deep//page/%C3%A9?x=1&y=a%20b+c&z=~!*&empty=&&%2F";
      const seen = house.upstream.requests.length;
      const page = await house.signIn(house.newClient(), 'alice', path);
      assert.equal(page.status, 200);
      assert.match(page.text, /The app/);
      assert.deepEqual(house.upstream.requests.slice(seen).map(({ url }) => url), [path]);
    });

    test('the app sees who it is, in an assertion that verifies and in plain headers', async () => {
      const browser = house.newClient();
      await house.signIn(browser, 'alice');
      browser.setCookie('localhost', 'theme', 'dark');
      await browser.request(house.url('/who'));
      const { headers } = house.upstream.requests.at(-1);
      const claims = await house.assertion(headers);
      assert.equal(claims.email, 'alice@example.com');
      assert.equal(claims.preferred_username, 'alice');
      assert.equal(claims.name, 'Alice Archer');
      assert.equal(claims.role, 'admin', 'the first user ever is the admin');
      assert.equal(claims.method, 'oidc');
      assert.deepEqual(claims.groups, ['engineering', 'night, shift']);
      assert.ok(claims.exp - claims.iat <= 300);
      assert.equal(claims.nbf, claims.iat);
      assert.equal(headers['x-forwarded-user'], claims.sub);
      assert.equal(headers['x-forwarded-email'], 'alice@example.com');
      assert.equal(headers['x-forwarded-preferred-username'], 'alice');
      assert.equal(headers['x-forwarded-role'], 'admin');
      assert.equal(headers['x-forwarded-groups'], 'engineering,night%2C shift');
      assert.equal(headers['x-forwarded-proto'], https ? 'https' : 'http');
      assert.equal(headers['x-forwarded-host'], new URL(house.gateway.publicUrl).host);
      assert.equal(headers.cookie, 'theme=dark', 'our cookies stay with us');
      const whoami = JSON.parse((await house.whoami(browser)).text);
      assert.equal(whoami.sub, claims.sub);
      assert.equal(whoami.sid, claims.sid);
    });

    test('the second person is a member, another user, and keeps the id at the next sign-in', async () => {
      const ids = [];
      for (let times = 0; times < 2; times += 1) {
        const browser = house.newClient();
        await house.signIn(browser, 'carol');
        const { sub, role } = JSON.parse((await house.whoami(browser)).text);
        assert.equal(role, 'member');
        ids.push(sub);
      }
      assert.equal(ids[0], ids[1]);
      const alice = house.newClient();
      await house.signIn(alice, 'alice');
      assert.notEqual(JSON.parse((await house.whoami(alice)).text).sub, ids[0]);
    });

    test('the session cookie is strict about where it goes, and new at each sign-in', async () => {
      const browser = house.newClient();
      await house.signIn(browser, 'alice');
      const first = browser.cookies('localhost')[house.gateway.cookieName];
      assert.match(first.line, /; ?HttpOnly/i);
      assert.match(first.line, /; ?SameSite=Lax/i);
      assert.match(first.line, /; ?Path=\/(;|$)/i);
      assert.equal(/; ?Secure/i.test(first.line), https);
      assert.doesNotMatch(first.line, /Domain/i);
      const other = house.newClient();
      await house.signIn(other, 'alice');
      assert.notEqual(other.cookies('localhost')[house.gateway.cookieName].value, first.value);
    });

    test('no token stands in an address or in the log', async () => {
      const browser = house.newClient();
      await house.signIn(browser, 'alice');
      const session = browser.cookies('localhost')[house.gateway.cookieName].value;
      for (const { url } of house.upstream.requests) assert.doesNotMatch(url, /eyJ|code=/);
      assert.ok(!house.gateway.log().includes(session));
      assert.doesNotMatch(house.gateway.log(), /eyJ[A-Za-z0-9_-]{20}/);
    });

    test('two tabs sign in at once, and each comes to its own page', async () => {
      const browser = house.newClient();
      const first = await browser.visit(house.url('/tab/one'));
      const second = await browser.visit(house.url('/tab/two'));
      const seen = house.upstream.requests.length;
      await house.choose(browser, second, 'alice');
      await house.choose(browser, first, 'alice');
      assert.deepEqual(house.upstream.requests.slice(seen).map(({ url }) => url), ['/tab/two', '/tab/one']);
    });

    test('signing out ends the session here and at the provider', async () => {
      const browser = house.newClient();
      await house.signIn(browser, 'alice');
      const stolen = browser.cookieHeader('localhost');
      const answer = await browser.request(house.url('/logout'));
      assert.ok([302, 303].includes(answer.status), `${answer.status}`);
      assert.match(answer.headers['clear-site-data'], /"cache"/);
      const there = new URL(answer.headers.location);
      assert.equal(there.origin, house.provider.issuer);
      assert.equal(there.searchParams.get('client_id'), client);
      assert.equal(there.searchParams.get('post_logout_redirect_uri'), house.url('/logout'));
      assert.ok(there.searchParams.get('state'));
      assert.ok(there.searchParams.get('id_token_hint'));

      const question = await browser.visit(there, { site: 'cross-site' });
      const confirmed = await browser.submit(question, { logout: 'yes' });
      const back = await browser.visit(new URL(confirmed.headers.location, confirmed.url), { site: 'cross-site' });
      assert.equal(back.url.href.split('?')[0], house.url('/logout'));
      assert.equal(back.status, 200);
      assert.equal((await house.whoami(browser)).status, 401);

      const seen = house.upstream.requests.length;
      const replay = await house.newClient().request(house.url('/private'), { headers: { cookie: stolen } });
      assert.equal(replay.status, 302);
      assert.equal(house.upstream.requests.length, seen, 'the app saw a session that had ended');
      // The provider forgot them, too: it asks again.
      const again = await browser.visit(house.url('/private'));
      assert.match(again.text, /Who are you|login/);
    });

    test('people come back in after the provider rotated its keys, and the old hint is not sent', async () => {
      const early = house.newClient();
      await house.signIn(early, 'alice');
      await house.provider.rotateKeys();
      const late = house.newClient();
      const page = await house.signIn(late, 'carol', '/after/rotation');
      assert.equal(page.status, 200);
      assert.equal(house.upstream.requests.at(-1).url, '/after/rotation');
      const answer = await early.request(house.url('/logout'));
      assert.equal(new URL(answer.headers.location).searchParams.get('id_token_hint'), null);
      assert.equal((await house.whoami(early)).status, 401);
    });

    test('whoever says no at the provider gets a page of ours, with nothing of the provider in it', async () => {
      const browser = house.newClient();
      const seen = house.upstream.requests.length;
      const page = await house.signIn(browser, '');
      assert.ok(page.status >= 400 && page.status < 500, `${page.status}`);
      assert.equal(page.url.origin, house.gateway.publicUrl);
      assert.doesNotMatch(page.text, /the person said no|access_denied/);
      assert.equal((await house.whoami(browser)).status, 401);
      assert.equal(house.upstream.requests.length, seen);
    });
  });
}

describe('on one house', () => {
  let house;
  before(async () => {
    house = await startHouse({ settings: { VESTIBULE_PUBLIC_PATHS: '/public/*' } });
    await house.signIn(house.newClient(), 'alice');
  });
  after(() => house?.close());

  /** Runs `act`; fails if anything of it reaches the app. */
  async function unseen(act) {
    const seen = house.upstream.requests.length;
    const result = await act();
    assert.deepEqual(house.upstream.requests.slice(seen), []);
    return result;
  }

  test('a callback works once, and only in the browser that began it', async () => {
    const browser = house.newClient();
    const choice = await browser.visit(house.url('/target?of=attempt'));
    const answer = await browser.submit(choice, { login: 'alice' });
    const stop = await browser.visit(new URL(answer.headers.location, answer.url), {
      follow: (next) => next.origin === house.provider.issuer,
    });
    const callback = stop.headers.location;

    const thief = house.newClient();
    const tokens = house.provider.hits('/token').length;
    const refused = await unseen(() => thief.request(callback, { site: 'cross-site' }));
    assert.equal(refused.status, 400);
    assert.equal((await house.whoami(thief)).status, 401);
    assert.equal(house.provider.hits('/token').length, tokens, 'the token endpoint hears nothing of a foreign state');

    const first = await browser.visit(callback, { site: 'cross-site' });
    assert.equal(first.url.href, house.url('/target?of=attempt'));
    const used = house.provider.hits('/token').length;
    const again = await browser.visit(callback, { site: 'cross-site' });
    assert.equal(again.url.origin, house.gateway.publicUrl);
    assert.equal(again.status, 200, 'a used callback in a signed-in browser goes on to a page');
    assert.equal(house.provider.hits('/token').length, used, 'a code is never sent twice');
  });

  test('a signed-in browser that opens the sign-in page goes on to its target', async () => {
    const browser = house.newClient();
    await house.signIn(browser, 'alice');
    const page = await browser.visit(house.url('/.vestibule/login?rd=%2Fgo%3Fon%3D1'));
    assert.equal(page.url.href, house.url('/go?on=1'));
  });

  test('without a session a program gets 401 and a problem, a form POST a page, and the app hears nothing', async () => {
    const browser = house.newClient();
    const program = await unseen(() => browser.request(house.url('/api'), { navigation: false, headers: { accept: '*/*' } }));
    assert.equal(program.status, 401);
    assert.match(program.headers['www-authenticate'], /^Bearer realm="/);
    assert.match(program.headers['content-type'], /^application\/problem\+json/);
    const form = await unseen(() => browser.request(house.url('/notes'), {
      method: 'POST',
      site: 'same-origin',
      headers: { 'content-type': 'application/x-www-form-urlencoded', origin: house.gateway.publicUrl },
      body: 'note=do+not+lose+me',
    }));
    assert.equal(form.status, 401);
    assert.match(form.headers['content-type'], /^text\/html/);
  });

  test('a changing request from another site is refused, session or not', async () => {
    const browser = house.newClient();
    await house.signIn(browser, 'alice');
    const cookie = browser.cookieHeader('localhost');
    for (const headers of [
      { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' },
      { 'sec-fetch-site': 'same-site', origin: 'http://localhost:1' },
      { origin: 'https://evil.example' },
      { origin: 'null' },
    ]) {
      const request = { method: 'POST', navigation: false, headers: { ...headers, cookie }, body: 'x=1' };
      assert.equal((await unseen(() => house.newClient().request(house.url('/notes'), request))).status, 403);
    }
  });

  test('nobody can say who they are by a header', async () => {
    const lies = {
      'X-Vestibule-Assertion': 'eyJhbGciOiJub25lIn0.e30.',
      x_vestibule_assertion: 'lie',
      'X-Forwarded-User': 'root',
      'x-forwarded_user': 'root',
      'X-Forwarded-Email': 'root@example.com',
      'X-Forwarded-Groups': 'admins',
      'X-Forwarded-Role': 'admin',
      'Remote-User': 'root',
      'X-WEBAUTH-USER': 'root',
      'X-Auth-Request-Email': 'root@example.com',
    };
    await house.newClient().request(house.url('/public/page'), { headers: lies });
    const open = house.upstream.requests.at(-1);
    assert.equal(open.url, '/public/page');
    assert.doesNotMatch(JSON.stringify(open.rawHeaders), /root|lie|admin|eyJ/);

    const browser = house.newClient();
    await house.signIn(browser, 'alice');
    await browser.request(house.url('/private'), { headers: lies });
    const known = house.upstream.requests.at(-1);
    assert.doesNotMatch(JSON.stringify(known.rawHeaders), /root|lie/);
    assert.equal((await house.assertion(known.headers)).email, 'alice@example.com');
  });

  const socketOf = (browser, headers = {}) => new WebSocket(`ws://127.0.0.1:${house.gateway.port}/socket`, {
    headers: {
      host: new URL(house.gateway.publicUrl).host,
      origin: house.gateway.publicUrl,
      cookie: browser.cookieHeader('localhost'),
      ...headers,
    },
  });
  const refusal = (socket) => new Promise((resolve, reject) => {
    socket.on('unexpected-response', (_request, response) => resolve(response.statusCode));
    socket.on('open', () => reject(new Error('it opened')));
    socket.on('error', () => {});
  });

  test('a WebSocket goes through with the identity, and ends with the session', async () => {
    const browser = house.newClient();
    await house.signIn(browser, 'carol');
    const socket = socketOf(browser);
    const echo = await new Promise((resolve, reject) => {
      socket.on('error', reject);
      socket.on('open', () => socket.send('hello'));
      socket.on('message', (text) => resolve(`${text}`));
    });
    assert.equal(echo, 'echo: hello');
    const upgrade = house.upstream.requests.at(-1);
    assert.equal(upgrade.url, '/socket');
    assert.equal((await house.assertion(upgrade.headers)).preferred_username, 'carol');
    const closed = new Promise((resolve) => socket.on('close', resolve));
    await browser.request(house.url('/logout'));
    await Promise.race([closed, sleep(2000).then(() => assert.fail('the socket outlived its session'))]);
  });

  test('a WebSocket without a session, or from another site, is refused', async () => {
    assert.equal(await unseen(() => refusal(socketOf(house.newClient(), { cookie: '' }))), 401);
    const browser = house.newClient();
    await house.signIn(browser, 'alice');
    assert.equal(await unseen(() => refusal(socketOf(browser, { origin: 'https://evil.example' }))), 403);
  });

  test('a deactivated user is out within a second, and a new sign-in does not bring them back', async () => {
    const browser = house.newClient();
    await house.signIn(browser, 'bob');
    assert.equal((await house.whoami(browser)).status, 200);
    const { code, stderr } = await house.gateway.cli('users', 'deactivate', 'bob@example.com');
    assert.equal(code, 0, stderr);
    const since = Date.now();
    await until('bob to be out', async () => (await house.whoami(browser)).status !== 200, 5);
    assert.ok(Date.now() - since < 1000, `it took ${Date.now() - since} ms`);

    const refused = await unseen(() => house.signIn(browser, 'bob'));
    assert.equal(refused.status, 403);
    assert.equal((await house.whoami(browser)).status, 401);
    assert.equal((await house.gateway.cli('users', 'activate', 'bob@example.com')).code, 0);
    assert.equal((await house.signIn(browser, 'bob')).status, 200);
  });

  test('the last active admin cannot be lost', async () => {
    for (const words of [['deactivate'], ['remove'], ['set-role', 'member']]) {
      const [verb, ...rest] = words;
      const { code } = await house.gateway.cli('users', verb, 'alice@example.com', ...rest);
      assert.notEqual(code, 0, verb);
    }
    const browser = house.newClient();
    await house.signIn(browser, 'alice');
    assert.equal(JSON.parse((await house.whoami(browser)).text).role, 'admin');
  });

  test('an unverified address makes no account and opens none', async () => {
    const browser = house.newClient();
    const page = await unseen(() => house.signIn(browser, 'mallory'));
    assert.equal(page.status, 403);
    assert.equal((await house.whoami(browser)).status, 401);
    const { stdout } = await house.gateway.cli('users', 'list', '--json');
    assert.equal(JSON.parse(stdout).filter(({ email }) => email === 'alice@example.com').length, 1);
  });

  test('sessions survive a restart and a kill -9', async () => {
    const browser = house.newClient();
    await house.signIn(browser, 'alice');
    const { sid } = JSON.parse((await house.whoami(browser)).text);
    assert.equal(await house.gateway.stop('SIGTERM'), 0);
    await house.gateway.start();
    assert.equal(JSON.parse((await house.whoami(browser)).text).sid, sid);
    await house.gateway.stop('SIGKILL');
    await house.gateway.start();
    assert.equal(JSON.parse((await house.whoami(browser)).text).sid, sid);
  });
});

describe('with DISABLE_SSO_PROVISIONING', () => {
  let house;
  before(async () => {
    house = await startHouse({
      settings: { DISABLE_SSO_PROVISIONING: 'true', VESTIBULE_INITIAL_ADMINS: 'alice@example.com' },
    });
  });
  after(() => house?.close());

  test('only people who were added get in, and nobody else leaves an account', async () => {
    const admin = house.newClient();
    await house.signIn(admin, 'alice');
    assert.equal(JSON.parse((await house.whoami(admin)).text).role, 'admin');

    const stranger = house.newClient();
    const seen = house.upstream.requests.length;
    assert.equal((await house.signIn(stranger, 'bob')).status, 403);
    assert.equal(house.upstream.requests.length, seen);
    const list = async () => JSON.parse((await house.gateway.cli('users', 'list', '--json')).stdout);
    assert.deepEqual((await list()).map(({ email }) => email), ['alice@example.com']);

    // The way out of the refusal: the provider, which remembers bob, asks who they are all the same.
    const refusal = await house.signIn(stranger, 'bob');
    const [, other] = /href="([^"]*)"[^>]*>Sign in as someone else/.exec(refusal.text);
    const choice = await stranger.visit(new URL(other.replaceAll('&amp;', '&'), refusal.url), { site: 'same-origin' });
    assert.equal(choice.url.origin, house.provider.issuer);
    assert.equal((await house.choose(stranger, choice, 'alice')).status, 200);
    assert.equal(JSON.parse((await house.whoami(stranger)).text).email, 'alice@example.com');

    const added = await house.gateway.cli('users', 'add', 'bob@example.com', '--role', 'viewer');
    assert.equal(added.code, 0, added.stderr);
    const browser = house.newClient();
    assert.equal((await house.signIn(browser, 'bob')).status, 200);
    assert.equal(JSON.parse((await house.whoami(browser)).text).role, 'viewer');
  });
});

describe('on the first day', () => {
  test('of people who sign in at the same moment, one becomes the admin', async () => {
    const house = await startHouse();
    try {
      const people = ['alice', 'bob', 'carol'];
      const browsers = people.map(() => house.newClient());
      await Promise.all(people.map((who, index) => house.signIn(browsers[index], who)));
      const roles = await Promise.all(browsers.map(async (one) => JSON.parse((await house.whoami(one)).text).role));
      assert.deepEqual(roles.sort(), ['admin', 'member', 'member']);
    } finally {
      await house.close();
    }
  });

  test('a provider that is down when the gateway starts is found when it is back, with other keys and at any time', async () => {
    const house = await startHouse();
    const down = async () => {
      const page = await house.newClient().visit(house.url('/page'));
      assert.equal(page.status, 503);
      assert.ok(Number(page.headers['retry-after']) > 0);
      return page;
    };
    try {
      await house.gateway.stop();
      await house.provider.pause();
      await house.gateway.start();
      await down();
      await house.provider.resume();
      await until('the provider to be found', async () => {
        const page = await house.newClient().visit(house.url('/page'));
        return page.url.origin === house.provider.issuer;
      }, 60);
      assert.equal((await house.signIn(house.newClient(), 'alice')).status, 200);
    } finally {
      await house.close();
    }
  });
});
