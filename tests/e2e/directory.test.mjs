// The form of name and password in a real browser, with a real directory: by the keyboard, in the dark, on a narrow screen.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { launchBrowser } from './support/browser.mjs';
import { looksRight } from './support/console.mjs';
import { startHouse } from './support/house.mjs';
import { passwordOf, startSlapd } from './support/slapd.mjs';

/** What unsets the provider. */
const ALONE = { OIDC_ISSUER: '', OIDC_CLIENT_ID: '', OIDC_CLIENT_SECRET: '', OIDC_AUTH_METHOD: '' };

let chromium;
let directory;
before(async () => {
  chromium = await launchBrowser();
  directory = await startSlapd();
});
after(async () => {
  await chromium?.close();
  await directory?.close();
});

for (const beside of [true, false]) {
  describe(`the form ${beside ? 'beside the provider' : 'alone'} in Chromium`, () => {
    let house;
    const contexts = [];
    const complaints = [];
    const addresses = [];

    before(async () => {
      house = await startHouse({ settings: { ...directory.settings, ...(beside ? {} : ALONE) } });
    });
    after(async () => {
      for (const context of contexts) await context.close();
      await house?.close();
    });

    /** A tab of a fresh profile; what its console complains about is collected, and every address that it asks for. */
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
      tab.on('request', (request) => addresses.push(request.url()));
      return tab;
    }

    const focused = (tab) => tab.evaluate(() => document.activeElement?.id || document.activeElement?.textContent);
    const notice = (tab) => tab.getByRole('alert').innerText();
    const whoami = (tab) => tab.context().request.get(house.url('/.vestibule/whoami'));

    /** Types where the page has put the focus, as soon as it has. */
    async function type(tab, text) {
      await tab.waitForFunction(() => document.activeElement?.matches('input'));
      await tab.keyboard.type(text);
    }

    /** Types, and sends it. */
    async function send(tab, text) {
      await type(tab, text);
      const [answer] = await Promise.all([
        tab.waitForResponse((response) => response.request().method() === 'POST'),
        tab.waitForEvent('framenavigated'),
        tab.keyboard.press('Enter'),
      ]);
      await tab.waitForLoadState();
      return answer.status();
    }

    test('by the keyboard alone, with a wrong password and then the right one', async () => {
      const tab = await openTab();
      await tab.goto(house.url('/a/page?with=query'));
      assert.equal(new URL(tab.url()).pathname, '/.vestibule/login');
      await type(tab, 'ann');
      assert.equal(await focused(tab), 'username');
      await tab.keyboard.press('Tab');
      assert.equal(await focused(tab), 'password');
      assert.equal(await send(tab, 'wrong'), 401);
      assert.match(await notice(tab), /That did not work/);
      // The name is kept, the password is not, and the focus stands where it is needed.
      assert.equal(await tab.getByLabel('User name or e-mail address').inputValue(), 'ann');
      assert.equal(await tab.getByLabel('Password').inputValue(), '');
      await tab.waitForFunction(() => document.activeElement?.id === 'password');
      await tab.keyboard.press('Tab');
      assert.equal(await focused(tab), 'Sign in');
      if (beside) {
        await tab.keyboard.press('Tab');
        assert.equal(await focused(tab), 'Sign in with single sign-on');
        await tab.keyboard.press('Shift+Tab');
      }
      await tab.keyboard.press('Shift+Tab');
      assert.equal(await focused(tab), 'password');
      assert.equal(await send(tab, passwordOf('ann')), 303);
      await tab.waitForURL(house.url('/a/page?with=query'));
      assert.equal(await tab.title(), 'The app');
      const who = await (await whoami(tab)).json();
      assert.deepEqual([who.email, who.method, who.groups], ['ann@example.com', 'ldap', ['staff']]);
      assert.deepEqual(addresses.filter((url) => /password|wrong/.test(url)), []);
      assert.deepEqual(complaints, []);
    });

    test('Back after signing in leads to the page, not to the form', async () => {
      const tab = await openTab();
      await tab.goto(house.url('/first'));
      await type(tab, 'dan');
      await tab.keyboard.press('Tab');
      assert.equal(await send(tab, passwordOf('dan')), 303);
      await tab.goto(house.url('/second'));
      for (let back = 0; back < 2; back += 1) {
        await tab.goBack();
        assert.equal(tab.url(), house.url('/first'));
        assert.equal(await tab.title(), 'The app');
      }
    });

    test(beside ? "the provider's button leads to the provider" : 'there is no button of a provider', async () => {
      const tab = await openTab();
      await tab.goto(house.url('/b'));
      const button = tab.getByRole('link', { name: 'Sign in with single sign-on' });
      if (!beside) {
        assert.equal(await button.count(), 0);
        return;
      }
      await type(tab, '');
      for (let times = 0; times < 3; times += 1) await tab.keyboard.press('Tab');
      assert.equal(await focused(tab), 'Sign in with single sign-on');
      await tab.keyboard.press('Enter');
      await tab.waitForURL((url) => url.origin === house.provider.issuer);
      await Promise.all([
        tab.waitForURL(house.url('/b')),
        tab.getByRole('button', { name: 'alice', exact: true }).click(),
      ]);
      assert.equal((await (await whoami(tab)).json()).method, 'oidc');
    });

    for (const colorScheme of ['light', 'dark']) {
      for (const viewport of [{ width: 1280, height: 800 }, { width: 320, height: 640 }]) {
        test(`everything can be read: ${colorScheme}, ${viewport.width} wide`, async () => {
          const what = (page) => `${page}, ${colorScheme}, ${viewport.width}`;
          const tab = await openTab({ colorScheme, viewport });
          await tab.goto(house.url('/c'));
          await looksRight(tab, what('the form'));
          const [, red, green, blue] = (await tab.evaluate(() => getComputedStyle(document.body).backgroundColor))
            .match(/(\d+), (\d+), (\d+)/)
            .map(Number);
          assert.equal(red + green + blue < 3 * 128, colorScheme === 'dark', what('the background'));
          for (const control of ['User name or e-mail address', 'Password']) {
            const { width, height } = await tab.getByLabel(control).boundingBox();
            assert.ok(width <= viewport.width && height >= 24, what(control));
          }
          // Nobody's name, so that nobody's wrong passwords are used up.
          await tab.getByLabel('User name or e-mail address').fill('W'.repeat(200));
          await tab.getByLabel('Password').focus();
          assert.equal(await send(tab, 'wrong'), 401);
          await looksRight(tab, what('a wrong password'));
          assert.deepEqual(complaints, []);
        });
      }
    }

    test('after five wrong passwords a page says for how long', async () => {
      const tab = await openTab({ colorScheme: 'dark', viewport: { width: 320, height: 640 } });
      await tab.goto(house.url('/d'));
      await type(tab, 'ben');
      await tab.keyboard.press('Tab');
      for (let times = 0; times < 5; times += 1) assert.equal(await send(tab, 'wrong'), 401);
      assert.equal(await send(tab, passwordOf('ben')), 429);
      assert.match(await notice(tab), /Too many wrong passwords\. Please try again in 1[45] minutes/);
      await looksRight(tab, 'too many wrong passwords');
      assert.equal((await whoami(tab)).status(), 401);
      // Others are not concerned.
      await tab.getByLabel('User name or e-mail address').fill('cleo');
      await tab.getByLabel('Password').focus();
      assert.equal(await send(tab, passwordOf('cleo')), 303);
      await tab.waitForURL(house.url('/d'));
      assert.deepEqual(complaints, []);
    });
  });
}
