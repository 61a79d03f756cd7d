import assert from 'node:assert/strict';
import test from 'node:test';
import { silentLog } from '#core/operation.ts';
import { refused } from '#linux/libc/errno.ts';
import { StoreProbe } from './store-probe.ts';

test('a write that does not return is one, however often it is asked for; then it is a trouble', async () => {
  const returned = Promise.withResolvers<void>();
  let writes = 0;
  const write = () => {
    writes++;
    return returned.promise;
  };
  using probe = new StoreProbe({ root: '/r', log: silentLog, write, writeMs: 5 });
  const [one, two] = [probe.check(), probe.check()];
  await Promise.all([one, two].map((check) => assert.rejects(check, /write below \/r: no end after/)));
  await assert.rejects(probe.check(), /no end after/);
  assert.equal(writes, 1);
  const [trouble] = probe.troubles();
  assert.deepEqual([trouble?.reason, trouble?.podsFail], ['StoreUnwritable', true]);
  assert.match(trouble?.message ?? '', /root directory \/r cannot be written: write below \/r: no end/);
});

test('a full disk leaves the node Ready, any other failure does not; answers that are fresh cost no write', async () => {
  for (const [errno, podsFail, hint] of [
    ['EROFS', true, /kernel log .*read-write again/],
    ['EIO', true, /kernel log/],
    ['ENOSPC', false, /free space/],
    ['EDQUOT', false, /quota/],
  ] as const) {
    let writes = 0;
    const write = async () => {
      writes++;
      throw refused('write /r/x', errno);
    };
    using probe = new StoreProbe({ root: '/r', log: silentLog, write });
    await assert.rejects(probe.check(), new RegExp(errno));
    await assert.rejects(probe.check(), new RegExp(errno));
    assert.equal(writes, 1);
    const [trouble] = probe.troubles();
    assert.equal(trouble?.podsFail, podsFail);
    assert.match(trouble?.hint ?? '', hint);
  }
});

test('who asks for the latest answer does not wait for a slow disk, and the next one hears of its failure', async () => {
  const returned = Promise.withResolvers<void>();
  using probe = new StoreProbe({ root: '/r', log: silentLog, write: () => returned.promise });
  assert.equal(probe.latest(), undefined, 'no failure is known yet');
  assert.equal(probe.latest(), undefined);
  returned.reject(refused('write /r/x', 'EIO'));
  await assert.rejects(probe.check(), /EIO/);
  assert.equal(probe.latest()?.reason, 'StoreUnwritable');
});
