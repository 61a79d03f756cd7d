import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import type { Processes } from '#linux/ports/kernel.ts';
import { Handlers } from './handlers.ts';

const base = mkdtempSync(join(tmpdir(), 'handlers-'));
after(() => rmSync(base, { recursive: true }));
const programs = Object.fromEntries(
  ['crun', 'runc', 'other'].map((name) => {
    writeFileSync(join(base, name), '', { mode: 0o755 });
    return [name, join(base, name)];
  }),
);
const quiet = () => {};
const log = { debug: quiet, info: quiet, warn: quiet, error: quiet, child: () => log };
/** Each program answers; `calls` has what was executed. */
const calls: string[] = [];
const processes = {
  run: async ({ argv }: { argv: readonly string[] }) => {
    calls.push(argv.join(' '));
    return { status: { code: 0 }, stdout: Buffer.from('runc version 1\n'), stderr: Buffer.alloc(0) };
  },
} as unknown as Processes;

const timeouts = { create: 1000, kill: 1000, runtime: 1000, relabel: 1000 };
/** Names that tests give to handlers which stand for crun and runc without an entry. */
const builtIn = ['usual', 'usual-crun'];
const optionsOf = (
  state: string,
  paths: Readonly<Record<string, string | undefined>>,
  defaultHandler = '',
) => ({
  state,
  timeouts,
  defaultHandler,
  handlers: Object.fromEntries(
    Object.entries(paths).map(([name, path = '']) => [
      name,
      { path, isBuiltIn: builtIn.includes(name), options: [], allowedAnnotations: [] },
    ]),
  ),
});
const stateOf = (name: string) => mkdtempSync(join(base, `${name}-`));
const unused = (_handler: string): boolean => false;

test('those that are the same stay, and their programs are not executed again', async () => {
  const state = stateOf('same');
  const first = optionsOf(state, { a: programs['runc'], b: programs['runc'] });
  const handlers = await Handlers.open(first, processes, false, log);
  const [a, b] = [handlers.get('a'), handlers.get('b')];
  calls.length = 0;
  const change = await handlers.prepare(
    optionsOf(state, { a: programs['runc'], b: programs['other'] }, 'b'),
    unused,
  );
  assert.ok(calls.every((call) => call.startsWith(`${programs['other']} `)));
  assert.deepEqual(
    [handlers.get('b'), handlers.defaultName],
    [b, 'a'],
    'nothing changes before it is applied',
  );
  change.apply();
  assert.equal(handlers.get('a'), a);
  assert.notEqual(handlers.get('b'), b);
  assert.equal(handlers.defaultName, 'b');
});

test('a removed one is not listed and can still be used, also after a restart, until it is configured anew', async () => {
  const state = stateOf('removed');
  const { handlers: both, ...rest } = optionsOf(state, { a: programs['runc'], b: programs['runc'] });
  const rlimits = [{ type: 'RLIMIT_CORE', soft: 0n, hard: 2n ** 64n - 1n }];
  const { b: second } = both;
  assert.ok(second);
  const all = { ...rest, handlers: { ...both, b: { ...second, rlimits } } };
  const less = optionsOf(state, { a: programs['runc'] });
  const handlers = await Handlers.open(all, processes, false, log);
  const b = handlers.get('b');
  (await handlers.prepare(less, unused)).apply();
  assert.deepEqual(handlers.names, ['a']);
  assert.equal(handlers.get('b'), b);
  const restarted = await Handlers.open(less, processes, false, log);
  assert.deepEqual(restarted.names, ['a']);
  assert.equal(restarted.get('b').executable, programs['runc']);
  assert.deepEqual(restarted.get('b').options.rlimits, rlimits, 'with what its containers get');
  assert.throws(() => restarted.get('c'), /"c" is not configured/);
  (await restarted.prepare(all, unused)).apply();
  assert.deepEqual(restarted.names, ['a', 'b']);
});

test('the default that was found stays, whatever else can be executed after a reload', async () => {
  const state = stateOf('default');
  const program = join(state, 'first');
  copyFileSync(programs['runc'] ?? '', program);
  const both = optionsOf(state, { a: program, b: programs['runc'] });
  const handlers = await Handlers.open(both, processes, false, log);
  assert.equal(handlers.defaultName, 'a');
  rmSync(program); // as while its package is upgraded
  (await handlers.prepare(both, unused)).apply();
  assert.equal(handlers.defaultName, 'a');
  (await handlers.prepare(optionsOf(state, { b: programs['runc'] }), unused)).apply();
  assert.equal(handlers.defaultName, 'b', 'it was removed');
});

