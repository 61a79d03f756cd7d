/** crisp's sources and packages as a few JavaScript files, without types, comments and what nothing calls. */
import { globSync, readFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { build, type Plugin } from 'esbuild';

/** A worker thread's file as the sources name it: relative to the file that starts it. */
const WORKER = /new URL\('(\.[^']*\.ts)', import\.meta\.url\)/g;
/** Packages that came with CommonJS ask for Node's modules by `require`, which a module does not have. */
const REQUIRE = [
  "import { createRequire as __createRequire } from 'node:module';",
  'const require = __createRequire(import.meta.url);',
].join('');
/** Chosen and checked by koffi's own loader among many platforms; here there is one, beside the bundle. */
const KOFFI = `export default require('./koffi.node');`;

/** A part that is loaded when it is needed. Node keeps the text of one that is imported twice, of a required one once. */
const IMPORT = /\bimport\(("\.\/[^"]+\.js")\)/g;
/** Asked for by grpc-js where channelz is served, which crisp does not do. */
const LEFT_OUT = /^@grpc\/proto-loader$/;

export interface Bundle {
  /** Files by name; they lie together in one directory, with koffi.node. */
  readonly files: ReadonlyMap<string, string>;
  /** Directories of the packages that are part of it, below the project. */
  readonly packages: readonly string[];
}

/** Bundles the command line, with everything that it loads, and each worker as an entry of its own. */
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
    // Names stay: a stack in the log must say where it was.
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    banner: { js: REQUIRE },
    plugins: [workersBeside(project), koffiBeside, leftOut, required],
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

/** The worker's entry: its path below the project, in one word. */
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

/** Whoever starts a worker finds it beside itself, in whichever file it has come to lie. */
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

/** Of these an import looks at every export, and some load megabytes at the first look: http has a WebSocket. */
const required: Plugin = {
  name: 'required',
  setup(build) {
    build.onResolve({ filter: /^(node:)?(http|https|tls)$/ }, ({ path, namespace }) =>
      namespace === 'required' ? { path, external: true } : { path, namespace: 'required' },
    );
    build.onLoad({ filter: /.*/, namespace: 'required' }, ({ path }) => ({
      contents: `module.exports = require(${JSON.stringify(path)});`,
    }));
  },
};

const requiring = (text: string): string =>
  text.replaceAll(IMPORT, (_, file: string) => `Promise.resolve().then(()=>require(${file}))`);

const packageOf = (path: string): string[] =>
  /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.slice(0, 1) ?? [];
