/**
 * `npm run dashboard [FILE]`: draws deploy/monitoring/dashboard.json from the data of a daemon that works for two minutes, scraped by a
 * real Prometheus, into docs/dashboard.svg. Fails where a panel's expression is refused, and names the panels that have no data.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startDaemon } from '../harness/daemon.ts';
import { runIsolated } from '../harness/own-namespaces.ts';
import { startRegistry } from '../image-service/registry.ts';
import { draw } from './draw.ts';
import { dataOf, type PanelData, panels } from './panels.ts';
import { Prometheus } from './prometheus.ts';
import { pushImages, work } from './workload.ts';

const METRICS = '127.0.0.1:19090';
const WORK_MS = 120_000;
const INSIDE = 'CRISP_DASHBOARD_FILE';

async function inside(file: string): Promise<void> {
  const directory = mkdtempSync('/var/tmp/crisp-dashboard-');
  try {
    await using registry = await startRegistry(join(directory, 'registry'));
    await pushImages(registry.url);
    const daemon = await startDaemon({
      directory: join(directory, 'node'),
      cgroup: `/crisp-dashboard-${process.pid}`,
      registries: { [registry.host]: [] },
      metrics: METRICS,
      logLevel: 'info',
    });
    try {
      await using prometheus = await Prometheus.start(join(directory, 'prometheus'), { 'node-1': METRICS });
      const from = Date.now() / 1000;
      await work(daemon, directory, registry.host, WORK_MS);
      const to = Date.now() / 1000;
      const data = await Promise.all(panels().map((panel) => dataOf(panel, prometheus, from, to)));
      writeFileSync(
        file,
        draw(
          data,
          'crisp, one node for two minutes (drawn from Prometheus; Grafana has legends and tooltips)',
          from,
          to,
        ),
      );
      report(data, file);
    } finally {
      const { items } = await daemon.client.ListPodSandbox({});
      for (const { id } of items) await daemon.client.RemovePodSandbox({ podSandboxId: id });
      await daemon.stop();
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function report(data: readonly PanelData[], file: string): void {
  const drawn = data.filter(({ panel }) => panel.type !== 'row');
  const empty = drawn.filter(({ lines }) => lines.length === 0).map(({ panel }) => panel.title);
  console.log(
    `dashboard: ${drawn.length} panels in ${file}; nothing happened for: ${empty.join(', ') || 'none'}`,
  );
}

const file = process.env[INSIDE];
if (file !== undefined) await inside(file);
else {
  const target = process.argv[2] ?? join(import.meta.dirname, '../../docs/dashboard.svg');
  process.exitCode = runIsolated(import.meta.filename, { [INSIDE]: target }) ?? 1;
}
