// The console in a real browser, played as people would.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';

import { launchBrowser } from './support/browser.mjs';
import { addPeople, CONSOLE, looksRight, signInTo } from './support/console.mjs';
import { startHouse } from './support/house.mjs';
import { until } from './support/net.mjs';
import { startPostgres } from './support/postgres.mjs';

let chromium;
before(async () => {
  chromium = await launchBrowser();
});
after(() => chromium?.close());

for (const database of ['SQLite', 'PostgreSQL']) describe(`the console in Chromium, on ${database}`, () => {
  let house;
  let postgres;
  const contexts = [];
  const complaints = [];

  before(async () => {
    postgres = database === 'PostgreSQL' ? await startPostgres() : undefined;
    const shared = () => ({ VESTIBULE_DATABASE_URL: postgres.url, VESTIBULE_SECRET_KEY: randomBytes(32).toString('base64') });
    house = await startHouse({ settings: postgres ? shared() : {} });
  });
  after(async () => {
    for (const context of contexts) await context.close();
    await house?.close();
    await postgres?.close();
  });

  /** A tab of a fresh profile; what its console complains about on our origin is collected. */
  async function openTab(options = {}) {
    const context = await chromium.newContext(options);
    contexts.push(context);
    const tab = await context.newPage();
    tab.setDefaultTimeout(20_000);
    tab.on('console', (message) => {
      const ours = message.location().url.startsWith(house.gateway.publicUrl);
      if (message.type() === 'error' && ours && !/Failed to load resource/.test(message.text())) {
        complaints.push(`${message.location().url}: ${message.text()}`);
      }
    });
    tab.on('pageerror', (error) => complaints.push(`${error}`));
    return tab;
  }

  /** The claims with which the app saw the newest request to `path`. */
  async function seenByApp(path) {
    const request = house.upstream.requests.findLast(({ url }) => url === path);
    assert.ok(request, `the app saw no ${path}`);
    return house.assertion(request.headers);
  }

  test('the first user becomes admin, adds a colleague, gives them a team, makes them a viewer, and puts them out', async () => {
    const alice = await openTab();
    await signInTo(house, alice, 'alice');
    assert.equal(await alice.getByRole('heading', { level: 1 }).innerText(), 'People');
    assert.match(await alice.locator('main').innerText(), /one active admin only/);

    await addPeople(house, alice, 'Bob Baker <bob@example.com>');
    assert.match(await alice.getByRole('status').innerText(), /They are added/);
    assert.match(await alice.locator('main').innerText(), /bob@example\.com/);
    assert.ok((await alice.getByLabel('A sentence and the link').inputValue()).endsWith(`${house.gateway.publicUrl}/`));

    const bob = await openTab();
    await signInTo(house, bob, 'bob', '/me');
    assert.equal(await bob.getByRole('heading', { level: 1 }).innerText(), 'Your account');
    assert.equal(await bob.getByRole('link', { name: 'People', exact: true }).count(), 0);
    assert.match(await bob.locator('main').innerText(), /Chrome on Linux/);
    await bob.goto(house.url('/one'));
    const before = await seenByApp('/one');
    assert.deepEqual([before.role, before.teams], ['member', {}]);

    await alice.goto(house.url(`${CONSOLE}/teams`));
    await alice.getByLabel('Name').fill('Night shift');
    await alice.getByRole('button', { name: 'Make the team' }).click();
    await alice.getByLabel('E-mail address or id').fill('bob@example.com');
    await alice.getByLabel('Role in it').selectOption('admin');
    await alice.getByRole('button', { name: 'Put in' }).click();
    await alice.getByRole('link', { name: 'Bob Baker', exact: true }).waitFor();
    await bob.goto(house.url('/two'));
    assert.deepEqual((await seenByApp('/two')).teams, { 'Night shift': 'admin' });

    // Out of it and in again: asked once more, by the page that it is of.
    await alice.getByRole('link', { name: 'Take out Bob Baker' }).click();
    await alice.getByRole('heading', { level: 1, name: 'Take Bob Baker out of Night shift?' }).waitFor();
    assert.deepEqual((await bob.goto(house.url('/asked')), await seenByApp('/asked')).teams, { 'Night shift': 'admin' });
    await alice.getByRole('button', { name: 'Take them out' }).click();
    assert.match(await alice.getByRole('status').innerText(), /They are out of the team/);
    await bob.goto(house.url('/out'));
    assert.deepEqual((await seenByApp('/out')).teams, {});
    await alice.getByLabel('E-mail address or id').fill('bob@example.com');
    await alice.getByRole('button', { name: 'Put in' }).click();

    await alice.getByRole('link', { name: 'Bob Baker', exact: true }).click();
    await alice.getByLabel('Role in the instance').selectOption('viewer');
    await alice.getByRole('button', { name: 'Set the role' }).click();
    assert.match(await alice.getByRole('status').innerText(), /The role is set/);
    await bob.goto(house.url('/three'));
    assert.equal((await seenByApp('/three')).role, 'viewer');

    // Bob has a page of the app with a WebSocket, and one of the console, open.
    const bobs = await bob.context().newPage();
    await bobs.goto(house.url(`${CONSOLE}/me`));
    await bob.evaluate(() => new Promise((resolve, reject) => {
      window.socket = new WebSocket(`${location.origin.replace('http', 'ws')}/socket`);
      window.socket.onopen = resolve;
      window.socket.onerror = () => reject(new Error('the socket failed'));
      window.socket.onclose = () => { window.endedAt = Date.now(); };
    }));
    await alice.getByRole('link', { name: 'Deactivate' }).click();
    assert.match(await alice.getByRole('heading', { level: 1 }).innerText(), /Deactivate Bob Baker\?/);
    assert.equal(await bob.evaluate(() => window.endedAt), undefined, 'asking already did it');
    await alice.getByRole('button', { name: 'Deactivate' }).click();
    await alice.getByRole('status').waitFor();
    const done = Date.now();
    const closed = await until("Bob's WebSocket to end", () => bob.evaluate(() => window.endedAt));
    assert.ok(closed - done < 1000, `${closed - done} ms`);
    // What he still has open does nothing.
    const seen = house.upstream.requests.length;
    const [answer] = await Promise.all([
      bobs.waitForResponse((response) => response.request().method() === 'POST'),
      bobs.getByRole('button', { name: /^End/ }).first().click(),
    ]);
    assert.equal(answer.status(), 401);
    await bob.goto(house.url('/four'));
    if (new URL(bob.url()).origin === house.provider.issuer) {
      await bob.getByRole('button', { name: 'bob', exact: true }).click();
    }
    await bob.getByRole('heading', { name: 'Your account is deactivated' }).waitFor();
    const since = house.upstream.requests.slice(seen).map(({ url }) => url);
    assert.deepEqual(since.filter((url) => url !== '/favicon.ico'), []);

    // The log tells all of it.
    await alice.goto(house.url(`${CONSOLE}/audit?person=bob@example.com`));
    const log = await alice.locator('main').innerText();
    for (const word of ['sign in', 'role change', 'status change', 'membership change', 'alice@example.com']) {
      assert.ok(log.includes(word), `${word}: ${log}`);
    }
    assert.deepEqual(complaints, []);
  });

  test('every page looks right to everybody: light, dark, narrow, by axe', async () => {
    const alice = await openTab();
    await signInTo(house, alice, 'alice');
    const hostile = await openTab();
    await signInTo(house, hostile, 'hostile', '/me');
    const many = Array.from({ length: 20 }, (_, at) => `person-${at}.${'long'.repeat(10)}@example.com`);
    await addPeople(house, alice, many.join('\n'));
    await alice.goto(house.url(`${CONSOLE}/teams`));
    await alice.getByLabel('Name').fill(`Team 🦀 ${'Donaudampfschifffahrt'.repeat(5)}`);
    await alice.getByRole('button', { name: 'Make the team' }).click();
    const team = new URL(alice.url()).pathname;
    await alice.getByLabel('E-mail address or id').fill('hostile@example.com');
    await alice.getByRole('button', { name: 'Put in' }).click();
    await alice.getByRole('status').waitFor();
    await alice.getByLabel('Group', { exact: true }).fill(`</bdi><b>/${'group/'.repeat(40)}`);
    await alice.getByRole('button', { name: 'Follow it' }).click();
    await alice.getByRole('status').waitFor();
    await alice.goto(house.url(`${CONSOLE}/people?q=hostile`));
    await alice.getByRole('table').getByRole('link').click();
    const person = new URL(alice.url()).pathname;
    // What asks once more, as the pages lead there.
    const asks = [await alice.getByRole('link', { name: /^Take out of/ }).first().getAttribute('href')];
    await alice.goto(house.url(team));
    for (const name of [/^Take out/, /^No longer follow/]) {
      asks.push(await alice.getByRole('link', { name }).last().getAttribute('href'));
    }
    const pages = [
      ...['/', '/me', '/me/sign-out', '/people', '/people?q=nobody-at-all', '/people/add', '/waiting', '/teams', '/audit'],
      ...['/audit?event=audit_export', '/keys', '/keys/rotate', '/set-up', '/nothing'],
    ].map((path) => CONSOLE + path);
    pages.push(...asks, person, `${person}/deactivate`, `${person}/remove`, team, `${team}/delete`);
    const ways = [
      { colorScheme: 'light', viewport: { width: 1280, height: 900 } },
      { colorScheme: 'dark', viewport: { width: 1280, height: 900 } },
      { colorScheme: 'light', viewport: { width: 320, height: 640 } },
    ];
    for (const { colorScheme, viewport } of ways) {
      await alice.emulateMedia({ colorScheme });
      await alice.setViewportSize(viewport);
      for (const page of pages) {
        await alice.goto(house.url(page));
        await looksRight(alice, `${page}, ${colorScheme}, ${viewport.width}`);
      }
      // What only a form leads to.
      await alice.goto(house.url(`${CONSOLE}/people/add`));
      await alice.getByLabel('E-mail addresses, one a line').fill(`new@example.com\nnonsense ${'x'.repeat(200)}\nnew@example.com,boss`);
      await alice.getByRole('button', { name: 'Look at what would happen' }).click();
      await alice.getByRole('heading', { name: 'What would happen' }).waitFor();
      await looksRight(alice, `a list that is not good, ${colorScheme}, ${viewport.width}`);
      await hostile.emulateMedia({ colorScheme });
      await hostile.setViewportSize(viewport);
      for (const page of ['/', '/teams', '/people']) {
        await hostile.goto(house.url(CONSOLE + page));
        await looksRight(hostile, `${page} of a member, ${colorScheme}, ${viewport.width}`);
      }
    }
    assert.deepEqual(complaints, []);
  });

  test('a list goes on by the page, and finds by the beginning of a name', async () => {
    const alice = await openTab();
    await signInTo(house, alice, 'alice');
    await addPeople(house, alice, Array.from({ length: 60 }, (_, at) => `listed-${at}@example.com`).join('\n'));
    await alice.goto(house.url(`${CONSOLE}/people`));
    const names = () => alice.getByRole('rowheader').allInnerTexts();
    const first = await names();
    assert.equal(first.length, 50);
    await alice.getByRole('link', { name: 'Next page' }).click();
    const second = await names();
    assert.ok(second.length > 10 && second.every((name) => !first.includes(name)));
    await alice.getByRole('link', { name: 'Previous page' }).click();
    assert.deepEqual(await names(), first);
    await alice.getByLabel('Search').fill('listed-7');
    await alice.getByLabel('Sorted by').selectOption('newest first');
    await alice.keyboard.press('Enter');
    await alice.waitForURL(/q=listed-7/);
    assert.equal((await names()).length, 1);
    assert.equal(await alice.getByLabel('Sorted by').inputValue(), 'newest');
  });

  test('the keyboard alone is enough', async () => {
    const alice = await openTab();
    await signInTo(house, alice, 'alice', '/teams');
    await alice.keyboard.press('Tab');
    assert.equal(await alice.evaluate(() => document.activeElement.textContent), 'Skip to the content');
    await alice.keyboard.press('Enter');
    assert.equal(await alice.evaluate(() => document.activeElement.id), 'main');
    /** Goes on by Tab until the thing of this name has the focus, which must be seen. */
    const tabTo = async (name) => {
      for (let presses = 0; presses < 80; presses += 1) {
        await alice.keyboard.press('Tab');
        const { text, seen } = await alice.evaluate(() => {
          const { activeElement: at } = document;
          const label = at.labels?.[0]?.textContent ?? at.textContent;
          const { outlineStyle } = getComputedStyle(at);
          return { text: label.trim(), seen: outlineStyle !== 'none' };
        });
        if (text.startsWith(name)) {
          assert.ok(seen, `${name} has the focus, and nobody sees it`);
          return;
        }
      }
      throw new Error(`Tab does not lead to ${name}`);
    };
    await tabTo('Name');
    await alice.keyboard.type('By keyboard');
    await tabTo('Make the team');
    await alice.keyboard.press('Enter');
    await alice.getByRole('heading', { level: 1, name: 'By keyboard' }).waitFor();
    await tabTo('Delete the team');
    await alice.keyboard.press('Enter');
    await alice.getByRole('heading', { level: 1, name: 'Delete By keyboard?' }).waitFor();
    await tabTo('Delete the team');
    await alice.keyboard.press('Enter');
    await alice.getByText('The team is deleted.').waitFor();
  });

  test('without script everything works, too', async () => {
    const tab = await openTab({ javaScriptEnabled: false });
    await signInTo(house, tab, 'alice');
    await addPeople(house, tab, 'carol@example.com,viewer');
    assert.match(await tab.getByRole('status').innerText(), /They are added/);
    await tab.getByRole('link', { name: 'carol@example.com', exact: true }).click();
    await tab.getByLabel('Role in the instance').selectOption('member');
    await tab.getByRole('button', { name: 'Set the role' }).click();
    assert.match(await tab.getByRole('status').innerText(), /The role is set/);
    await tab.getByRole('link', { name: 'Withdraw the invitation' }).click();
    await tab.getByRole('button', { name: 'Withdraw' }).click();
    assert.match(await tab.getByRole('status').innerText(), /The invitation is withdrawn/);
    await tab.goto(house.url(`${CONSOLE}/set-up`));
    await tab.getByRole('button', { name: 'Check it now' }).click();
    const found = await tab.locator('main').innerText();
    assert.match(found, /ok provider: .* answers/);
    assert.match(found, /ok upstream: /);
    assert.doesNotMatch(found, /a secret that only the two of them know/);
  });

  // Many apps say the same of their pages as the console: then the two would stay together, and reach into each other.
  for (const evil of ['/evil', '/evil-with-coop']) {
    test(`a page of the app (${evil}) can neither read a token nor frame the console`, async () => {
      const tab = await openTab();
      await signInTo(house, tab, 'alice');
      await tab.goto(house.url(evil));
      const stolen = await tab.evaluate(async (path) => {
        const fetched = await fetch(path).then((answer) => answer.text(), () => '');
        const frame = document.createElement('iframe');
        frame.src = path;
        document.body.append(frame);
        await new Promise((resolve) => frame.addEventListener('load', resolve));
        let framed = '';
        try {
          framed = frame.contentDocument?.body.innerHTML ?? '';
        } catch {
          // Out of reach: as it should be.
        }
        const opened = window.open(path);
        await new Promise((resolve) => setTimeout(resolve, 1500));
        let reached = '';
        try {
          reached = opened?.document.body.innerHTML ?? '';
        } catch {
          // Likewise.
        }
        return [fetched, framed, reached].filter((text) => text.includes('name="token"'));
      }, `${CONSOLE}/me`);
      assert.deepEqual(stolen, []);
    });
  }
});

