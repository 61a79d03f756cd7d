/** SCMP_ACT_NOTIFY: calls that an agent of the node answers, under crun and runc (see crun-ground.ts). */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test, { after } from 'node:test';
import { cri } from '#api/cri/v1/index.ts';
import { endsClean, refused, TestNode } from '../harness/pods.ts';
import { crunWrapper } from './crun-ground.ts';

const scratch = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? '/tmp', 'agent-'));
after(() => rmSync(scratch, { recursive: true, force: true }));
const node = await TestNode.start('seccomp-agent', { runtime: 'crun', wrapper: await crunWrapper() });
const HANDLERS = ['crun', 'runc'] as const;
const pods = new Map<string, string>();
for (const runtimeHandler of HANDLERS) {
  const { podSandboxId } = await node.client.RunPodSandbox({ config: node.podConfig(), runtimeHandler });
  pods.set(runtimeHandler, podSandboxId);
}

const socket = join(scratch, 'agent.sock');
/** What a container needs whose calls of mkdir are left to the agent with this socket. */
function notifying(listenerPath: string | undefined): cri.LinuxContainerSecurityContextInit {
  const localhostRef = join(scratch, 'profile.json');
  const syscalls = [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_NOTIFY' }];
  const profile = { defaultAction: 'SCMP_ACT_ALLOW', listenerPath, listenerMetadata: 'mine', syscalls };
  writeFileSync(localhostRef, JSON.stringify(profile));
  return { seccomp: { profileType: cri.SecurityProfile.ProfileType.Localhost, localhostRef } };
}
const EBADMSG = 74;

/** An agent that fails calls with EBADMSG; the states that it has been sent. */
async function startAgent(): Promise<readonly { readonly metadata?: string }[]> {
  const program = join(scratch, 'agent');
  const source = join(import.meta.dirname, 'seccomp-agent.c');
  const { status, stderr } = spawnSync('gcc', ['-O1', '-o', program, source], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  const child = spawn(program, [socket, `${EBADMSG}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  });
  after(() => process.kill(-(child.pid ?? 0), 'SIGKILL'));
  const states: { metadata?: string }[] = [];
  const lines = createInterface(child.stdout);
  await once(lines, 'line');
  lines.on('line', (line) => states.push(JSON.parse(line)));
  return states;
}

test('a profile without the socket of an agent is refused; where none listens the start fails, with the OCI runtime’s reason', async () => {
  for (const handler of HANDLERS) {
    const pod = pods.get(handler) ?? '';
    const create = node.create(pod, { security: notifying(undefined) });
    await refused(create, 'InvalidArgument', /profile\.json": SCMP_ACT_NOTIFY needs a listenerPath/);
    const id = await node.create(pod, { security: notifying(socket) });
    await refused(node.client.StartContainer({ containerId: id }), 'Internal', /OCI create: .*agent\.sock/);
    await node.remove(id);
  }
});

test('the agent answers the calls of the container and of its commands, and is sent the metadata of the profile', async () => {
  const states = await startAgent();
  for (const handler of HANDLERS) {
    const id = await node.run(pods.get(handler) ?? '', {
      security: notifying(socket),
      command: ['sh', '-c', 'mkdir /made 2> /tmp/err; mv /tmp/err /tmp/said; exec sleep 1000'],
    });
    const script = 'while ! test -e /tmp/said; do sleep 0.05; done; cat /tmp/said; mkdir /made 2>&1; echo $?';
    const { out } = await node.exec(id, ['sh', '-c', script]);
    assert.match(out, /^mkdir: .*Bad message\nmkdir: .*Bad message\n1\n$/, handler);
    await node.remove(id);
  }
  assert.ok(states.length >= 2 * HANDLERS.length);
  for (const { metadata } of states) assert.equal(metadata, 'mine');
});

endsClean(node);
