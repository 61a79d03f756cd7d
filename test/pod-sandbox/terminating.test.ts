/**
 * No pod stays Terminating: where its network cannot be undone for good, the calls fail with the reason (the kubelet's events), are given
 * up by rule, and the reason is in the log, the metric and the list of leaks, until the cause is gone.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { endsClean, POD, TestNode, until } from '../harness/pods.ts';
import { freePort } from '../image-service/registry.ts';

const MAIN = join(import.meta.dirname, '../../cli/main.ts');
const METRICS = `127.0.0.1:${await freePort()}`;
const node = await TestNode.start('terminating', {
  metrics: METRICS,
  network: 'exec',
  prepare: (directory) => {
    const [plugins, dropIns] = [join(directory, 'plugins'), join(directory, 'crisp.toml.d')];
    for (const path of [plugins, dropIns]) mkdirSync(path, { recursive: true });
    writeFileSync(join(dropIns, '10.toml'), `[cni]\nbin_dirs = ["${plugins}", "/usr/lib/cni"]\n`);
  },
});
const { directory } = node.settings;
const program = join(directory, 'plugins/fabric');
const PASS = `[ $CNI_COMMAND = DEL ] || sed 's/.*"prevResult"://; s/}$//'`;
const plugin = (script: string) => writeFileSync(program, `#!/bin/sh\n${script}\n`, { mode: 0o755 });

const file = join(directory, 'cni/net.d/10-crisp.conflist');
const { plugins, ...list } = JSON.parse(readFileSync(file, 'utf8'));
plugin(PASS);
writeFileSync(file, JSON.stringify({ ...list, plugins: [...plugins, { type: 'fabric' }] }));
async function leaksMetric(): Promise<number> {
  const text = await (await fetch(`http://${METRICS}/metrics`)).text();
  return Number(/^crisp_leaks\{object="sandbox"\} (\d+)/m.exec(text)?.[1]);
}

async function listed(): Promise<{ name: string; error: string }[]> {
  const words = ['status', '--output', 'json', '--admin-socket', join(directory, 'state/admin.sock')];
  const child = spawn(process.execPath, [MAIN, ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (piece) => {
    text += piece;
  });
  await once(child, 'close');
  return JSON.parse(text).leaks;
}

/** The kubelet's calls until both succeed; the errors before. */
async function terminated(podSandboxId: string): Promise<string[]> {
  const errors: string[] = [];
  while (errors.length < 10) {
    try {
      await node.client.StopPodSandbox({ podSandboxId });
      await node.client.RemovePodSandbox({ podSandboxId });
      return errors;
    } catch (error) {
      errors.push(error instanceof Error ? error.message : String(error));
    }
  }
  return assert.fail(`still there: ${errors.join('\n')}`);
}

const REFUSED = 'dial tcp 10.96.0.1:443: connect: connection refused';

interface Case {
  /** `netns`: the path of the pod's. */
  breaks(netns: string): void | Promise<void>;
  /** Of each call that fails, and of the leak. */
  readonly reason: RegExp;
  /** At most: a new daemon may take one of the tries itself, as it goes on with the stop. */
  readonly failures: number;
}

const cases: Readonly<Record<string, Case>> = {
  'the API server is away, and the plugin needs it': {
    breaks: () => plugin(`echo '{"code":11,"msg":"Get https://kubernetes: ${REFUSED}"}'; exit 1`),
    reason: /fabric.*connection refused/,
    failures: 2,
  },
  'the plugin is gone': {
    breaks: () => rmSync(program),
    reason: /fabric.*it is not in/,
    failures: 0,
  },
  'the namespace is gone, and the plugin insists on it': {
    breaks: (netns) => {
      plugin(`[ -n "$CNI_NETNS" ] || { echo "netns is required" >&2; exit 1; }`);
      assert.equal(spawnSync('umount', [netns]).status, 0);
    },
    reason: /fabric.*netns is required/,
    failures: 0,
  },
  'the daemon was killed meanwhile': {
    breaks: async () => {
      plugin(`echo "${REFUSED}" >&2; exit 1`);
      await node.restart('kill');
    },
    reason: /fabric.*connection refused/,
    failures: 2,
  },
};

for (const [name, { breaks, reason, failures }] of Object.entries(cases)) {
  test(`${name}: the pod goes, with the reason in the calls, the log, the metric and the list of leaks`, async () => {
    plugin(PASS);
    const id = await node.runPod({}, { network: POD });
    const { info } = await node.client.PodSandboxStatus({ podSandboxId: id, verbose: true });
    await breaks(JSON.parse(info['info'] ?? '{}').networkNamespace);
    const errors = await terminated(id);
    assert.ok(errors.length <= failures && errors.length >= Math.min(1, failures), errors.join('\n'));
    for (const error of errors) {
      assert.match(error, reason);
      assert.match(error, /try [12] of 3, then it is given up and listed as a leak/);
    }
    const { items } = await node.client.ListPodSandbox({});
    assert.ok(!items.some((item) => item.id === id));
    // Those of the cases before may be undone meanwhile, in the background.
    assert.ok((await leaksMetric()) >= 1);
    assert.match((await listed()).at(-1)?.error ?? '', reason);
    const line = await until('it is logged', () =>
      readFileSync(node.daemon.logFile, 'utf8')
        .split('\n')
        .find((text) => text.includes(id) && text.includes('not undone; it is listed as a leak')),
    );
    assert.match(line, reason);
  });
}

test('once the causes are gone all of it is undone, by the next daemon at once', async () => {
  plugin(PASS);
  await node.restart('stop');
  await until('no leak is left', async () => (await leaksMetric()) === 0);
  assert.deepEqual(await listed(), []);
});

endsClean(node);
