// Prints what a page of the console costs the gateway, in milliseconds of its CPU, with 100,000 people: node console.mjs.
// VESTIBULE_BINARY names the program; one of `cargo build --release` tells something. People are added through the console.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

import { form } from '../tests/e2e/support/client.mjs';
import { startHouse } from '../tests/e2e/support/house.mjs';

const PEOPLE = Number(process.argv[2] ?? 100_000);
const AT_ONCE = 1000;
const REQUESTS = 200;
const MOST = 10;
const CONSOLE = '/.vestibule/console';
const TICK = 1000 / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

const house = await startHouse({ settings: { VESTIBULE_ACCESS_LOG: 'false', VESTIBULE_LOG: 'warn' } });
let worst = 0;
try {
  const alice = house.newClient();
  await house.signIn(alice, 'alice', '/');
  const open = (path) => alice.request(house.url(CONSOLE + path), { site: 'same-origin' });
  const given = ['ada', 'bob', 'chen', 'dora', 'emil', 'fatima', 'goran', 'hana', 'ivo', 'juan'];
  for (let from = 0; from < PEOPLE; from += AT_ONCE) {
    const lines = Array.from({ length: Math.min(AT_ONCE, PEOPLE - from) }, (_, at) => {
      const number = from + at;
      return `${given[number % given.length]}.${number.toString(36)}@example.com,${number % 50 ? 'member' : 'viewer'}`;
    });
    const { values } = form((await open('/me')).text);
    const answer = await alice.request(house.url(`${CONSOLE}/people/add`), {
      method: 'POST',
      site: 'same-origin',
      headers: { 'content-type': 'application/x-www-form-urlencoded', origin: house.gateway.publicUrl },
      body: new URLSearchParams({ token: values.token, step: 'add', role: 'member', expires: '', people: lines.join('\n') }).toString(),
    });
    if (answer.status !== 303) throw new Error(`adding people: ${answer.status} ${answer.text}`);
    if (process.stderr.isTTY) process.stderr.write(`\r${from + lines.length} people`);
  }
  if (process.stderr.isTTY) process.stderr.write('\n');

  /** CPU of the gateway so far, in milliseconds. */
  const spent = () => {
    const stat = readFileSync(`/proc/${house.gateway.pid()}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) * TICK;
  };
  // A hundred pages on, as somebody gets there.
  let deep = '/people?sort=name';
  for (let page = 0; page < 100; page += 1) {
    const next = /href="\/\.vestibule\/console([^"]*)" rel="next"/.exec((await open(deep)).text)?.[1];
    if (!next) break;
    deep = next.replaceAll('&#38;', '&').replaceAll('&amp;', '&');
  }
  console.log(`${PEOPLE} people, ${REQUESTS} requests each\nms CPU  page`);
  for (const [what, path] of [
    ['first page', '/people'],
    ['newest first', '/people?sort=newest'],
    ['last sign-in', '/people?sort=seen'],
    ['by name, a hundred pages on', deep],
    ['search of one', '/people?q=ada.0'],
    ['search of a tenth', '/people?q=ada'],
    ['search of a tenth at the end of the order', '/people?q=juan'],
    ['search, sorted by name', '/people?q=juan&sort=name'],
    ['search, newest first', '/people?q=juan&sort=newest'],
    ['search and role', '/people?q=juan&role=viewer'],
    ['one role', '/people?role=viewer'],
    ['one status, newest first', '/people?status=invited&sort=newest'],
    ['audit log', '/audit'],
  ]) {
    for (let warm = 0; warm < 10; warm += 1) await open(path);
    const before = spent();
    for (let request = 0; request < REQUESTS; request += 1) {
      const answer = await open(path);
      if (answer.status !== 200) throw new Error(`${path}: ${answer.status}`);
    }
    const each = (spent() - before) / REQUESTS;
    worst = Math.max(worst, each);
    console.log(`${each.toFixed(2).padStart(6)}  ${what}`);
  }
} finally {
  await house.close();
}
if (worst > MOST) {
  console.error(`over ${MOST} ms`);
  process.exitCode = 1;
}
