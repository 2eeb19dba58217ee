// A PostgreSQL server of a test's own, which it may stop and start.

import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

import { freePort } from './net.mjs';

const run = promisify(execFile);

export async function startPostgres() {
  const versions = await readdir('/usr/lib/postgresql');
  const bin = path.join('/usr/lib/postgresql', versions.sort((a, b) => Number(a) - Number(b)).at(-1), 'bin');
  const folder = await mkdtemp(path.join(tmpdir(), 'vestibule-postgres-'));
  const port = await freePort();
  const root = process.getuid() === 0;
  // PostgreSQL is not for root.
  if (root) await run('chown', ['postgres', folder]);
  const as = (program, ...words) => {
    const command = [path.join(bin, program), ...words];
    const [first, ...rest] = root ? ['runuser', '-u', 'postgres', '--', ...command] : command;
    return run(first, rest, { cwd: folder });
  };
  const data = path.join(folder, 'data');
  // A server that was started from a pipe would keep it open.
  const control = (...words) => as('pg_ctl', '-D', data, '-w', '-t', '60', '-l', path.join(folder, 'log'), ...words);
  await as('initdb', '-D', data, '-U', 'vestibule', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync');
  const start = () => control('start', '-o',
    `-c listen_addresses=127.0.0.1 -c port=${port} -c unix_socket_directories= -c fsync=off`);
  await start();
  return {
    url: `postgres://vestibule@127.0.0.1:${port}/postgres`,
    start,
    /** As when the machine goes down: nobody is waited for. */
    stop: () => control('stop', '-m', 'immediate'),
    async close() {
      await control('stop', '-m', 'immediate').catch(() => {});
      await rm(folder, { recursive: true, force: true });
    },
  };
}
