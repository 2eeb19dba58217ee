// The app behind: remembers every request that reaches it, answers with plain pages, echoes over a WebSocket.

import http from 'node:http';

import { WebSocketServer } from 'ws';

import { listen } from './net.mjs';

export async function startUpstream() {
  const requests = [];
  const remember = (request, body = '') => {
    const { method, url, headers, rawHeaders } = request;
    requests.push({ method, url, headers, rawHeaders, body });
  };
  const server = http.createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    remember(request, body);
    response.writeHead(200, {
      'content-type': 'text/html; charset=utf-8',
      'cache-control': 'no-store',
      ...(request.url.includes('coop') ? { 'cross-origin-opener-policy': 'same-origin' } : {}),
    });
    response.end(
      `<!doctype html><title>The app</title><h1>${request.method}</h1>` +
        '<form method="post" action="/notes"><input name="note" value="do not lose me"><button>Save</button></form>',
    );
  });
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket, request) => {
    remember(request);
    socket.on('message', (message) => socket.send(`echo: ${message}`));
    socket.on('error', () => {});
  });
  const port = await listen(server, '127.0.0.1');
  return {
    url: `http://127.0.0.1:${port}`,
    /** Every request that it got, oldest first. */
    requests,
    close: () => new Promise((resolve) => {
      for (const socket of sockets.clients) socket.terminate();
      server.close(resolve);
      server.closeAllConnections();
    }),
  };
}
