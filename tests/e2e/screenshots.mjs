// Takes the pictures of docs/console.md anew: node screenshots.mjs. The people in them are made up.

import path from 'node:path';

import { launchBrowser } from './support/browser.mjs';
import { addPeople, CONSOLE, signInTo } from './support/console.mjs';
import { startHouse } from './support/house.mjs';

const IMAGES = path.join(import.meta.dirname, '../../docs/images');

const chromium = await launchBrowser();
const house = await startHouse({
  settings: { VESTIBULE_INSTANCE_NAME: 'Example Lab', ENABLE_SSO_GROUP_CLAIMS: 'true' },
});
try {
  const context = await chromium.newContext({ viewport: { width: 960, height: 640 }, colorScheme: 'light' });
  const alice = await context.newPage();
  await signInTo(house, alice, 'alice');
  const bob = await (await chromium.newContext()).newPage();
  await signInTo(house, bob, 'bob');
  await alice.goto(house.url(`${CONSOLE}/teams`));
  for (const name of ['Engines', 'Night shift', 'Turbines']) {
    await alice.goto(house.url(`${CONSOLE}/teams`));
    await alice.getByLabel('Name').fill(name);
    await alice.getByRole('button', { name: 'Make the team' }).click();
    await alice.getByLabel('E-mail address or id').fill('bob@example.com');
    await alice.getByRole('button', { name: 'Put in' }).click();
    await alice.getByRole('status').waitFor();
  }
  const team = new URL(alice.url()).pathname;
  await addPeople(house, alice, [
    'chen.wei@example.com,member,Engines',
    'dora.novak@example.com,viewer',
    'emil.berg@example.com,admin,Night shift;Engines',
    'fatima.haddad@example.com,member,Night shift',
  ].join('\n'));

  const shoot = async (name, at, { height = 640, width = 960, colorScheme = 'light' } = {}) => {
    await alice.setViewportSize({ width, height });
    await alice.emulateMedia({ colorScheme });
    if (at) await alice.goto(house.url(at));
    await alice.screenshot({ path: path.join(IMAGES, `console-${name}.png`) });
  };
  await shoot('people', `${CONSOLE}/people`);
  await shoot('team', team, { height: 760 });
  await shoot('waiting', `${CONSOLE}/waiting`);
  await alice.goto(house.url(`${CONSOLE}/people?q=bob`));
  await alice.getByRole('table').getByRole('link').click();
  await shoot('person', undefined, { height: 900, colorScheme: 'dark' });
  await alice.goto(house.url(`${CONSOLE}/people/add`));
  await alice.getByLabel('E-mail addresses, one a line').fill('goran@example.com\nhana@example.com,viewer,Turbines\nivo(at)example.com');
  await alice.getByRole('button', { name: 'Look at what would happen' }).click();
  await alice.getByRole('heading', { name: 'What would happen' }).waitFor();
  await shoot('add', undefined);
  await shoot('audit', `${CONSOLE}/audit`);
  await shoot('set-up', `${CONSOLE}/set-up`);
  await shoot('me', `${CONSOLE}/me`, { width: 320, height: 640 });
} finally {
  await house.close();
  await chromium.close();
}
