/** deploy/monitoring: the dashboard and the alerts name metrics and labels that crisp has, and Prometheus accepts them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { parse } from 'yaml';
import { Operation } from '#core/operation.ts';
import { checkMetrics } from '#daemon/check-metrics.ts';
import { containerMetrics } from '#daemon/container-metrics.ts';
import { registerGauges } from '#daemon/gauges.ts';
import { networkMetrics } from '#daemon/network-metrics.ts';
import { nriMetrics } from '#daemon/nri-metrics.ts';
import { pullMetrics } from '#daemon/pull-metrics.ts';
import { Metrics } from '#telemetry/metrics.ts';

const DEPLOY = join(import.meta.dirname, '../../deploy/monitoring');

interface Target {
  readonly expr: string;
  readonly datasource: { readonly uid: string };
}
interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly datasource?: { readonly type: string; readonly uid: string };
  readonly gridPos: { readonly h: number; readonly w: number; readonly x: number; readonly y: number };
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string } };
  readonly targets?: readonly Target[];
}
interface Variable {
  readonly name: string;
  readonly type: string;
  readonly definition?: string;
  readonly datasource?: { readonly uid: string };
}
interface Dashboard {
  readonly schemaVersion: number;
  readonly templating: { readonly list: readonly Variable[] };
  readonly panels: readonly Panel[];
}
interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

const dashboard = JSON.parse(readFileSync(join(DEPLOY, 'dashboard.json'), 'utf8')) as Dashboard;
const alerts = parse(readFileSync(join(DEPLOY, 'alerts.yaml'), 'utf8')) as { groups: { rules: Rule[] }[] };
const rules = alerts.groups.flatMap((group) => group.rules);
const panels = dashboard.panels.filter(({ type }) => type !== 'row');
const variables = dashboard.templating.list;

/** What a daemon serves at /metrics, with at least one sample of each metric. */
async function metricsText(): Promise<string> {
  const metrics = new Metrics({ version: '0' });
  const objects = { list: () => [{ state: 'running', monitor: {} }], leaks: () => [] };
  const images = { pulls: () => [], layers: () => ({ stored: { erofs: 1 }, bytes: { erofs: 1 } }) };
  const health = { troubles: () => [{ reason: 'ImageDamaged', podsFail: false }] };
  const processes = { alive: () => true };
  registerGauges(
    metrics,
    { pods: objects, containers: objects, images } as never,
    health as never,
    processes,
  );
  const pulls = pullMetrics(metrics);
  pulls.fetched({ registry: 'docker.io', configured: true, kind: 'mirror' }, 1);
  pulls.unpacked(1);
  pulls.pulled({ id: 'a', ms: 1, code: undefined, source: 'mirror', layers: { fetched: 1, shared: 1 } });
  checkMetrics(metrics);
  containerMetrics(metrics);
  const call = { plugin: 'bridge', command: 'ADD', way: 'exec', ms: 1, code: undefined } as const;
  networkMetrics(metrics).called(call, new Operation('RunPodSandbox'));
  const plugins = nriMetrics(metrics);
  plugins.called({ plugin: '10-a', event: 'CreateContainer', ms: 1, outcome: 'ok' });
  plugins.dropped('10-a', 'deadline');
  metrics.operation({ name: 'RunPodSandbox', id: 'a' }, 1, 'NetworkFailed');
  metrics.stage({ name: 'RunPodSandbox', id: 'a' }, { name: 'cni add', started: 0, ended: 1 });
  metrics.bug('rejection');
  metrics.watchProcess();
  const text = await metrics.text();
  metrics.close();
  return text;
}

/** The labels of each metric. */
const served = new Map<string, Set<string>>();
for (const line of (await metricsText()).split('\n')) {
  const [, name = '', labels = ''] = /^(\w+)(?:\{(.*)\})? /.exec(line) ?? [];
  const known = served.get(name) ?? new Set(['job', 'instance']);
  for (const [, label = ''] of labels.matchAll(/(\w+)="/g)) known.add(label);
  served.set(name, known);
}
/** Prometheus makes it itself, of each target. */
served.set('up', new Set(['job', 'instance']));

/** The metrics of an expression with the labels that it selects by. */
function selectors(expr: string): { name: string; labels: string[] }[] {
  const bare = expr.replaceAll(
    /\b(?:by|without|on|ignoring) *\([^)]*\)|\b(?:or|and|unless|offset) |\[[^\]]*\]/g,
    ' ',
  );
  return [...bare.matchAll(/\b([a-z_][a-z0-9_]*)\b(?! *\()(?:\{([^}]*)\})?/g)]
    .filter(([word]) => !/^\d|^[smhd]$/.test(word))
    .map(([, name = '', matchers = '']) => ({
      name,
      labels: [...matchers.matchAll(/(\w+) *[=!]/g)].map(([, label = '']) => label),
    }));
}

