/**
 * Compiles api.proto into `cri/v1/generated/`: `api.js` (protobufjs' static code) and `api.d.ts` (written here, since
 * protobufjs' own declarations make every field of a decoded message optional). Run by bin/setup.
 */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import protobuf from 'protobufjs';
import { main as pbjs } from 'protobufjs-cli/pbjs.js';
import { CrispError } from '#core/errors.ts';
import { declarations, serviceTable, shapeTable } from './declarations.ts';

const here = join(import.meta.dirname, 'cri', 'v1');
const proto = join(here, 'api.proto');
const target = join(here, 'generated');

/** protobufjs' static module: 64-bit values as Long, without code that crisp does not call. */
function compile(): Promise<string> {
  const options =
    '-t static-module -w esm -r crisp-cri-v1 --force-long --no-verify --no-delimited --no-typeurl';
  const args = [...options.split(' '), '--no-service', '--no-comments', proto];
  return new Promise((resolve, reject) => {
    pbjs(args, (error, output) => (output === undefined || error ? reject(error) : resolve(output)));
  });
}

/**
 * Makes maps without a prototype, so that a key such as `constructor` exists only when it was sent. Three places per
 * map field: constructor, decode and fromObject.
 */
function harden(code: string, mapFields: number): string {
  let replaced = 0;
  const hardened = code.replaceAll(/\b((?:this|message)\.\w+ = )\{\};/g, (_, assignment: string) => {
    replaced++;
    return `${assignment}$Object.create(null);`;
  });
  if (replaced !== 3 * mapFields) {
    throw new CrispError(
      'Internal',
      `${proto}: ${replaced} maps found in the generated code instead of ${3 * mapFields}`,
    );
  }
  return hardened;
}

/**
 * Creates each message and enum at its first use: a daemon needs a third of them, and one that is not created costs a line of
 * text instead of a dozen functions.
 */
function defer(code: string, types: number): string {
  let [begins, ends] = [0, 0];
  const deferred = code
    .replaceAll(/^ {8}v1\.(\w+) = \(function\(\) \{$/gm, (_, name: string) => {
      begins++;
      return `        $deferred(v1, "${name}", function() {`;
    })
    .replaceAll(/^ {8}\}\)\(\);$/gm, () => {
      ends++;
      return '        });';
    });
  if (begins !== types || ends !== types) {
    throw new CrispError(
      'Internal',
      `${proto}: ${begins} begins and ${ends} ends of types found in the generated code instead of ${types}`,
    );
  }
  return `${deferred}${DEFERRED}`;
}

/** A property that is computed when it is first read, and then is an ordinary one. */
const DEFERRED = `
function $deferred(target, name, make) {
    const settle = (value) => Object.defineProperty(target, name, { value, enumerable: true, configurable: true, writable: true });
    Object.defineProperty(target, name, { enumerable: true, configurable: true, set: settle, get: () => (settle(make()), target[name]) });
}
`;

const countMaps = (namespace: protobuf.NamespaceBase): number =>
  namespace.nestedArray.reduce((sum, nested) => {
    const own = nested instanceof protobuf.Type ? nested.fieldsArray.filter((field) => field.map).length : 0;
    return sum + own + (nested instanceof protobuf.Namespace ? countMaps(nested) : 0);
  }, 0);

const root = new protobuf.Root().loadSync(proto, { alternateCommentMode: true });
root.resolveAll();
const v1 = root.lookup('runtime.v1');
if (!(v1 instanceof protobuf.Namespace)) throw new CrispError('Internal', `${proto}: no package runtime.v1`);

const isType = (item: protobuf.ReflectionObject): boolean =>
  item instanceof protobuf.Type || item instanceof protobuf.Enum;
const code = defer(harden(await compile(), countMaps(v1)), v1.nestedArray.filter(isType).length);
mkdirSync(target, { recursive: true });
const put = (name: string, text: string) => {
  writeFileSync(join(target, `${name}.new`), text);
  renameSync(join(target, `${name}.new`), join(target, name));
};
put('api.d.ts', declarations(v1));
put('api.js', `${code}\nexport const v1 = runtime.v1;\n${serviceTable(v1)}${shapeTable(v1)}`); // last: bin/setup compares its mtime
