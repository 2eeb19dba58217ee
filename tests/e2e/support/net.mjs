// Ports and waiting.

import net from 'node:net';

/** Listens on `port` of `host`, else on a free one, and returns it. */
export async function listen(server, host, port = 0) {
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  return server.address().port;
}

/** A port that was free a moment ago, for a program that must be told its own. */
export async function freePort() {
  const server = net.createServer();
  const port = await listen(server, '127.0.0.1');
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Asks `question` until its answer is truthy, and returns that; throws after `seconds`. */
export async function until(what, question, seconds = 10) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`waited ${seconds} s for ${what}`);
    await sleep(20);
  }
}
