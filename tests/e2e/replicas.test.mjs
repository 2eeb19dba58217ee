// Two gateways behind nginx on one PostgreSQL database: people should not notice that there are two, nor that one of them,
// or the database, goes away.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';

import WebSocket from 'ws';

import { startHouse } from './support/house.mjs';
import { sleep, until } from './support/net.mjs';
import { startPostgres } from './support/postgres.mjs';

describe('two replicas behind nginx', () => {
  let postgres;
  let house;
  before(async () => {
    postgres = await startPostgres();
    house = await startHouse({
      https: true,
      replicas: 2,
      settings: {
        VESTIBULE_DATABASE_URL: postgres.url,
        VESTIBULE_SECRET_KEY: randomBytes(32).toString('base64'),
        VESTIBULE_DATABASE_TIMEOUT: '2',
      },
    });
  });
  after(async () => {
    await house?.close();
    await postgres?.close();
  });

  const at = (replica) => ({ headers: { 'x-replica': `${replica}` } });
  const whoami = (browser, replica) => browser.request(house.url('/.vestibule/whoami'), { ...at(replica), navigation: false });
  const who = async (browser, replica) => JSON.parse((await whoami(browser, replica)).text);
  const cli = async (...words) => {
    const done = await house.replicas[0].cli(...words);
    assert.equal(done.code, 0, done.stderr);
    return done.stdout;
  };

  /** Signs in, beginning at one replica, to where the provider sends people back: the callback's address. */
  async function upToTheCallback(browser, person, replica) {
    const login = await browser.request(house.url('/.vestibule/login?rd=/after'), at(replica));
    assert.equal(login.status, 302);
    const page = await browser.visit(login.headers.location);
    const answer = await browser.submit(page, { login: person });
    const ours = ({ origin }) => origin === new URL(house.gateway.publicUrl).origin;
    const next = new URL(answer.headers.location, answer.url);
    const last = await browser.visit(next, { site: 'same-origin', follow: (to) => !ours(to) });
    return new URL(last.headers.location, last.url);
  }

  test('a sign-in that begins at one ends at the other, and counts at both', async () => {
    for (const [first, second] of [[1, 2], [2, 1]]) {
      const browser = house.newClient();
      const callback = await upToTheCallback(browser, 'alice', first);
      const cookie = browser.cookieHeader('localhost', callback.pathname);
      const answer = await browser.request(callback, { ...at(second), site: 'cross-site' });
      assert.equal(answer.status, 303, answer.text);
      assert.equal(answer.headers.location, '/after');
      assert.deepEqual(await who(browser, first), { ...(await who(browser, second)), iat: (await who(browser, first)).iat });
      // Somebody who got hold of all of it, at the replica that has not seen it.
      const thief = house.newClient();
      const replayed = await thief.request(callback, { headers: { ...at(first).headers, cookie }, site: 'cross-site' });
      assert.ok(replayed.status >= 400, `${replayed.status}`);
      assert.ok(!thief.cookies('localhost')[house.gateway.cookieName]);
    }
    // One key signs, whichever replica it is.
    for (const replica of [1, 2]) {
      const browser = house.newClient();
      await house.signIn(browser, 'alice');
      await browser.request(house.url('/'), at(replica));
      assert.equal((await house.assertion(house.upstream.requests.at(-1).headers)).email, 'alice@example.com');
    }
  });

  test('who signs out at one is signed out at the other', async () => {
    const browser = house.newClient();
    await house.signIn(browser, 'bob');
    for (const replica of [1, 2]) assert.equal((await whoami(browser, replica)).status, 200);
    const cookies = browser.cookieHeader('localhost');
    await browser.request(house.url('/logout'), { ...at(1), method: 'GET', site: 'same-origin' });
    const kept = { ...at(2), navigation: false };
    kept.headers.cookie = cookies;
    await within(1000, async () => (await house.newClient().request(house.url('/.vestibule/whoami'), kept)).status === 401);
  });

  test('a change at one counts at the other within a second, on open connections too', async () => {
    const browser = house.newClient();
    await house.signIn(browser, 'carol');
    for (const replica of [1, 2]) assert.equal((await who(browser, replica)).role, 'member');
    await cli('users', 'set-role', 'carol@example.com', 'viewer');
    for (const replica of [1, 2]) await within(1000, async () => (await who(browser, replica)).role === 'viewer');

    const sockets = [1, 2].map((replica) => new WebSocket(house.url('/live').replace('https', 'wss'), {
      headers: { cookie: browser.cookieHeader('localhost'), 'x-replica': `${replica}`, origin: house.gateway.publicUrl },
      rejectUnauthorized: false,
    }));
    const closed = sockets.map((socket) => new Promise((resolve) => {
      socket.on('close', resolve);
      socket.on('error', () => {});
    }));
    await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.on('open', resolve))));
    await cli('users', 'deactivate', 'carol@example.com');
    const begun = Date.now();
    for (const replica of [1, 2]) await within(1000, async () => (await whoami(browser, replica)).status === 401);
    await Promise.all(closed);
    assert.ok(Date.now() - begun < 2500, `the WebSockets lived for ${Date.now() - begun} ms`);
    await cli('users', 'activate', 'carol@example.com');
  });

  test('one is killed and comes back in the middle of work: no request fails', async () => {
    const browsers = [];
    for (const person of ['alice', 'bob', 'carol']) {
      const browser = house.newClient();
      await house.signIn(browser, person);
      browsers.push(browser);
    }
    const { answers, stop } = load(browsers, house.url('/work'));
    await sleep(700);
    await house.replicas[1].stop('SIGKILL');
    await sleep(1500);
    await house.replicas[1].start();
    // Longer than nginx passes over one that failed (fail_timeout): otherwise it would know of none that lives.
    await sleep(2500);
    // And the other one as it is done when it is updated.
    const ended = house.replicas[0].stop('SIGTERM');
    await sleep(700);
    await ended;
    await house.replicas[0].start();
    await stop();
    assert.ok(answers.length > 100, `${answers.length} answers`);
    assert.deepEqual([...new Set(answers)], [200]);
  });

  test('the database goes away and comes back: nobody is signed out, and nobody gets in meanwhile', async () => {
    const [browser, stranger, late] = [house.newClient(), house.newClient(), house.newClient()];
    await house.signIn(browser, 'alice');
    for (const replica of [1, 2]) assert.equal((await whoami(browser, replica)).status, 200);
    await house.signIn(late, 'bob');
    // Nobody has seen this one's session at the second replica since it was started.
    await house.replicas[1].stop('SIGTERM');
    await house.replicas[1].start();
    assert.equal((await whoami(browser, 2)).status, 200);
    const callback = await upToTheCallback(stranger, 'carol', 1);
    const { answers, stop } = load([browser], house.url('/work'));

    await postgres.stop();
    await sleep(500);
    const refused = await stranger.request(callback, { ...at(2), site: 'cross-site' });
    assert.equal(refused.status, 503);
    assert.ok(Number(refused.headers['retry-after']) > 0);
    assert.deepEqual(Object.keys(stranger.cookies('localhost')).filter((name) => name === house.gateway.cookieName), []);
    const unknown = await whoami(late, 2);
    assert.equal(unknown.status, 503, 'a session that is not in memory is neither let in nor sent to sign in');
    assert.ok(Number(unknown.headers['retry-after']) > 0);
    for (const replica of [1, 2]) assert.equal((await whoami(browser, replica)).status, 200);
    const begun = Date.now();
    assert.equal((await whoami(late, 2)).status, 503);
    assert.ok(Date.now() - begun < 1500, `it took ${Date.now() - begun} ms to say so`);

    await postgres.start();
    await until('the second replica to answer', async () => (await whoami(late, 2)).status === 200);
    await stop();
    assert.ok(answers.length > 50, `${answers.length} answers`);
    assert.deepEqual([...new Set(answers)], [200]);
    assert.equal((await whoami(browser, 1)).status, 200);
    const again = house.newClient();
    await until('sign-ins to work', async () => (await house.signIn(again, 'carol')).status === 200);
    // They listen again.
    await cli('users', 'deactivate', 'carol@example.com');
    for (const replica of [1, 2]) await within(1000, async () => (await whoami(again, replica)).status === 401);
    for (const replica of house.replicas) assert.match(replica.log(), /the store answers again/);
  });
});

/** Asks until the answer is yes, which must be within so many milliseconds. */
async function within(milliseconds, question) {
  const begun = Date.now();
  await until('a change to count', question);
  assert.ok(Date.now() - begun < milliseconds, `it took ${Date.now() - begun} ms`);
}

/** Each browser asks for a page after the other; the statuses of all answers. */
function load(browsers, url) {
  const answers = [];
  let over = false;
  const work = browsers.map(async (browser) => {
    while (!over) {
      const answer = await browser.request(url, { navigation: false }).catch((error) => ({ status: `${error}` }));
      answers.push(answer.status);
      await sleep(5);
    }
  });
  return {
    answers,
    async stop() {
      over = true;
      await Promise.all(work);
    },
  };
}
