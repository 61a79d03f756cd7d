/**
 * Refuses what cannot be made, before anything is written: each error is InvalidArgument, has the field's name of the
 * wire, and a hint with the valid values. Contract sections 2, 3, 5, 9 and 10.
 */

import { isIP } from 'node:net';
import { CrispError } from '#core/errors.ts';
import type { SandboxMetadata } from '#core/model/pod.ts';
import type { LinuxResources } from '#core/model/resources.ts';
import type { CgroupDriver } from './cgroup/driver.ts';
import type { DnsConfig, PortMapping, SandboxConfig } from './config.ts';
import { checkNamespaces } from './namespaces/namespace-rules.ts';
import { checkSysctls } from './namespaces/sysctls.ts';
import { bandwidthOf } from './network/cni/bandwidth.ts';

/** Throws InvalidArgument for the first field that is not valid. */
export function validate(config: SandboxConfig, driver: CgroupDriver): void {
  checkMetadata(config.metadata);
  checkHostname(config.hostname);
  checkLogDirectory(config.logDirectory);
  if (config.dns) checkDns(config.dns);
  config.portMappings.forEach(checkPort);
  driver.checkParent(config.linux.cgroupParent);
  checkNamespaces(config.linux.security);
  checkSysctls(config.linux.sysctls, config.linux.security.namespaces);
  bandwidthOf(config.annotations);
  checkResources('linux.resources', config.linux.resources);
  checkResources('linux.overhead', config.linux.overhead);
}

/** InvalidArgument in the form `field value reason`. */
export const refuse = (field: string, value: unknown, reason: string, hint: string): CrispError =>
  new CrispError('InvalidArgument', `${field} ${JSON.stringify(value)} ${reason}`, { hint });

/** `;` and `=` separate the fields of CNI_ARGS, `/` those of paths. */
const NAME = /^[^\s\p{C};=/]{1,253}$/u;

function checkMetadata({ name, namespace, uid, attempt }: SandboxMetadata): void {
  const hint = 'give 1 to 253 printable characters without spaces, / ; and =';
  if (!NAME.test(name)) throw refuse('metadata.name', name, 'is not a valid pod name', hint);
  if (!NAME.test(namespace))
    throw refuse('metadata.namespace', namespace, 'is not a valid namespace name', hint);
  if (uid !== '' && !NAME.test(uid)) throw refuse('metadata.uid', uid, 'is not a valid uid', hint);
  if (!Number.isInteger(attempt) || attempt < 0 || attempt > 0xffff_ffff) {
    throw refuse('metadata.attempt', attempt, 'is out of range', 'give a number from 0 to 4294967295');
  }
}

/**
 * The kernel holds 64 bytes of any kind, a name with a dot at its end (a kubelet without a cluster domain) among them.
 * Only what would make more than one line of /etc/hostname or the environment is refused.
 */
function checkHostname(hostname: string): void {
  if (Buffer.byteLength(hostname) <= 64 && /^[^\p{C}\p{Zl}\p{Zp}]*$/u.test(hostname)) return;
  throw refuse(
    'hostname',
    hostname,
    'is not a valid host name',
    'give at most 64 bytes without control characters',
  );
}

function checkLogDirectory(directory: string): void {
  if (directory === '') return;
  const clean =
    directory.startsWith('/') && !directory.includes('\0') && !directory.split('/').includes('..');
  if (!clean)
    throw refuse(
      'log_directory',
      directory,
      'is not a valid absolute path',
      'give an absolute path without ..',
    );
}

/** One word each: a line break would write further lines into the pod's resolv.conf. */
function checkDns({ servers, searches, options }: DnsConfig): void {
  for (const [field, words] of Object.entries({ servers, searches, options })) {
    const bad = words.find((word) => !/^[^\s\p{C}]{1,255}$/u.test(word));
    if (bad !== undefined)
      throw refuse(`dns_config.${field}`, bad, 'is not one word', 'give each entry as one word');
  }
}

function checkPort(port: PortMapping, index: number): void {
  const field = `port_mappings[${index}]`;
  const { protocol, containerPort, hostPort, hostIp } = port;
  if (!['tcp', 'udp', 'sctp'].includes(protocol)) {
    throw refuse(`${field}.protocol`, protocol, 'is unknown', 'give TCP, UDP or SCTP');
  }
  if (!isPort(hostPort))
    throw refuse(`${field}.host_port`, hostPort, 'is not a valid port', 'give 0 (none) to 65535');
  if (!isPort(containerPort) || (hostPort > 0 && containerPort === 0)) {
    throw refuse(`${field}.container_port`, containerPort, 'is not a valid port', 'give 1 to 65535');
  }
  if (hostIp !== '' && isIP(hostIp) === 0) {
    throw refuse(
      `${field}.host_ip`,
      hostIp,
      'is not a valid IP address',
      'give an address of the node, or nothing for all',
    );
  }
}

const isPort = (port: number): boolean => Number.isInteger(port) && port >= 0 && port <= 65_535;

/** Unified names become file names below the pod's cgroup; the `cgroup.` files move and kill, they do not limit. */
export function checkResources(field: string, resources: LinuxResources | undefined): void {
  for (const [name, value] of Object.entries(resources?.unified ?? {})) {
    if (!/^(?!cgroup\.)[a-z0-9_]+(\.[A-Za-z0-9_]+)+$/.test(name)) {
      throw refuse(
        `${field}.unified`,
        name,
        'is not a cgroup file',
        'give the name of a controller file: memory.high',
      );
    }
    if (/[\0\n]/.test(value))
      throw refuse(`${field}.unified.${name}`, value, 'has several lines', 'give one line');
  }
  // -1: no limit, where the kernel has such a thing.
  const least = {
    cpuPeriod: 0n,
    cpuShares: 0n,
    cpuQuota: -1n,
    memoryLimitBytes: -1n,
    memorySwapLimitBytes: -1n,
  };
  for (const name of Object.keys(least) as (keyof typeof least)[]) {
    const number = resources?.[name] ?? 0n;
    if (number < least[name])
      throw refuse(`${field}.${name}`, String(number), 'is negative', 'use 0 for unset');
  }
  for (const name of ['cpusetCpus', 'cpusetMems'] as const) {
    const list = resources?.[name] ?? '';
    if (!/^[0-9,-]*$/.test(list))
      throw refuse(`${field}.${name}`, list, 'is not a valid list', 'give a list such as 0-3,8');
  }
}