test('while none works each is named; the first that can be executed later becomes the default, and stays it', async () => {
  const state = stateOf('later');
  const [first, second] = [join(state, 'first'), join(state, 'second')];
  const both = optionsOf(state, { a: first, b: second, usual: 'usual' });
  const handlers = await Handlers.open(both, processes, false, log);
  const { fallback = '', others, advice } = handlers.unusable;
  assert.match(
    fallback,
    /^a: program \S+first does not exist.*; b: .*second.*; usual: program usual is not in /,
  );
  assert.deepEqual([others.size, advice], [0, 'crun']);
  copyFileSync(programs['runc'] ?? '', second);
  await handlers.recheck();
  assert.equal(handlers.defaultName, 'b');
  assert.equal(handlers.unusable.fallback, undefined);
  assert.deepEqual([...handlers.unusable.others.keys()], ['a'], 'crun and runc need not be installed');
  copyFileSync(programs['runc'] ?? '', first);
  rmSync(second);
  await handlers.recheck();
  assert.equal(handlers.defaultName, 'b');
  assert.match(handlers.unusable.fallback ?? '', /^b: program \S+second does not exist/);
  (await handlers.prepare(both, unused)).apply();
  assert.equal(handlers.defaultName, 'b');
});

test('where crun is all that there is on hybrid cgroups, runc is missing', async () => {
  const state = stateOf('hybrid');
  const handlers = await Handlers.open(optionsOf(state, { a: programs['crun'] }), processes, true, log);
  const { fallback, advice } = handlers.unusable;
  assert.match(fallback ?? '', /^a: crun refuses cgroup v1/);
  assert.equal(advice, 'runc');
});

test('reported: crun where the node cannot run it, and a handler of the configuration whose program has its name', async () => {
  const state = stateOf('reported');
  const paths = { a: programs['runc'], c: programs['crun'], 'usual-crun': programs['crun'], kata: 'kata' };
  const open = (wanted: string, hybrid: boolean) =>
    Handlers.open(optionsOf(state, paths, wanted), processes, hybrid, log);
  const { fallback, others } = (await open('usual-crun', true)).unusable;
  assert.match(fallback ?? '', /^usual-crun: crun refuses cgroup v1/);
  assert.deepEqual([...others.keys()], ['c', 'kata']);
  const runc = (await open('a', true)).unusable;
  assert.deepEqual([runc.fallback, [...runc.others.keys()]], [undefined, ['c', 'kata']]);
  const unified = (await open('usual-crun', false)).unusable;
  assert.deepEqual([unified.fallback, [...unified.others.keys()]], [undefined, ['kata']]);
  assert.deepEqual((await open('a', false)).offered, ['a', 'c', 'usual-crun', 'kata']);
  assert.deepEqual((await open('a', true)).offered, ['a', 'c', 'kata'], 'nobody has configured it');
});

test('a program that is missing just now refuses no change of other options, but one by which it is named', async () => {
  const state = stateOf('anew');
  const program = join(state, 'program');
  copyFileSync(programs['runc'] ?? '', program);
  const given = optionsOf(state, { a: programs['runc'], b: program });
  const handlers = await Handlers.open(given, processes, false, log);
  rmSync(program);
  const changed = (path: string) => ({
    ...given,
    handlers: { ...given.handlers, b: { path, options: ['--debug'], allowedAnnotations: [] } },
  });
  await assert.rejects(handlers.prepare(changed(`${program}2`), unused), /runtime\.handlers\.b: /);
  (await handlers.prepare(changed(program), unused)).apply();
  assert.deepEqual(handlers.get('b').options.options, ['--debug']);
  assert.match(handlers.unusable.others.get('b') ?? '', /^b: program \S+program does not exist/);
});

test('a damaged memory is no obstacle', async () => {
  for (const text of ['{', 'null', '{"x":1,"y":{"path":2}}', '[]']) {
    const state = stateOf('damaged');
    writeFileSync(join(state, 'handlers.json'), text);
    const handlers = await Handlers.open(optionsOf(state, { a: programs['runc'] }), processes, false, log);
    assert.throws(() => handlers.get('x'), /not configured/);
  }
});

test('refused: a new program that is not there, an unknown default, another kind of runtime while it is in use', async () => {
  const state = stateOf('refused');
  const handlers = await Handlers.open(optionsOf(state, { a: programs['runc'] }), processes, false, log);
  const prepare = (paths: Record<string, string | undefined>, isInUse = unused, wanted = '') =>
    handlers.prepare(optionsOf(state, { a: programs['runc'], ...paths }, wanted), isInUse);
  await assert.rejects(
    prepare({ b: '/nonexistent/b' }),
    /^CrispError: runtime\.handlers\.b: .*cannot be executed/,
  );
  await assert.rejects(prepare({}, unused, 'z'), /^CrispError: runtime\.default: z is not a handler/);
  await assert.rejects(
    prepare({ missing: 'missing' }, unused, 'missing'),
    /^CrispError: runtime\.default: .*cannot be executed/,
  );
  const inUse = (handler: string): boolean => handler === 'a';
  await assert.rejects(
    prepare({ a: programs['crun'] }, inUse),
    /^CrispError: runtime\.handlers\.a\.path: there are/,
  );
  await prepare({ a: programs['other'] }, inUse); // of the same kind: an update
  await prepare({ a: programs['crun'] }, unused);
  await assert.rejects(
    prepare({ missing: 'missing' }),
    /^CrispError: runtime\.handlers\.missing: .*cannot be executed/,
  );
  await prepare({ usual: 'usual' }); // as crun and runc, which need not be installed
  assert.deepEqual(handlers.names, ['a']);
});
