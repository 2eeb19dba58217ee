// What signing in with a directory costs, against a real slapd over ldaps:
//
// - sign-ins a second, and CPU of the gateway (utime + stime of its process) a sign-in: the form, the search, the person's own
//   bind over a TLS connection of its own, the groups, the session;
// - how long the app's pages take through the gateway while a thousand wrong passwords come in, against the same when nothing
//   else does: once with the limits as they are, so that most are told to wait, and once with the highest, so that each asks
//   the directory.
//
//   VESTIBULE_BINARY=target/dist/vestibule node benches/ldap-sign-ins.mjs [SIGN-INS] [AT-ONCE] [WRONG]        300 8 1000
//
// Needs tests/e2e installed (npm ci) and Debian's slapd and ldap-utils. Everything stays on loopback, on the same cores:
// browsers, directory and app take their share of them. Those who try passwords, and the one whose pages are timed, are
// threads of their own, so that neither waits for the other here.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

import { Client } from '../tests/e2e/support/client.mjs';
import { startHouse } from '../tests/e2e/support/house.mjs';
import { sleep } from '../tests/e2e/support/net.mjs';
import { passwordOf, startSlapd } from '../tests/e2e/support/slapd.mjs';

const PEOPLE = Array.from({ length: 100 }, (_, number) => `p${number}`);
const [count, atOnce, wrong] = [300, 8, 1000].map((usual, at) => Number(process.argv[at + 2] ?? usual));
const ticksASecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

/** Runs `work` `times` times, so many at once. */
async function many(times, together, work) {
  let left = times;
  await Promise.all(Array.from({ length: together }, async () => {
    while (left > 0) {
      left -= 1;
      await work(left);
    }
  }));
}

async function tryPassword(publicUrl, who, password) {
  const browser = new Client();
  const form = await browser.visit(`${publicUrl}/.vestibule/login?rd=/`);
  return { browser, answer: await browser.submit(form, { username: who, password }) };
}

// The two threads.
const THREADS = {
  async storm({ publicUrl, times, together }) {
    const statuses = {};
    const begun = performance.now();
    await many(times, together, async (at) => {
      const { answer } = await tryPassword(publicUrl, PEOPLE[at % PEOPLE.length], 'wrong');
      statuses[answer.status] = (statuses[answer.status] ?? 0) + 1;
    });
    return { statuses, seconds: (performance.now() - begun) / 1000 };
  },

  /** One page after the other on one connection, until it is told to stop. */
  async pages({ publicUrl, cookie }) {
    let going = true;
    parentPort.on('message', () => (going = false));
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const page = () => new Promise((resolve, reject) => {
      const options = { agent, family: 4, headers: { cookie, accept: 'text/html' } };
      http.get(`${publicUrl}/page`, options, (answer) => {
        if (answer.statusCode !== 200) reject(new Error(`a page of the app: ${answer.statusCode}`));
        answer.resume().on('end', resolve);
      }).on('error', reject);
    });
    const taken = [];
    while (going) {
      const begun = performance.now();
      await page();
      taken.push(performance.now() - begun);
      await sleep(2);
    }
    agent.destroy();
    return taken.sort((one, other) => one - other);
  },
};

function thread(name, data) {
  const worker = new Worker(new URL(import.meta.url), { workerData: { name, data } });
  const answer = new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  return { answer, stop: () => worker.postMessage('stop') };
}

/** Seconds of CPU that a process has used. */
function cpu(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / ticksASecond;
}

async function withHouse(directory, settings, work) {
  const house = await startHouse({
    settings: {
      VESTIBULE_ACCESS_LOG: 'false',
      ...directory.settings,
      ...{ OIDC_ISSUER: '', OIDC_CLIENT_ID: '', OIDC_CLIENT_SECRET: '', OIDC_AUTH_METHOD: '' },
      ...settings,
    },
  });
  try {
    await work(house);
  } finally {
    await house.close();
  }
}

async function signInAs(house, who) {
  const { browser, answer } = await tryPassword(house.gateway.publicUrl, who, passwordOf(who));
  if (answer.status !== 303) throw new Error(`a sign-in ended with ${answer.status}: ${answer.text}`);
  return browser;
}

async function signIns(house) {
  await many(20, 4, (at) => signInAs(house, PEOPLE[at]));
  const [before, begun] = [cpu(house.gateway.pid()), performance.now()];
  await many(count, atOnce, (at) => signInAs(house, PEOPLE[at % PEOPLE.length]));
  const seconds = (performance.now() - begun) / 1000;
  const used = cpu(house.gateway.pid()) - before;
  console.log(
    `${(count / seconds).toFixed(1).padStart(8)} sign-ins/s over ldaps with slapd and browsers beside it, ` +
      `${((used / count) * 1000).toFixed(2).padStart(6)} ms CPU of the gateway each`,
  );
}

async function whileGuessed(house, name) {
  const browser = await signInAs(house, 'p0');
  const { publicUrl } = house.gateway;
  const timed = { publicUrl, cookie: browser.cookieHeader('localhost') };
  const tell = (what, taken) => {
    const at = (share) => taken[Math.min(taken.length - 1, Math.floor(taken.length * share))].toFixed(2).padStart(7);
    console.log(`${what.padEnd(46)} ${at(0.5)} ${at(0.99)} ${at(0.999)} ms   ${String(taken.length).padStart(6)} pages`);
  };
  const alone = thread('pages', timed);
  await sleep(5000);
  alone.stop();
  tell(`${name}: nothing else`, await alone.answer);
  const pages = thread('pages', timed);
  const before = cpu(house.gateway.pid());
  const { statuses, seconds } = await thread('storm', { publicUrl, times: wrong, together: 100 }).answer;
  const used = cpu(house.gateway.pid()) - before;
  pages.stop();
  tell(`${name}: ${wrong} wrong passwords in ${seconds.toFixed(1)} s`, await pages.answer);
  const told = Object.entries(statuses).map(([status, times]) => `${times} × ${status}`).join(', ');
  console.log(`${''.padEnd(46)} ${told}; ${((used / wrong) * 1000).toFixed(2)} ms CPU of the gateway each, pages included`);
}

if (isMainThread) {
  const directory = await startSlapd({ people: PEOPLE });
  try {
    await withHouse(directory, {}, signIns);
    console.log(`\nthe app's pages through the gateway: half, 99 of 100, 999 of 1000 within`);
    await withHouse(directory, {}, (house) => whileGuessed(house, 'limits as they are'));
    const open = { VESTIBULE_LOGIN_FAILURES: '1000', VESTIBULE_LOGIN_FAILURES_ADDRESS: '1000' };
    await withHouse(directory, open, (house) => whileGuessed(house, 'limits of 1000'));
  } finally {
    await directory.close();
  }
} else {
  parentPort.postMessage(await THREADS[workerData.name](workerData.data));
  parentPort.close();
}
