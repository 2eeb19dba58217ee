// nginx with a test certificate: ends TLS in front of the gateway, as load balancers do.

import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import tls from 'node:tls';

import { makeCertificate } from './certificate.mjs';
import { until } from './net.mjs';

/** In front of a gateway, or of several replicas; of those, `X-Replica: 1` (or 2, …) names one. */
export async function startFront(...replicas) {
  const [gateway] = replicas;
  const at = (name) => path.join(gateway.folder, name);
  const { cert, key, pem: ca } = makeCertificate(gateway.folder, 'front');
  writeFileSync(at('nginx.conf'), `
    daemon off;
    pid ${at('nginx.pid')};
    error_log stderr warn;
    ${process.getuid() === 0 ? 'user root;' : ''}
    events {}
    http {
      access_log off;
      ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((of) => `${of}_temp_path ${at(`nginx-${of}`)};`).join('\n')}
      map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
      large_client_header_buffers 8 32k;
      upstream gateways {
        ${replicas.map(({ port }) => `server 127.0.0.1:${port} max_fails=1 fail_timeout=2s;`).join('\n')}
        ${replicas.length > 1 ? 'keepalive 16;' : ''}
      }
      map $http_x_replica $replica {
        default gateways;
        ${replicas.map(({ port }, at) => `${at + 1} 127.0.0.1:${port};`).join('\n')}
      }
      server {
        listen 127.0.0.1:${gateway.publicPort} ssl;
        ssl_certificate ${cert};
        ssl_certificate_key ${key};
        location / {
          proxy_pass http://$replica;
          proxy_http_version 1.1;
          proxy_set_header Host $http_host;
          proxy_set_header X-Forwarded-For $remote_addr;
          proxy_set_header Upgrade $http_upgrade;
          proxy_set_header Connection $connection_upgrade;
          proxy_buffer_size 32k;
          proxy_buffers 8 32k;
        }
      }
    }
  `);
  const nginx = spawn('/usr/sbin/nginx', ['-c', at('nginx.conf'), '-e', 'stderr'], { stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  nginx.stderr.on('data', (text) => (log += text));
  const ended = new Promise((resolve) => nginx.on('exit', resolve));
  await until('nginx', () => new Promise((resolve, reject) => {
    if (nginx.exitCode !== null) reject(new Error(`nginx ended:\n${log}`));
    const socket = tls.connect({ port: gateway.publicPort, host: '127.0.0.1', servername: 'localhost', ca });
    socket.on('secureConnect', () => resolve(socket.end()));
    socket.on('error', () => resolve(undefined));
  }));
  return {
    ca,
    async close() {
      nginx.kill('SIGTERM');
      await ended;
    },
  };
}