const expressions: readonly [where: string, expr: string][] = [
  ...rules.map(({ alert, expr }): [string, string] => [alert, expr]),
  ...panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }): [string, string] => [title, expr])),
  ...variables.flatMap(({ name, definition }): [string, string][] =>
    definition ? [[name, definition.replace(/^label_values\((.*), \w+\)$/, '$1')]] : [],
  ),
];

test('every metric that is named exists, with the labels by which it is selected and summed', () => {
  const used = new Set<string>();
  for (const [where, expr] of expressions) {
    const found = selectors(expr);
    assert.ok(found.length > 0, `${where}: ${expr}`);
    const labels = new Set(found.flatMap(({ name }) => [...(served.get(name) ?? [])]));
    for (const { name, labels: by } of found) {
      assert.ok(served.has(name), `${where}: ${name}`);
      for (const label of by) assert.ok(served.get(name)?.has(label), `${where}: ${name} has no ${label}`);
      used.add(name.replace(/_(bucket|sum|count)$/, ''));
    }
    for (const [, list = ''] of expr.matchAll(/\bby *\(([^)]*)\)/g))
      for (const label of list.split(/, */)) assert.ok(labels.has(label), `${where}: by ${label}`);
  }
  const own = [...served.keys()].filter((name) => name.startsWith('crisp_'));
  const shown = own.filter((name) => !used.has(name.replace(/_(bucket|sum|count)$/, '')));
  assert.deepEqual(shown, [], 'metrics of crisp that are on no panel and in no alert');
});

test('panels have a title, a unit, a description, and a datasource that is the variable; none overlap', () => {
  assert.ok(dashboard.schemaVersion >= 39);
  assert.deepEqual(
    variables.filter(({ type }) => type === 'datasource').map(({ name }) => name),
    ['datasource'],
  );
  const uids = [...panels, ...panels.flatMap(({ targets = [] }) => targets), ...variables]
    .filter((item) => !('type' in item && item.type === 'datasource'))
    .map(({ datasource }) => datasource?.uid);
  assert.deepEqual([...new Set(uids)], ['$' + '{datasource}']);
  for (const { title, description = '', fieldConfig, targets = [] } of panels) {
    assert.ok(title.length > 2 && description.length > 8 && targets.length > 0, title);
    assert.ok(fieldConfig?.defaults.unit, title);
  }
  const ids = dashboard.panels.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  const cells = dashboard.panels.flatMap(({ gridPos: { h, w, x, y } }) => {
    assert.ok(x + w <= 24);
    return Array.from({ length: h * w }, (_, at) => `${x + (at % w)},${y + Math.floor(at / w)}`);
  });
  assert.equal(new Set(cells).size, cells.length);
  const names = new Set(variables.map(({ name }) => name));
  for (const [where, expr] of expressions)
    for (const [, name = ''] of expr.matchAll(/\$(\w+)/g))
      assert.ok(names.has(name) || ['__rate_interval', '__range'].includes(name), `${where}: ${name}`);
});

test('each alert has a severity, a summary and a description', () => {
  assert.equal(new Set(rules.map(({ alert }) => alert)).size, rules.length);
  for (const { alert, labels, annotations } of rules) {
    assert.match(alert, /^Crisp[A-Z]/);
    assert.match(labels['severity'] ?? '', /^(critical|warning)$/, alert);
    assert.ok(annotations['summary'] && annotations['description'], alert);
  }
});

const PROMTOOL = process.env['PROMTOOL'] ?? 'promtool';
const skip =
  spawnSync(PROMTOOL, ['--version']).status !== 0 &&
  'promtool is not installed: it is in the package prometheus, or PROMTOOL names it';

function promtool(...args: readonly string[]): void {
  const { status, stdout, stderr } = spawnSync(PROMTOOL, args, { encoding: 'utf8' });
  assert.equal(status, 0, stdout + stderr);
}

test('promtool accepts the rules, and they fire as they should', { skip }, () => {
  promtool('check', 'rules', join(DEPLOY, 'alerts.yaml'));
  promtool('test', 'rules', join(import.meta.dirname, 'alerts.test.yaml'));
});

test("promtool accepts the dashboard's expressions", { skip }, () => {
  const directory = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? tmpdir(), 'monitoring-'));
  try {
    const records = panels.flatMap(({ id, targets = [] }) =>
      targets.map(({ expr }, at) => ({
        record: `panel:${id}:${at}`,
        expr: expr.replaceAll(/\$__\w+/g, '5m').replaceAll(/\$\w+/g, '.*'),
      })),
    );
    const file = join(directory, 'dashboard.json');
    writeFileSync(file, JSON.stringify({ groups: [{ name: 'dashboard', rules: records }] }));
    promtool('check', 'rules', file);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
