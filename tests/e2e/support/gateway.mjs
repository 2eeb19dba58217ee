// The real binary, on localhost, with SQLite in a folder of its own.

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { makeCertificate } from './certificate.mjs';
import { freePort, until } from './net.mjs';
import { CLIENT_SECRET } from './provider.mjs';

const BINARY = path.resolve(
  process.env.VESTIBULE_BINARY ?? path.join(import.meta.dirname, '../../../target/debug/vestibule'),
);

/**
 * A gateway that is set up, but not started: the provider needs its address first.
 * With `https` the public URL is that of a front that ends TLS (front.mjs), with `tls` it ends TLS itself.
 * Replicas behind one front have its `publicPort` in common.
 */
export async function prepareGateway({ https = false, tls = false, publicPort: given } = {}) {
  const folder = await mkdtemp(path.join(tmpdir(), 'vestibule-e2e-'));
  const [port, opsPort] = [await freePort(), await freePort()];
  const publicPort = given ?? (https ? await freePort() : port);
  const publicUrl = `${https || tls ? 'https' : 'http'}://localhost:${publicPort}`;
  const certificate = tls ? makeCertificate(folder, 'gateway') : undefined;
  const env = {
    PATH: process.env.PATH,
    VESTIBULE_LISTEN: `127.0.0.1:${port}`,
    VESTIBULE_OPS_LISTEN: `127.0.0.1:${opsPort}`,
    VESTIBULE_PUBLIC_URL: publicUrl,
    VESTIBULE_DATABASE_URL: `sqlite:${folder}/vestibule.db`,
    OIDC_CLIENT_SECRET: CLIENT_SECRET,
    ...(https ? { VESTIBULE_TRUSTED_PROXIES: '127.0.0.1/32' } : {}),
    ...(tls ? { VESTIBULE_TLS_CERT: certificate.cert, VESTIBULE_TLS_KEY: certificate.key } : {}),
  };
  let child;
  let log = '';

  const gateway = {
    publicUrl,
    cookieName: `${https || tls ? '__Host-vestibule' : 'vestibule'}-${publicPort}`,
    /** Vouches for a gateway that ends TLS itself. */
    ca: certificate?.pem,
    port,
    publicPort,
    ops: `http://127.0.0.1:${opsPort}`,
    folder,
    log: () => log,
    pid: () => child?.pid,
    pid: () => child?.pid,

    /** Starts it, with `settings` over what it had; comes back when it is ready. */
    async start(settings = {}) {
      Object.assign(env, settings);
      child = spawn(BINARY, ['serve'], { env, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
      const started = child;
      let gone;
      child.on('exit', (code, signal) => {
        gone = signal ?? code;
      });
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (log += text));
      await until('the gateway to be ready', async () => {
        if (gone !== undefined) throw new Error(`the gateway ended (${gone}):\n${log}`);
        return (await fetch(`${gateway.ops}/readyz`).catch(() => undefined))?.status === 200;
      }).catch((error) => {
        started.kill('SIGKILL');
        throw new Error(`${error.message}\n${log}`);
      });
    },

    /** Ends it and returns its exit code, or the signal's name. */
    async stop(signal = 'SIGTERM') {
      if (!child || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? child?.signalCode;
      const ended = new Promise((resolve) => child.on('exit', (code, name) => resolve(name ?? code)));
      child.kill(signal);
      return ended;
    },

    async close() {
      await gateway.stop('SIGKILL');
      await rm(folder, { recursive: true, force: true });
    },

    /** Runs `vestibule ARGUMENTS` beside it, with the same settings. */
    async cli(...words) {
      const run = spawn(BINARY, words, { env, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
      let [stdout, stderr] = ['', ''];
      run.stdout.on('data', (text) => (stdout += text));
      run.stderr.on('data', (text) => (stderr += text));
      const code = await new Promise((resolve) => run.on('close', resolve));
      return { code, stdout, stderr };
    },
  };
  return gateway;
}
