// Signs in to the gateway at PUBLIC_URL, through a provider that it starts on PROVIDER_PORT, and prints the cookies that a
// browser then sends there. Works for the peers, too: their redirect URI is the gateway's.
//
//   node sign-in.mjs PUBLIC_URL PROVIDER_PORT [CA_FILE]

import { readFileSync } from 'node:fs';

import { Client } from '../tests/e2e/support/client.mjs';
import { until } from '../tests/e2e/support/net.mjs';
import { startProvider } from '../tests/e2e/support/provider.mjs';

const [publicUrl, port, ca] = process.argv.slice(2);
const provider = await startProvider({ publicUrl, port: Number(port) });
const browser = new Client({ ca: ca && readFileSync(ca) });
// The gateway looks for a provider that was not there yet.
const choice = await until('the provider to be known', async () => {
  const page = await browser.visit(`${publicUrl}/private`).catch(() => undefined);
  return page?.url.origin === provider.issuer && page;
}, 60);
const answer = await browser.submit(choice, { login: 'alice' });
const page = await browser.visit(new URL(answer.headers.location, answer.url));
// The peers send no assertion, without which the app answers 500: they have come to it all the same.
if (page.url.origin !== new URL(publicUrl).origin || ![200, 500].includes(page.status)) {
  throw new Error(`signing in ended at ${page.url} with ${page.status}: ${page.text}`);
}
console.log(browser.cookieHeader('localhost', '/private'));
await provider.close();
