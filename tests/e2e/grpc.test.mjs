// gRPC with the real client and the real server: every kind of call, as whom, and what a call gets that may not pass.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import grpc from '@grpc/grpc-js';

import { makeCertificate } from './support/certificate.mjs';
import { startHouse } from './support/house.mjs';
import { until } from './support/net.mjs';

const text = { to: (value) => Buffer.from(value, 'utf8'), from: (bytes) => bytes.toString('utf8') };
const method = (name, requestStream, responseStream) => ({
  path: `/test.Words/${name}`,
  requestStream,
  responseStream,
  requestSerialize: text.to,
  requestDeserialize: text.from,
  responseSerialize: text.to,
  responseDeserialize: text.from,
});
const SERVICE = {
  greet: method('Greet', false, false),
  count: method('Count', false, true),
  join: method('Join', true, false),
  echo: method('Echo', true, true),
};
const Words = grpc.makeGenericClientConstructor(SERVICE, 'Words');

/** The app: says who it was told is asking, counts, joins and echoes; remembers every call. */
async function startWords(credentials, at = 0) {
  const calls = [];
  const seen = (call) => {
    calls.push({ path: call.getPath(), headers: call.metadata.getMap() });
    return call.metadata.getMap();
  };
  const server = new grpc.Server();
  server.addService(SERVICE, {
    greet(call, done) {
      const { 'x-forwarded-email': email } = seen(call);
      if (call.request === 'fail') {
        const metadata = new grpc.Metadata();
        metadata.set('why', 'asked for');
        return done({ code: grpc.status.FAILED_PRECONDITION, details: 'as you like', metadata });
      }
      const trailer = new grpc.Metadata();
      trailer.set('x-words', '2');
      return done(null, `${call.request}, ${email}`, trailer);
    },
    count(call) {
      seen(call);
      for (let number = 1; number <= Number(call.request); number += 1) call.write(String(number));
      call.end();
    },
    join(call, done) {
      seen(call);
      const words = [];
      call.on('data', (word) => words.push(word));
      call.on('end', () => done(null, words.join(' ')));
    },
    echo(call) {
      seen(call);
      call.on('data', (word) => call.write(word.toUpperCase()));
      call.on('end', () => call.end());
      call.on('error', () => {});
    },
  });
  const port = await new Promise((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${at}`, credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  return { port, calls, close: () => server.forceShutdown() };
}

/** A unary call as a promise: what came back, or the error with its code. */
const unary = (client, name, message, metadata = new grpc.Metadata()) => new Promise((resolve, reject) => {
  let answer;
  const call = client[name](message, metadata, (error, value) => (error ? reject(error) : (answer = value)));
  // Comes last.
  call.on('status', (status) => resolve({ value: answer, trailers: status.metadata.getMap() }));
});
const refusedWith = (code) => (error) => error.code === code;

const HOUSES = [
  { tls: false, name: 'without TLS on both sides (h2c)' },
  { tls: true, name: 'with TLS on both sides (ALPN)' },
];

for (const { tls, name } of HOUSES) {
  describe(`gRPC ${name}`, () => {
    let [folder, credentials, words, house, client, metadata] = [];

    before(async () => {
      folder = await mkdtemp(path.join(tmpdir(), 'vestibule-grpc-'));
      const certificate = makeCertificate(folder, 'words');
      credentials = tls
        ? grpc.ServerCredentials.createSsl(null, [{ cert_chain: certificate.pem, private_key: certificate.keyPem }])
        : grpc.ServerCredentials.createInsecure();
      words = await startWords(credentials);
      const upstream = tls ? `https://localhost:${words.port}` : `h2c://127.0.0.1:${words.port}`;
      house = await startHouse({ tls, settings: { VESTIBULE_UPSTREAM: upstream, VESTIBULE_CA_FILE: certificate.cert } });
      const browser = house.newClient();
      await house.signIn(browser, 'alice', '/whoever');
      assert.equal((await house.whoami(browser)).status, 200);
      client = connect();
      metadata = new grpc.Metadata();
      metadata.set('cookie', browser.cookieHeader('localhost'));
      metadata.set('x-forwarded-email', 'mallory@example.com');
    });
    after(async () => {
      client?.close();
      await house?.close();
      words?.close();
      await rm(folder, { recursive: true, force: true });
    });

    const connect = (options = {}) => new Words(
      `localhost:${house.gateway.port}`,
      tls ? grpc.credentials.createSsl(house.gateway.ca) : grpc.credentials.createInsecure(),
      options,
    );

    test('a unary call arrives as the person, and its trailers come back', async () => {
      const { value, trailers } = await unary(client, 'greet', 'Hello', metadata);
      assert.equal(value, 'Hello, alice@example.com');
      assert.equal(trailers['x-words'], '2');
      const { headers } = words.calls.at(-1);
      assert.equal((await house.assertion(headers)).email, 'alice@example.com');
      assert.equal(headers.cookie, undefined, 'our cookie stays with us');
    });

    test("the app's own failure arrives with its code, words and metadata", async () => {
      await assert.rejects(unary(client, 'greet', 'fail', metadata), (error) => {
        assert.equal(error.code, grpc.status.FAILED_PRECONDITION);
        assert.equal(error.details, 'as you like');
        assert.equal(error.metadata.getMap().why, 'asked for');
        return true;
      });
    });

    test('the app streams down: a thousand messages in order', async () => {
      const numbers = [];
      for await (const number of client.count('1000', metadata)) numbers.push(Number(number));
      assert.deepEqual(numbers, Array.from({ length: 1000 }, (_all, index) => index + 1));
    });

    test('the client streams up', async () => {
      const joined = await new Promise((resolve, reject) => {
        const call = client.join(metadata, (error, value) => (error ? reject(error) : resolve(value)));
        for (const word of ['one', 'long'.repeat(50_000), 'three']) call.write(word);
        call.end();
      });
      assert.equal(joined, `one ${'long'.repeat(50_000)} three`);
    });

    test('both stream at once, each message answered before the next is sent', async () => {
      const call = client.echo(metadata);
      const answers = call[Symbol.asyncIterator]();
      for (const word of ['a', 'b', 'c']) {
        call.write(word);
        assert.equal((await answers.next()).value, word.toUpperCase());
      }
      call.end();
      assert.equal((await answers.next()).done, true);
    });

    test('fifty calls at once on one connection each get their own answer', async () => {
      const names = Array.from({ length: 50 }, (_all, index) => `call ${index}`);
      const answers = await Promise.all(names.map((each) => unary(client, 'greet', each, metadata)));
      assert.deepEqual(answers.map(({ value }) => value), names.map((each) => `${each}, alice@example.com`));
    });

    test('a call without a session, or with a made-up one, gets 16 and never reaches the app', async () => {
      const seen = words.calls.length;
      await assert.rejects(unary(client, 'greet', 'Hello'), refusedWith(grpc.status.UNAUTHENTICATED));
      const forged = new grpc.Metadata();
      forged.set('cookie', `${house.gateway.cookieName}=${'A'.repeat(43)}`);
      await assert.rejects(unary(client, 'greet', 'Hello', forged), refusedWith(grpc.status.UNAUTHENTICATED));
      await assert.rejects(async () => {
        for await (const _number of client.count('3')) assert.fail('a message');
      }, refusedWith(grpc.status.UNAUTHENTICATED));
      assert.equal(words.calls.length, seen);
    });

    test('a call that another site began gets 7', async () => {
      const seen = words.calls.length;
      const crossed = metadata.clone();
      crossed.set('origin', 'https://elsewhere.test');
      await assert.rejects(unary(client, 'greet', 'Hello', crossed), refusedWith(grpc.status.PERMISSION_DENIED));
      assert.equal(words.calls.length, seen);
    });

    test('a stream that is open ends with its session, with 16 or as broken off', async () => {
      const browser = house.newClient();
      await house.signIn(browser, 'bob', '/whoever');
      const mine = new grpc.Metadata();
      mine.set('cookie', browser.cookieHeader('localhost'));
      const call = client.echo(mine);
      const ended = new Promise((resolve) => call.on('error', (error) => resolve(error.code)));
      const first = new Promise((resolve) => call.once('data', resolve));
      call.write('still here');
      assert.equal(await first, 'STILL HERE');
      const { code, stderr } = await house.gateway.cli('users', 'deactivate', 'bob@example.com');
      assert.equal(code, 0, stderr);
      let how;
      void ended.then((status) => (how = status));
      await until('the stream to end', () => how !== undefined, 5);
      assert.notEqual(how, grpc.status.OK);
      await assert.rejects(unary(client, 'greet', 'Hello', mine), refusedWith(grpc.status.UNAUTHENTICATED));
    });

    test('an app that is away is 14, and the next call after it is back passes', async () => {
      words.close();
      await assert.rejects(unary(client, 'greet', 'Hello', metadata), refusedWith(grpc.status.UNAVAILABLE));
      words = await startWords(credentials, words.port);
      assert.equal((await unary(client, 'greet', 'Again', metadata)).value, 'Again, alice@example.com');
    });
  });
}