describe('with provisioning off', () => {
  let house;
  before(async () => {
    house = await startHouse({ settings: { DISABLE_SSO_PROVISIONING: 'true', VESTIBULE_INITIAL_ADMINS: 'alice@example.com' } });
  });
  after(() => house?.close());

  test('who was refused is let in with one click', async () => {
    const [alices, bobs] = [await chromium.newContext(), await chromium.newContext()];
    const [alice, bob] = [await alices.newPage(), await bobs.newPage()];
    await bob.goto(house.url('/page'));
    await bob.getByRole('button', { name: 'bob', exact: true }).click();
    await bob.getByRole('heading', { name: 'You have not been added' }).waitFor();
    await signInTo(house, alice, 'alice', '/waiting');
    await looksRight(alice, 'pending and refused');
    await alice.getByRole('button', { name: 'Approve Bob Baker' }).click();
    await alice.getByText('They can sign in now.').waitFor();
    await bob.goto(house.url('/page'));
    if (new URL(bob.url()).origin === house.provider.issuer) {
      await bob.getByRole('button', { name: 'bob', exact: true }).click();
    }
    await bob.waitForURL(house.url('/page'));
    assert.equal(await bob.title(), 'The app');
    await Promise.all([alices.close(), bobs.close()]);
  });
});
