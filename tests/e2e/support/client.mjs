// A browser without a window: cookies, redirects, forms and the fetch metadata that a browser would send.

import http from 'node:http';
import https from 'node:https';

const NAVIGATION = {
  accept: 'text/html,application/xhtml+xml;q=0.9,*/*;q=0.8',
  'sec-fetch-mode': 'navigate',
  'sec-fetch-dest': 'document',
};

export class Client {
  #cookies = new Map(); // host → "name path" → { name, value, path, line }
  #ca;

  constructor({ ca } = {}) {
    this.#ca = ca;
  }

  /** One request, no redirects followed. `site` is what `Sec-Fetch-Site` says; a cross-site POST brings no Lax cookie. */
  async request(url, { method = 'GET', headers = {}, body, site = 'none', navigation = true } = {}) {
    const target = new URL(url);
    const all = { ...(navigation ? { ...NAVIGATION, 'sec-fetch-site': site } : {}), ...headers };
    const withheld = site === 'cross-site' && method !== 'GET';
    const cookie = withheld ? '' : this.cookieHeader(target.hostname, target.pathname);
    if (cookie && all.cookie === undefined) all.cookie = cookie;
    const response = await send(target, { method, headers: all, ca: this.#ca }, body);
    for (const line of response.headers['set-cookie'] ?? []) this.#keep(target, line);
    return { ...response, url: target };
  }

  /** GET, and on through redirects as long as `follow` (given the next address) says so. */
  async visit(url, { follow = () => true, site = 'none', headers } = {}) {
    let response = await this.request(url, { site, headers });
    for (let hops = 0; [302, 303, 307, 308].includes(response.status); hops += 1) {
      if (hops === 20) throw new Error(`redirected in circles at ${response.url}`);
      const next = new URL(response.headers.location, response.url);
      if (!follow(next)) break;
      // Who typed the address stays "none" all the way; a redirect that crossed over stays "cross-site".
      if (site !== 'none' && next.origin !== response.url.origin) site = 'cross-site';
      response = await this.request(next, { site });
    }
    return response;
  }

  /** Sends the page's first form, with `fields` over its own, and returns the answer. */
  async submit(page, fields = {}) {
    const { action, values } = form(page.text);
    const target = new URL(action, page.url);
    const site = target.origin === page.url.origin ? 'same-origin' : 'cross-site';
    return this.request(target, {
      method: 'POST',
      site,
      headers: { 'content-type': 'application/x-www-form-urlencoded', origin: page.url.origin },
      body: new URLSearchParams({ ...values, ...fields }).toString(),
    });
  }

  cookieHeader(host, at = '/') {
    return [...(this.#cookies.get(host)?.values() ?? [])]
      .filter(({ path }) => at === path || at.startsWith(path.endsWith('/') ? path : `${path}/`))
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ');
  }

  /** Name → cookie of those kept for `host`; ports do not matter to cookies. */
  cookies(host) {
    return Object.fromEntries([...(this.#cookies.get(host)?.values() ?? [])].map((cookie) => [cookie.name, cookie]));
  }

  setCookie(host, name, value) {
    this.#keep(new URL(`http://${host}/`), `${name}=${value}; Path=/`);
  }

  #keep({ hostname, pathname }, line) {
    const [pair, ...attributes] = line.split(';').map((part) => part.trim());
    const equals = pair.indexOf('=');
    const [name, value] = [pair.slice(0, equals), pair.slice(equals + 1)];
    const of = (wanted) => attributes.find((text) => text.toLowerCase().startsWith(`${wanted}=`))?.split('=')[1];
    const path = of('path') ?? (pathname.replace(/\/[^/]*$/, '') || '/');
    const jar = this.#cookies.get(hostname) ?? new Map();
    this.#cookies.set(hostname, jar);
    const gone = of('max-age') !== undefined ? Number(of('max-age')) <= 0 : Date.parse(of('expires')) < Date.now();
    if (gone) jar.delete(`${name} ${path}`);
    else jar.set(`${name} ${path}`, { name, value, path, line });
  }
}

async function send(target, { method, headers, ca }, body) {
  const { request } = target.protocol === 'https:' ? https : http;
  return new Promise((resolve, reject) => {
    const options = { method, headers, ca, agent: false, family: 4 };
    const sent = request(target, options, async (response) => {
      const chunks = [];
      try {
        for await (const chunk of response) chunks.push(chunk);
      } catch (error) {
        return reject(error);
      }
      const bytes = Buffer.concat(chunks);
      return resolve({ status: response.statusCode, headers: response.headers, bytes, text: bytes.toString('utf8') });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

/** The action and the hidden fields of the first form in `html`. */
export function form(html) {
  const [, attributes, inner] = /<form([^>]*)>(.*?)<\/form>/s.exec(html) ?? [];
  if (inner === undefined) throw new Error(`no form in: ${html}`);
  const values = {};
  for (const [input] of inner.matchAll(/<input[^>]*>/g)) {
    if (attribute(input, 'type') === 'hidden') values[attribute(input, 'name')] = attribute(input, 'value') ?? '';
  }
  return { action: attribute(attributes, 'action') ?? '', values };
}

function attribute(tag, name) {
  const text = new RegExp(`\\s${name}="([^"]*)"`).exec(` ${tag}`)?.[1];
  return text
    ?.replace(/&#(\d+);/g, (_all, code) => String.fromCodePoint(Number(code)))
    .replace(/&#x([0-9a-f]+);/gi, (_all, code) => String.fromCodePoint(Number.parseInt(code, 16)))
    .replaceAll('&quot;', '"')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&amp;', '&');
}
