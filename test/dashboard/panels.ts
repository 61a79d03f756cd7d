/** The panels of deploy/monitoring/dashboard.json and their data, as Grafana would ask for it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Prometheus, Series } from './prometheus.ts';

const DASHBOARD = join(import.meta.dirname, '../../deploy/monitoring/dashboard.json');
/** Seconds between two points of a graph. */
const STEP = 1;

interface Target {
  readonly expr: string;
  readonly legendFormat?: string;
}

/** What is used of a panel's JSON. */
export interface Panel {
  readonly type: 'row' | 'stat' | 'timeseries';
  readonly title: string;
  /** In columns, 24 of them, and rows. */
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly Target[];
  readonly fieldConfig?: {
    readonly defaults: {
      readonly unit?: string;
      readonly noValue?: string;
      readonly custom?: { readonly stacking?: { readonly mode: string } };
    };
  };
}

export interface Line {
  readonly name: string;
  readonly values: Series['values'];
}

export interface PanelData {
  readonly panel: Panel;
  readonly lines: readonly Line[];
}

export const panels = (): readonly Panel[] =>
  (JSON.parse(readFileSync(DASHBOARD, 'utf8')) as { panels: readonly Panel[] }).panels;

/** The lines of a panel between two times, in seconds. */
export async function dataOf(
  panel: Panel,
  prometheus: Prometheus,
  from: number,
  to: number,
): Promise<PanelData> {
  const lines = await Promise.all(
    (panel.targets ?? []).map(async ({ expr, legendFormat = '' }) =>
      (await prometheus.range(withVariables(expr, to - from), from, to, STEP)).map(({ metric, values }) => ({
        name: legendOf(legendFormat, metric),
        values: values.filter(([, value]) => Number.isFinite(value)),
      })),
    ),
  );
  return { panel, lines: lines.flat().filter(({ values }) => values.length > 0) };
}

/** All nodes and jobs. */
const withVariables = (expression: string, range: number): string =>
  expression
    .replaceAll(/\$(job|instance)\b/g, '.+')
    .replaceAll('$__rate_interval', '15s')
    .replaceAll('$__range', `${Math.round(range)}s`);

const legendOf = (format: string, metric: Readonly<Record<string, string>>): string =>
  format.replaceAll(/{{\s*(\w+)\s*}}/g, (_all, label: string) => metric[label] ?? '');
