/** What a case works with: pods of its own on the node under test, waits for what they become, and what runs in them. */
import assert from 'node:assert/strict';
import type { CoreV1Event, V1ConfigMap, V1Job, V1JobSpec, V1Pod, V1Secret } from '@kubernetes/client-node';
import { Skip } from './case.ts';
import type { Facts } from './cluster/facts.ts';
import { ApiError, type Query, type Request, type Rest } from './cluster/rest.ts';
import { type ExecOptions, type ExecResult, exec, type PodContainer } from './cluster/sessions.ts';
import { containerOf, describePod, eventLines, lastWarning } from './cluster/states.ts';
import type { Watched } from './cluster/watched.ts';
import { CASE_LABEL, jobManifest, type Placement, type PodSketch, podManifest, slugOf } from './manifest.ts';

/** The run that all cases share. */
export interface Cluster {
  readonly rest: Rest;
  readonly facts: Facts;
  readonly namespace: string;
  readonly image: string;
  readonly timeoutMs: number;
  readonly pods: Watched<V1Pod>;
  readonly events: Watched<CoreV1Event>;
  readonly jobs: Watched<V1Job>;
}

export class Trial {
  readonly cluster: Cluster;
  /** Aborted when the run is interrupted. */
  readonly signal: AbortSignal;
  readonly #placement: Placement;
  readonly #names = new Set<string>();

  constructor(cluster: Cluster, caseName: string, signal: AbortSignal) {
    this.cluster = cluster;
    this.signal = signal;
    const { namespace, image, facts } = cluster;
    this.#placement = { namespace, image, node: facts.node.name, caseName };
  }

  get facts(): Facts {
    return this.cluster.facts;
  }

  /** A path below the namespace of the run, `pods/a`. */
  path(rest: string): string {
    return `/api/v1/namespaces/${this.cluster.namespace}/${rest}`;
  }

  /** For an object of this case; the last part may be given to several kinds of objects. */
  name(suffix: string): string {
    const name = `${slugOf(this.#placement.caseName)}-${suffix}`;
    this.#names.add(name);
    return name;
  }

  /** Creates a pod and returns its name. Skips the case where admission or RBAC forbids such a pod. */
  async create(sketch: PodSketch, suffix = 'pod'): Promise<string> {
    const name = this.name(suffix);
    await this.#admit(this.path('pods'), podManifest(name, sketch, this.#placement));
    return name;
  }

  /** Creates a pod, and waits until all of it is ready. */
  async start(sketch: PodSketch, suffix = 'pod'): Promise<string> {
    const name = await this.create(sketch, suffix);
    await this.until(name, 'the pod is ready', (pod) => {
      const { phase, conditions } = pod.status ?? {};
      if (phase === 'Failed' || phase === 'Succeeded') throw new Error(`it ended: ${this.#describe(name)}`);
      return conditions?.some(({ type, status }) => type === 'Ready' && status === 'True');
    });
    return name;
  }

  /** Creates a pod, and waits until it has ended: what its only container, or `main`, has logged and returned. */
  async finish(sketch: PodSketch, suffix = 'pod'): Promise<{ name: string; pod: V1Pod; log: string }> {
    const name = await this.create(sketch, suffix);
    const pod = await this.until(name, 'the pod has ended', (seen) =>
      /^(Succeeded|Failed)$/.test(seen.status?.phase ?? '') ? seen : undefined,
    );
    if (containerOf(pod, 'main')?.state?.terminated === undefined) return { name, pod, log: '' };
    const log = this.log(name);
    // A container that could not be started, or an evicted pod, may have none.
    return { name, pod, log: pod.status?.phase === 'Succeeded' ? await log : await log.catch(() => '') };
  }

  /** `finish` of a script that must succeed; its log. */
  async output(script: string, sketch: PodSketch = {}): Promise<string> {
    const containers = [{ ...sketch.containers?.[0], script }, ...(sketch.containers?.slice(1) ?? [])];
    const { name, pod, log } = await this.finish({ ...sketch, containers });
    assert.equal(pod.status?.phase, 'Succeeded', `${this.#describe(name)}; its log: ${log.trim()}`);
    return log;
  }

  /** Waits until `found` returns something that is neither undefined nor false; a pod that is gone is not passed to it. */
  async until<R>(name: string, what: string, found: (pod: V1Pod) => R | undefined | false): Promise<R> {
    const { pods, timeoutMs } = this.cluster;
    const pick = (): R | undefined => {
      const pod = pods.get(name);
      const value = pod && found(pod);
      return value === false ? undefined : value;
    };
    return await pods.until(pick, {
      what: `${name}: ${what}`,
      timeoutMs,
      signal: this.signal,
      reason: () => this.#describe(name),
    });
  }

  /** Waits for an event of a pod of this case: a substring of its reason and one of its message. */
  async untilEvent(object: string, reason: string, message = ''): Promise<void> {
    const { events, timeoutMs } = this.cluster;
    const matches = (event: CoreV1Event): boolean =>
      event.involvedObject.name === object &&
      (event.reason ?? '').includes(reason) &&
      (event.message ?? '').includes(message);
    await events.until(() => events.all().some(matches) || undefined, {
      what: `${object}: an event ${reason}${message && ` with '${message}'`}`,
      timeoutMs,
      signal: this.signal,
      reason: () => eventLines(events.all(), (name) => name === object).join(' | '),
    });
  }

