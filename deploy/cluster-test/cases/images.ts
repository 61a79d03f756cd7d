/** Pulls that fail, and images as volumes. */
import assert from 'node:assert/strict';
import { type Case, Skip } from '../case.ts';
import { containerOf } from '../cluster/states.ts';
import { since } from '../needs.ts';
import type { Trial } from '../trial.ts';

/** Another tag of the same repository: `registry:5000/busybox:1.36@sha256:…` without tag and digest, and with this one. */
export const withTag = (image: string, tag: string): string =>
  `${image.replace(/@.*$/, '').replace(/:[^:/]*$/, '')}:${tag}`;

async function missingTag(trial: Trial): Promise<void> {
  const image = withTag(trial.cluster.image, 'crisp-cluster-test-does-not-exist');
  const name = await trial.create({ containers: [{ image }] });
  const message = await trial.until(name, 'the container waits with ErrImagePull', (pod) => {
    const { reason, message: text } = containerOf(pod, 'main')?.state?.waiting ?? {};
    return reason === 'ErrImagePull' && (text || 'without a message');
  });
  assert.ok(message.includes('does-not-exist'), `the message does not name the image: ${message}`);
  await trial.until(
    name,
    'the container waits with ImagePullBackOff',
    (pod) => containerOf(pod, 'main')?.state?.waiting?.reason === 'ImagePullBackOff',
  );
  await trial.untilEvent(name, 'Failed', 'does-not-exist');
}

async function waitsWith(trial: Trial, container: object, reason: string): Promise<void> {
  const name = await trial.create({ containers: [container] });
  await trial.until(
    name,
    `the container waits with ${reason}`,
    (pod) => containerOf(pod, 'main')?.state?.waiting?.reason === reason,
  );
}

async function always(trial: Trial): Promise<void> {
  const name = await trial.start({ containers: [{ imagePullPolicy: 'Always' }] });
  await trial.untilEvent(name, 'Pulled', 'Successfully pulled image');
}

/** Skips the case where the API server has dropped the field: the feature is off there. */
function skipWithoutSource(trial: Trial, pod: string): void {
  if (!trial.cluster.pods.last(pod)?.spec?.volumes?.some(({ image }) => image !== undefined))
    throw new Skip('the API server drops volumes[].image: the feature ImageVolume is off');
}

async function imageVolume(trial: Trial, subPath?: string): Promise<void> {
  const image = { reference: trial.cluster.image, pullPolicy: 'IfNotPresent' };
  const mount = { name: 'volume', mountPath: '/image', ...(subPath === undefined ? {} : { subPath }) };
  const name = await trial.create({
    volumes: [{ name: 'volume', image }],
    containers: [{ volumeMounts: [mount] }],
  });
  await trial.until(name, 'the API server has the pod', () => true);
  skipWithoutSource(trial, name);
  await trial.until(name, 'the container runs', (pod) => containerOf(pod, 'main')?.state?.running);
  const files = await trial.shell(name, 'ls /image');
  const expected = subPath === undefined ? 'bin' : 'sh';
  assert.ok(files.split('\n').includes(expected), `no ${expected} in the mounted image: ${files}`);
  const { code } = await trial.exec(name, ['touch', '/image/new']);
  assert.notEqual(code, 0, 'the image can be written');
}

const NEEDS = [since(33, 'image volumes')];

export const IMAGE_CASES: readonly Case[] = [
  {
    name: 'images/missing-tag',
    about: 'ErrImagePull with the image, then ImagePullBackOff',
    run: missingTag,
  },
  {
    name: 'images/invalid-name',
    about: 'InvalidImageName',
    // Upper case in the first part alone would make it the name of a registry.
    run: (trial) => waitsWith(trial, { image: 'registry.example/UPPER:1' }, 'InvalidImageName'),
  },
  {
    name: 'images/never',
    about: 'ErrImageNeverPull for an image that is not there',
    run: (trial) =>
      waitsWith(
        trial,
        { image: withTag(trial.cluster.image, 'crisp-cluster-test-never'), imagePullPolicy: 'Never' },
        'ErrImageNeverPull',
      ),
  },
  { name: 'images/always', about: 'a pull of what is there succeeds, with an event', run: always },
  {
    name: 'image-volumes/whole',
    about: 'an image is mounted read-only',
    needs: NEEDS,
    run: (trial) => imageVolume(trial),
  },
  {
    name: 'image-volumes/sub-path',
    about: 'a directory of an image',
    needs: NEEDS,
    run: (trial) => imageVolume(trial, 'bin'),
  },
];
