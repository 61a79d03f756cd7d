/**
 * The SELinux labels of pods. One that names no level gets a pair of categories that no other pod has, until it is removed:
 * the records of pods and containers are what says which are taken, so that a restart changes nothing.
 */
import {
  appliedLabels,
  atLevel,
  checkSelinuxOptions,
  levelOf,
  parseContext,
  type SelinuxDefaults,
  type SelinuxLabels,
  withOptions,
} from '#core/model/selinux.ts';
import type { Selinux } from '#linux/ports/selinux.ts';
import type { SandboxConfig } from '../config.ts';
import { freePair, pairOf } from './category-pairs.ts';

/** The labels of a pod that is being made; its pair is its own until the record has it, at the end of the scope. */
export interface ReservedLabels extends Disposable {
  /** Undefined where SELinux is not in use. */
  readonly labels: SelinuxLabels | undefined;
}

export class PodLabels {
  readonly #defaults: SelinuxDefaults | undefined;
  readonly #selinux: Pick<Selinux, 'canonical'>;
  readonly #recorded: () => Iterable<string>;
  readonly #reserved = new Set<{ readonly pair: string }>();

  /** `recorded`: the contexts in the records of all pods and containers. */
  constructor(
    defaults: SelinuxDefaults | undefined,
    selinux: Pick<Selinux, 'canonical'>,
    recorded: () => Iterable<string>,
  ) {
    this.#defaults = defaults;
    this.#selinux = selinux;
    this.#recorded = recorded;
  }

  /** Throws InvalidArgument for labels that the policy does not know, ResourceExhausted where no pair is free. */
  reserve({ linux }: SandboxConfig): ReservedLabels {
    if (!this.#defaults) return { labels: undefined, [Symbol.dispose]() {} };
    const options = linux.security.selinux;
    checkSelinuxOptions(options);
    const requested = withOptions(this.#defaults, options);
    const labels = options?.level ? requested : this.#withPair(requested, this.#defaults);
    const known = {
      process: this.#selinux.canonical(labels.process),
      files: this.#selinux.canonical(labels.files),
    };
    const reserved = { pair: pairOf(levelOf(known.process)) ?? '' };
    this.#reserved.add(reserved);
    return { labels: known, [Symbol.dispose]: () => void this.#reserved.delete(reserved) };
  }

  /** What of a pod's labels its pause process and its files get. */
  applied({ linux }: SandboxConfig, labels: SelinuxLabels | undefined): SelinuxLabels {
    const { namespaces, privileged } = linux.security;
    return appliedLabels(
      labels,
      {
        privileged,
        sharesNode: namespaces.pid === 'node' || namespaces.ipc === 'node',
        onNodeNetwork: namespaces.network === 'node',
      },
      this.#defaults,
    );
  }

  /** A policy without levels has no categories. */
  #withPair(labels: SelinuxLabels, { process, categoryRange }: SelinuxDefaults): SelinuxLabels {
    const [sensitivity = ''] = (parseContext(process)?.level ?? '').split(/[-:]/);
    if (sensitivity === '') return labels;
    const taken = new Set([...this.#reserved].map(({ pair }) => pair));
    for (const context of this.#recorded()) {
      const pair = pairOf(levelOf(context));
      if (pair !== undefined) taken.add(pair);
    }
    return atLevel(labels, `${sensitivity}:${freePair(categoryRange, taken)}`);
  }
}