  /** Polls what no watch shows (files in a volume, stats) until it is there. Errors of `found` are the reason at the deadline. */
  async poll<R>(what: string, found: () => Promise<R | undefined | false>): Promise<R> {
    const deadline = AbortSignal.timeout(this.cluster.timeoutMs);
    let last: unknown;
    for (;;) {
      this.signal.throwIfAborted();
      try {
        const value = await found();
        if (value !== undefined && value !== false) return value;
        last = undefined;
      } catch (error) {
        if (error instanceof Skip) throw error;
        last = error;
      }
      if (deadline.aborted) {
        const reason = last instanceof Error ? last.message : 'not there';
        throw new Error(`${what}: not within ${this.cluster.timeoutMs / 1000} s: ${reason}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }

  target(pod: string, container = 'main'): PodContainer {
    return { namespace: this.cluster.namespace, pod, container };
  }

  async exec(
    pod: string,
    command: readonly string[],
    options: Omit<ExecOptions, 'signal'> & { readonly container?: string } = {},
  ): Promise<ExecResult> {
    const signal = AbortSignal.any([this.signal, AbortSignal.timeout(this.cluster.timeoutMs)]);
    const { container = 'main', ...rest } = options;
    return await exec(this.cluster.rest.config, this.target(pod, container), command, { ...rest, signal });
  }

  /** What a script in a container prints. Throws where it fails. */
  async shell(pod: string, script: string, container = 'main'): Promise<string> {
    const { code, stdout, stderr } = await this.exec(pod, ['sh', '-c', script], { container });
    if (code !== 0) throw new Error(`${script}: exit code ${code}: ${stderr.toString().trim()}`);
    return stdout.toString();
  }

  async log(pod: string, query: Query = {}): Promise<string> {
    const all = { container: 'main', ...query };
    return await this.cluster.rest.text('GET', this.path(`pods/${pod}/log`), {
      query: all,
      signal: this.signal,
    });
  }

  async patch<T>(path: string, contentType: string, body: unknown): Promise<T> {
    return await this.cluster.rest.json<T>('PATCH', path, { body, contentType, signal: this.signal });
  }

  async delete(pod: string, query: Query = {}): Promise<void> {
    await this.cluster.rest.text('DELETE', this.path(`pods/${pod}`), { query, signal: this.signal });
  }

  async createJob(spec: Omit<V1JobSpec, 'template'>, pod: PodSketch): Promise<string> {
    const name = this.name('job');
    const path = `/apis/batch/v1/namespaces/${this.cluster.namespace}/jobs`;
    await this.#admit(path, jobManifest(name, spec, pod, this.#placement));
    return name;
  }

  /** Waits until the job has one of these conditions, and returns it. */
  async untilJob(name: string, ...types: readonly string[]): Promise<V1Job> {
    const { jobs, timeoutMs } = this.cluster;
    const has = (job: V1Job): boolean =>
      job.status?.conditions?.some(({ type, status }) => types.includes(type) && status === 'True') ?? false;
    return await jobs.until(
      () => {
        const job = jobs.get(name);
        return job && has(job) ? job : undefined;
      },
      {
        what: `${name}: the job is ${types.join(' or ')}`,
        timeoutMs,
        signal: this.signal,
        reason: () => this.eventsOfCase().join(' | ') || 'no events',
      },
    );
  }

  async createConfigMap(data: Record<string, string>): Promise<string> {
    const name = this.name('config');
    const body: V1ConfigMap = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data };
    await this.#admit(this.path('configmaps'), body);
    return name;
  }

  async createSecret(stringData: Record<string, string>): Promise<string> {
    const name = this.name('secret');
    const body: V1Secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name }, stringData };
    await this.#admit(this.path('secrets'), body);
    return name;
  }

  /** What the kubelet of the node serves, by the API server's proxy. Skips the case where this user may not use it. */
  async kubelet(path: string): Promise<string> {
    const node = encodeURIComponent(this.facts.node.name);
    return await this.#permitted(
      this.cluster.rest.text('GET', `/api/v1/nodes/${node}/proxy/${path}`, { signal: this.signal }),
    );
  }

  /** Of the objects of this case, oldest first. */
  eventsOfCase(): string[] {
    const mine = (name: string): boolean =>
      [...this.#names].some((own) => name === own || name.startsWith(`${own}-`));
    return eventLines(this.cluster.events.all(), mine);
  }

  /** Deletes the pods and jobs of this case; the rest goes with the namespace. Errors are left to the deletion of the namespace. */
  async cleanUp(): Promise<void> {
    const query = {
      labelSelector: `${CASE_LABEL}=${slugOf(this.#placement.caseName)}`,
      propagationPolicy: 'Background',
    };
    const jobs = `/apis/batch/v1/namespaces/${this.cluster.namespace}/jobs`;
    for (const path of [jobs, this.path('pods')])
      await this.cluster.rest.text('DELETE', path, { query }).catch(() => undefined);
  }

  #describe(name: string): string {
    const warning = lastWarning(this.cluster.events.all(), name);
    return describePod(name, this.cluster.pods.last(name)) + (warning ? `; ${warning}` : '');
  }

  async #admit(path: string, body: Request['body']): Promise<void> {
    await this.#permitted(this.cluster.rest.json('POST', path, { body, signal: this.signal }));
  }

  async #permitted<R>(request: Promise<R>): Promise<R> {
    try {
      return await request;
    } catch (error) {
      if (error instanceof ApiError && error.code === 403)
        throw new Skip(`the API server forbids it: ${error.detail}`);
      throw error;
    }
  }
}
