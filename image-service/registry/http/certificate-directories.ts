import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { CrispError, errnoOf } from '#core/errors.ts';
import type { HostTrust } from './trust.ts';

/** docker.io is asked at another name; the directories that there are have any of them. */
const DOCKER_HUB = ['docker.io', 'registry-1.docker.io', 'index.docker.io'];

/**
 * What the directories of docker, podman and containerd hold for a host: `<directory>/<host>/*.crt` are authorities,
 * `*.cert` with `*.key` a client's certificate. Throws FailedPrecondition where one of a pair is missing.
 */
export function trustInDirectories(
  directories: readonly string[],
  host: string,
): Omit<HostTrust, 'skipVerify'> {
  const found = directories.flatMap((directory) =>
    namesOf(host).map((name) => contentOf(join(directory, name))),
  );
  return {
    caFiles: found.flatMap(({ caFiles }) => caFiles),
    clientCertificates: found.flatMap(({ clientCertificates }) => clientCertificates),
  };
}

/** A host comes from a redirect, too: it must not be a path. */
function namesOf(host: string): readonly string[] {
  if (!/^[a-z0-9[]/i.test(host) || host.includes('/')) return [];
  if (DOCKER_HUB.includes(host)) return DOCKER_HUB;
  const [, name = host, port] = /^(.*?)(?::(\d+))?$/.exec(host) ?? [];
  // containerd also knows `host_port_`; the default port is not part of a URL's host.
  return port === undefined ? [host, `${name}:443`, `${name}_443_`] : [host, `${name}_${port}_`];
}

function contentOf(directory: string): Omit<HostTrust, 'skipVerify'> {
  const names = list(directory);
  const pairs = names.filter((name) => /\.(cert|key)$/.test(name));
  const stems = [...new Set(pairs.map((name) => name.replace(/\.[a-z]+$/, '')))];
  const clientCertificates = stems.map((stem) => {
    const missing = ['cert', 'key'].find((ending) => !names.includes(`${stem}.${ending}`));
    if (missing === undefined) {
      const path = join(directory, stem);
      return { certFile: `${path}.cert`, keyFile: `${path}.key` };
    }
    throw new CrispError('FailedPrecondition', `${directory}: ${stem}.${missing} is missing`, {
      hint: "a client's certificate is NAME.cert with its key NAME.key; an authority is NAME.crt",
    });
  });
  const caFiles = names.filter((name) => name.endsWith('.crt')).map((name) => join(directory, name));
  return { caFiles, clientCertificates };
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw new CrispError('FailedPrecondition', `${directory}: ${code ?? 'it cannot be read'}`, {
      hint: 'make it readable for root, or remove it',
    });
  }
}
