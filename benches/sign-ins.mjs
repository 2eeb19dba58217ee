// What a sign-in costs: CPU of the gateway (utime + stime of its process) a sign-in, and sign-ins a second with the provider
// and the browsers on the same machine, on SQLite and on PostgreSQL.
//
//   VESTIBULE_BINARY=target/dist/vestibule node benches/sign-ins.mjs [SIGN-INS] [AT-ONCE]        300 8
//
// Needs tests/e2e installed (npm ci) and PostgreSQL's programs. Everything stays on loopback.

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';

import { startHouse } from '../tests/e2e/support/house.mjs';
import { startPostgres } from '../tests/e2e/support/postgres.mjs';

const [count, atOnce] = [Number(process.argv[2] ?? 300), Number(process.argv[3] ?? 8)];
const ticksASecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

/** Seconds of CPU that a process has used. */
function cpu(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / ticksASecond;
}

async function measure(name, settings) {
  const house = await startHouse({ settings: { VESTIBULE_ACCESS_LOG: 'false', ...settings } });
  try {
    const one = async () => {
      const page = await house.signIn(house.newClient(), 'alice');
      if (page.status !== 200) throw new Error(`a sign-in ended with ${page.status}`);
    };
    for (let times = 0; times < 20; times += 1) await one();
    const [before, begun] = [cpu(house.gateway.pid()), performance.now()];
    let left = count;
    await Promise.all(Array.from({ length: atOnce }, async () => {
      while (left > 0) {
        left -= 1;
        await one();
      }
    }));
    const seconds = (performance.now() - begun) / 1000;
    const used = cpu(house.gateway.pid()) - before;
    console.log(
      `${name.padEnd(11)} ${(count / seconds).toFixed(1).padStart(8)} sign-ins/s with provider and browsers beside it, ` +
        `${((used / count) * 1000).toFixed(2).padStart(6)} ms CPU of the gateway each`,
    );
  } finally {
    await house.close();
  }
}

await measure('SQLite', {});
const postgres = await startPostgres();
try {
  await measure('PostgreSQL', {
    VESTIBULE_DATABASE_URL: postgres.url,
    VESTIBULE_SECRET_KEY: randomBytes(32).toString('base64'),
  });
} finally {
  await postgres.close();
}
