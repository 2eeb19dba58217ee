// A database is put back from a backup, or moved to PostgreSQL: whoever was signed in still is.

import assert from 'node:assert/strict';
import { copyFile, mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { startHouse } from './support/house.mjs';
import { startPostgres } from './support/postgres.mjs';

describe('a database that moves', () => {
  let house;
  let elsewhere;
  before(async () => {
    house = await startHouse();
    elsewhere = await mkdtemp(path.join(tmpdir(), 'vestibule-elsewhere-'));
  });
  after(async () => {
    await house?.close();
    await rm(elsewhere, { recursive: true, force: true });
  });

  const cli = async (...words) => {
    const done = await house.gateway.cli(...words);
    assert.equal(done.code, 0, done.stderr);
    return done;
  };
  const who = async (browser) => {
    const answer = await house.whoami(browser);
    assert.equal(answer.status, 200, answer.text);
    return JSON.parse(answer.text);
  };

  test('a backup of a running gateway is put back in another folder, and the session goes on', async () => {
    const browser = house.newClient();
    await house.signIn(browser, 'alice');
    const before = await who(browser);
    const file = path.join(elsewhere, 'backup.db');
    // While people sign in.
    const busy = (async () => {
      for (let times = 0; times < 5; times += 1) await house.signIn(house.newClient(), 'bob');
    })();
    await cli('db', 'backup', file);
    await busy;
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    // Who came after it was made is not in it.
    const later = house.newClient();
    await house.signIn(later, 'carol');

    const folder = path.join(elsewhere, 'restored');
    await mkdir(folder);
    await copyFile(file, path.join(folder, 'vestibule.db'));
    await copyFile(path.join(house.gateway.folder, 'vestibule.db.key'), path.join(folder, 'vestibule.db.key'));
    await house.gateway.stop();
    await house.gateway.start({ VESTIBULE_DATABASE_URL: `sqlite:${folder}/vestibule.db` });
    assert.equal((await who(browser)).sid, before.sid);
    assert.equal((await house.whoami(later)).status, 401);
    await house.signIn(later, 'carol');
  });

  test('an instance moves to PostgreSQL with its key, and the session goes on', async () => {
    const postgres = await startPostgres();
    try {
      const browser = house.newClient();
      await house.signIn(browser, 'alice');
      const before = await who(browser);
      await house.gateway.stop();
      const folder = path.join(elsewhere, 'restored');
      const copied = await cli('db', 'copy', `sqlite:${folder}/vestibule.db`, postgres.url, '--json');
      assert.ok(JSON.parse(copied.stdout).find(({ table }) => table === 'sessions').rows >= 1);
      // As the command says.
      const [, key] = /VESTIBULE_SECRET_KEY_FILE=(\S+?),/.exec(copied.stderr);
      await house.gateway.start({ VESTIBULE_DATABASE_URL: postgres.url, VESTIBULE_SECRET_KEY_FILE: key });
      const after = await who(browser);
      assert.deepEqual([after.sid, after.sub, after.role], [before.sid, before.sub, before.role]);
      await browser.request(house.url('/page'));
      assert.equal((await house.assertion(house.upstream.requests.at(-1).headers)).sub, before.sub);
      assert.equal((await house.signIn(house.newClient(), 'bob')).status, 200);
    } finally {
      await house.gateway.stop();
      await postgres.close();
    }
  });
});
