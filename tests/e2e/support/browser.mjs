// A real Chromium.

import { chromium } from 'playwright-core';

/** With the short threshold a Lax cookie goes along with a cross-site POST for 10 s after it was set, not for two minutes. */
export const LAX_GRACE = 12_000;

export function launchBrowser() {
  return chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: [
      '--enable-features=ShortLaxAllowUnsafeThreshold',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}
