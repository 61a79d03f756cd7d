/** The text forms of the metrics, and which of them a scraper gets. */
import { type MetricObjectWithValues, type MetricValue, Registry } from 'prom-client';

/** `text`: the classic form, version 0.0.4; `openmetrics`: OpenMetrics 1.0, the only one that has exemplars. */
export type Form = 'text' | 'openmetrics';

export const CONTENT_TYPES: Readonly<Record<Form, string>> = {
  text: Registry.PROMETHEUS_CONTENT_TYPE,
  openmetrics: Registry.OPENMETRICS_CONTENT_TYPE,
};

/** What a registry has of each metric; prom-client's types leave out that the name can be read. */
interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  get(): Promise<MetricObjectWithValues<MetricValue<string>>>;
}

/** A registry whose metrics may have exemplars; `textOf` writes it. */
export function newRegistry(): Registry {
  const registry = new Registry<typeof Registry.OPENMETRICS_CONTENT_TYPE>();
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  return registry as unknown as Registry;
}

/**
 * The metrics of a registry in this form. prom-client renames counters when it writes OpenMetrics, and would write them wrongly
 * in the classic form from then on: what it writes are others, which read them.
 */
export async function textOf(registry: Registry, form: Form): Promise<string> {
  const written = form === 'openmetrics' ? newRegistry() : new Registry();
  for (const metric of registry.getMetricsAsArray() as unknown as readonly Metric[]) {
    const isFamily = form === 'openmetrics' && metric.type === 'counter';
    const name = isFamily ? metric.name.replace(/_total$/, '') : metric.name;
    const get = async () => ({ ...(await metric.get()), name });
    written.registerMetric({ name, help: metric.help, type: metric.type, get } as never);
  }
  return written.metrics();
}

interface Range {
  readonly type: string;
  readonly version: string | undefined;
  readonly quality: number;
}

function parseRange(text: string): Range {
  const [type = '', ...rest] = text.split(';').map((part) => part.trim().toLowerCase());
  const parameters = new Map(rest.map((part) => part.split('=', 2) as [string, string]));
  const quality = Number(parameters.get('q') ?? 1);
  const version = parameters.get('version')?.replaceAll('"', '');
  return { type, version, quality: quality >= 0 && quality <= 1 ? quality : 0 };
}

/**
 * The form for a scraper, by its Accept header (RFC 9110, section 12.5.1): OpenMetrics where it names that, and not the
 * classic form with a greater weight. Who accepts anything gets the classic one, as before.
 */
export function formFor(accept: string | undefined): Form {
  const ranges = (accept ?? '').split(',').map(parseRange);
  const weight = (type: string, version: string) =>
    Math.max(
      0,
      ...ranges
        .filter((range) => range.type === type && (range.version ?? version) === version)
        .map(({ quality }) => quality),
    );
  const open = weight('application/openmetrics-text', '1.0.0');
  return open > 0 && open >= weight('text/plain', '0.0.4') ? 'openmetrics' : 'text';
}
