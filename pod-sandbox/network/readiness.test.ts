import assert from 'node:assert/strict';
import test from 'node:test';
import { CrispError } from '#core/errors.ts';
import { type Operation, silentLog } from '#core/operation.ts';
import type { NetworkStatus } from './cni/conf-directory.ts';
import { type NetworkConfig, parseNetworkConfig } from './cni/conflist.ts';
import { NetworkReadiness } from './readiness.ts';

const network = (name: string, cniVersion = '1.1.0'): NetworkConfig =>
  parseNetworkConfig(`/net.d/${name}`, JSON.stringify({ cniVersion, name, plugins: [{ type: 'x' }] }));

/** A directory whose configuration the test sets, and plugins that it answers for. */
class Node {
  #loaded: readonly NetworkConfig[] = [];
  readonly questions: { op: Operation; answer(why?: string): Promise<void> }[] = [];
  readonly readiness: NetworkReadiness;

  constructor(ages = { ready: Infinity, notReady: Infinity }) {
    const own = this;
    const networks = {
      get loaded() {
        return own.#loaded;
      },
      status: (): NetworkStatus =>
        this.#loaded.length > 0
          ? { ready: true, reason: '', message: '' }
          : { ready: false, reason: 'NetworkPluginNotReady', message: 'no CNI configuration' },
    };
    this.readiness = new NetworkReadiness(
      () => networks,
      (_configs, op) => this.#ask(op),
      silentLog,
      ages,
    );
  }

  set loaded(config: NetworkConfig | undefined) {
    this.#loaded = config ? [config] : [];
  }

  #ask(op: Operation): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const answer = async (why?: string) => {
      if (why === undefined) resolve();
      else reject(new CrispError('NetworkFailed', why, { hint: 'wait' }));
      await this.readiness.settled(60_000);
    };
    op.signal.addEventListener('abort', () => reject(op.signal.reason));
    this.questions.push({ op, answer });
    return promise;
  }

  get asked(): number {
    return this.questions.length;
  }
  get text(): string {
    const { ready, message } = this.readiness.status();
    return ready ? 'ready' : message;
  }
  async answer(why?: string): Promise<void> {
    const last = this.questions.at(-1);
    assert.ok(last);
    await last.answer(why);
  }
}

test('a network is ready once its plugins have said so, and a read never waits for them', async () => {
  const node = new Node();
  assert.equal(node.text, 'no CNI configuration');
  node.loaded = network('a');
  assert.match(node.text, /network a .*have not answered to STATUS yet/);
  assert.match(node.text, /not answered/);
  assert.equal(node.asked, 1, 'one question at a time');
  await node.answer('the agent is not ready');
  assert.equal(node.text, 'the agent is not ready; wait');
  assert.equal(node.readiness.status().reason, 'NetworkPluginNotReady');
  assert.equal(node.asked, 1);
});

test('an old answer is read until there is a new one', async () => {
  const node = new Node({ ready: -1, notReady: -1 });
  node.loaded = network('a');
  void node.text;
  await node.answer('starting');
  assert.equal(node.text, 'starting; wait');
  assert.equal(node.asked, 2);
  await node.answer();
  assert.equal(node.text, 'ready');
  assert.equal(node.asked, 3);
  await node.answer('stopped');
  assert.equal(node.text, 'stopped; wait');
});

test('a change of the configuration is no gap, and asks anew', async () => {
  const node = new Node();
  node.loaded = network('a');
  void node.text;
  await node.answer();
  node.loaded = network('b');
  assert.equal(node.text, 'ready', 'until the plugins of the new one have answered');
  await node.answer('starting');
  assert.equal(node.text, 'starting; wait');
  node.loaded = undefined;
  assert.equal(node.text, 'no CNI configuration');
  node.loaded = network('a');
  assert.match(node.text, /not answered/, 'it was not ready before');
});

test('a question about an earlier configuration ends, and its answer does not count', async () => {
  const node = new Node();
  node.loaded = network('a');
  void node.text;
  node.loaded = network('b');
  void node.text;
  const [first, second] = node.questions;
  assert.deepEqual([first?.op.signal.aborted, second?.op.signal.aborted], [true, false]);
  await node.answer();
  assert.equal(node.text, 'ready');
  node.readiness.close();
  assert.equal(second?.op.signal.aborted, true);
});

test('plugins of lists before 1.1 are not asked', () => {
  const node = new Node();
  for (const version of ['0.4.0', '1.0.0']) {
    node.loaded = network('a', version);
    assert.equal(node.text, 'ready', version);
  }
  assert.equal(node.asked, 0);
});
