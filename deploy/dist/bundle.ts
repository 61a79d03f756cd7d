/** crisp's sources and packages as a few JavaScript files, without types, comments and unused code. */
import { globSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, relative } from 'node:path';
import { build, type Plugin } from 'esbuild';

/** A worker thread's file in the sources: relative to the file that starts it. */
const WORKER = /new URL\('(\.[^']*\.ts)', import\.meta\.url\)/g;
/** CommonJS packages load Node's modules by `require`, which an ES module does not have. */
const REQUIRE = "const require = process.getBuiltinModule('node:module').createRequire(import.meta.url);";
/** Replaces koffi's loader, which selects among many platforms; here there is one, beside the bundle. */
const KOFFI = `export default require('./koffi.node');`;

/** A chunk that is loaded on demand. Node keeps the source of an imported module twice, of a required one once. */
const IMPORT = /\bimport\(("\.\/[^"]+\.js")\)/g;
/** An import of Node's own modules reads every export, and some of those load megabytes when read: crypto has WebCrypto, util a diff. */
const BUILT_IN = /\bimport\{([^{}"]+)\}from("node:[a-z_/]+");/g;
/** What packages load for what crisp does not do: grpc-js to serve channelz, prom-client to push metrics and to add those of a cluster. */
const LEFT_OUT = /^@grpc\/proto-loader$|^\.\/lib\/(pushgateway|cluster)$/;
/** Evaluated when one of their exports is first read: most daemons never parse YAML, use TLS, or have prom-client write exemplars. */
const DEFERRED = /^(yaml|@opentelemetry\/api|(node:)?(http|https|tls|zlib))$/;

export interface Bundle {
  /** Files by name, for one directory together with koffi.node. */
  readonly files: ReadonlyMap<string, string>;
  /** Directories of the bundled packages, relative to the project. */
  readonly packages: readonly string[];
}

/** Bundles the command line with everything that it loads, and each worker as its own entry. */
export async function bundle(project: string): Promise<Bundle> {
  const { outputFiles, metafile } = await build({
    absWorkingDir: project,
    entryPoints: [{ in: 'cli/main.ts', out: 'main' }, ...workers(project)],
    outdir: 'js',
    chunkNames: '[name]-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    // Names are kept, so that a stack in the log is readable.
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    banner: { js: REQUIRE },
    plugins: [workersBeside(project), koffiBeside, leftOut, partOfUndici(project), deferred(project)],
    write: false,
    metafile: true,
    logLevel: 'warning',
  });
  const used = Object.values(metafile.outputs).flatMap((output) => Object.keys(output.inputs));
  return {
    files: new Map(outputFiles.map(({ path, text }) => [basename(path), requiring(text)])),
    packages: [...new Set([...used.flatMap(packageOf), 'node_modules/koffi'])].sort(),
  };
}

/** The name of a worker's entry: its path in the project, joined by `-`. */
const entryName = (path: string): string => path.replace(/\.ts$/, '').replaceAll('/', '-');

function workers(project: string): { in: string; out: string }[] {
  const sources = globSync('{linux,*-service,pod-sandbox,cri,daemon,core}/**/*.ts', { cwd: project });
  const found = sources.flatMap((source) =>
    [...readFileSync(join(project, source), 'utf8').matchAll(WORKER)].map((match) =>
      join(dirname(source), match[1] ?? ''),
    ),
  );
  return [...new Set(found)].sort().map((path) => ({ in: path, out: entryName(path) }));
}

/** Rewrites the URL of a worker to a file beside the bundle, whichever chunk starts it. */
const workersBeside = (project: string): Plugin => ({
  name: 'workers beside',
  setup(build) {
    build.onLoad({ filter: /\.ts$/ }, ({ path }) => {
      const source = readFileSync(path, 'utf8');
      const entry = (name: string) => entryName(join(dirname(relative(project, path)), name));
      const contents = source.replaceAll(
        WORKER,
        (_, name: string) => `new URL('./${entry(name)}.js', import.meta.url)`,
      );
      return { contents, loader: 'ts' };
    });
  },
});

const koffiBeside: Plugin = {
  name: 'koffi beside',
  setup(build) {
    build.onResolve({ filter: /^koffi$/ }, () => ({ path: 'koffi', namespace: 'beside' }));
    build.onResolve({ filter: /\.node$/ }, ({ path }) => ({ path, external: true }));
    build.onLoad({ filter: /.*/, namespace: 'beside' }, () => ({ contents: KOFFI }));
  },
};

const leftOut: Plugin = {
  name: 'left out',
  setup(build) {
    build.onResolve({ filter: LEFT_OUT }, ({ path }) => ({ path, namespace: 'left-out' }));
    build.onLoad({ filter: /.*/, namespace: 'left-out' }, () => ({ contents: 'module.exports = {};' }));
  },
};

const deferred = (project: string): Plugin => ({
  name: 'deferred',
  setup(build) {
    build.onResolve({ filter: DEFERRED }, ({ path, namespace, resolveDir }) =>
      namespace === 'deferred' ? undefined : { path, namespace: 'deferred', pluginData: resolveDir },
    );
    build.onLoad({ filter: /.*/, namespace: 'deferred' }, ({ path, pluginData }) => ({
      contents: `
        for (const name of ${JSON.stringify(exportsOf(path, project))})
          Object.defineProperty(exports, name, { enumerable: true, get: () => require(${JSON.stringify(path)})[name] });`,
      resolveDir: pluginData as string,
    }));
  },
});

const exportsOf = (name: string, project: string): string[] =>
  Object.keys(createRequire(join(project, 'package.json'))(name) as object);

/** What crisp uses of undici; its index loads fetch, WebSocket, caches and mocks as well. */
const UNDICI = `
  Object.assign(require('./lib/dispatcher/dispatcher').prototype, require('./lib/api'));
  module.exports = {
    Agent: require('./lib/dispatcher/agent'),
    Pool: require('./lib/dispatcher/pool'),
    Socks5ProxyAgent: require('./lib/dispatcher/socks5-proxy-agent'),
    buildConnector: require('./lib/core/connect'),
  };`;

const partOfUndici = (project: string): Plugin => ({
  name: 'part of undici',
  setup(build) {
    build.onResolve({ filter: /^undici$/ }, () => ({ path: 'undici', namespace: 'part-of-undici' }));
    build.onLoad({ filter: /.*/, namespace: 'part-of-undici' }, () => ({
      contents: UNDICI,
      resolveDir: join(project, 'node_modules/undici'),
    }));
  },
});

const requiring = (text: string): string =>
  text
    .replaceAll(IMPORT, (_, file: string) => `Promise.resolve().then(()=>require(${file}))`)
    .replaceAll(
      BUILT_IN,
      (_, names: string, module: string) =>
        `const{${names.replaceAll(' as ', ':')}}=process.getBuiltinModule(${module});`,
    );

const packageOf = (path: string): string[] =>
  /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.slice(0, 1) ?? [];
