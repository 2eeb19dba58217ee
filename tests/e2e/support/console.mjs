// The console, as people use it: by what its pages say.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export const CONSOLE = '/.vestibule/console';

/** Opens a page of the console as `who`, through the provider where nobody is signed in yet. */
export async function signInTo(house, tab, who, path = '/') {
  await tab.goto(house.url(CONSOLE + path));
  if (new URL(tab.url()).origin === house.provider.issuer) {
    await Promise.all([
      tab.waitForURL((url) => url.origin === house.gateway.publicUrl && url.pathname.startsWith(CONSOLE)),
      tab.getByRole('button', { name: who, exact: true }).click(),
    ]);
  }
}

/** Adds people by the form: the list is looked at, then sent. */
export async function addPeople(house, tab, list) {
  await tab.goto(house.url(`${CONSOLE}/people/add`));
  await tab.getByLabel('E-mail addresses, one a line').fill(list);
  await tab.getByRole('button', { name: 'Look at what would happen' }).click();
  await tab.getByRole('button', { name: /^Add / }).click();
  await tab.waitForURL((url) => url.pathname === `${CONSOLE}/waiting`);
}

/** Fails where axe finds something, or the page is wider than its window. */
export async function looksRight(tab, what) {
  const { width, content } = await tab.evaluate(() => ({
    width: document.documentElement.clientWidth,
    content: document.documentElement.scrollWidth,
  }));
  assert.ok(content <= width, `${what}: the page is ${content} wide in a window of ${width}`);
  await tab.evaluate(AXE);
  const { violations } = await tab.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join('\n    ')}`);
  assert.deepEqual(told, [], what);
}
