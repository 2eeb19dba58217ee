// Signs in to the gateway at PUBLIC_URL, through a provider that it starts on PROVIDER_PORT, and prints the session cookie.

import { Client } from '../tests/e2e/support/client.mjs';
import { until } from '../tests/e2e/support/net.mjs';
import { startProvider } from '../tests/e2e/support/provider.mjs';

const [publicUrl, port] = process.argv.slice(2);
const provider = await startProvider({ publicUrl, port: Number(port) });
const browser = new Client();
// The gateway looks for a provider that was not there yet.
const choice = await until('the provider to be known', async () => {
  const page = await browser.visit(`${publicUrl}/private`);
  return page.url.origin === provider.issuer && page;
}, 60);
const answer = await browser.submit(choice, { login: 'alice' });
const page = await browser.visit(new URL(answer.headers.location, answer.url));
if (page.status !== 200) throw new Error(`signing in ended with ${page.status}: ${page.text}`);
console.log(browser.cookieHeader('localhost'));
await provider.close();
