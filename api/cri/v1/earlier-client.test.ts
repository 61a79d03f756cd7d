/** A client of Kubernetes 1.36 (cri-api 0.36) sends and reads what it did before. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import protobuf from 'protobufjs';
import { type Codec, cri } from './index.ts';

type Field = readonly [number: number, type: string, presence: string];

interface Wire {
  readonly package: string;
  readonly services: Readonly<Record<string, Readonly<Record<string, readonly [string, string]>>>>;
  readonly messages: Readonly<Record<string, Readonly<Record<string, Field>>>>;
  readonly enums: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

const wireOf = (file: string) =>
  JSON.parse(readFileSync(join(import.meta.dirname, '../../../test/fixtures', file), 'utf8')) as Wire;
const [earlier, now] = [wireOf('cri-wire-0.36.json'), wireOf('cri-wire.json')];

/** The messages of the earlier version, as protobufjs reads them from a description. */
function earlierTypes(): protobuf.Root {
  const root = new protobuf.Root();
  const ns = root.define(earlier.package);
  for (const [name, values] of Object.entries(earlier.enums)) {
    const [last = name, parent] = name.split('.').reverse();
    ns.define(parent ?? []).add(new protobuf.Enum(last, { ...values }));
  }
  for (const [name, fields] of Object.entries(earlier.messages)) {
    const type = new protobuf.Type(name);
    for (const [field, [id, text]] of Object.entries(fields)) type.add(fieldOf(field, id, text));
    const inner = ns.get(name);
    if (inner instanceof protobuf.Namespace) for (const item of inner.nestedArray) type.add(item);
    if (inner) ns.remove(inner);
    ns.add(type);
  }
  root.resolveAll();
  return root;
}

function fieldOf(name: string, id: number, text: string): protobuf.FieldBase {
  const map = /^map<(\w+),(\w+)>$/.exec(text);
  if (map) return new protobuf.MapField(name, id, map[1] ?? '', map[2] ?? '');
  const [type = '', rule] = text.split(' ').reverse();
  return new protobuf.Field(name, id, type, rule);
}

/** A value for each field; messages within messages to some depth. */
function sample(type: protobuf.Type, depth: number): Record<string, unknown> {
  const one = (field: protobuf.FieldBase): unknown => {
    const { resolvedType } = field;
    if (resolvedType instanceof protobuf.Type) return depth > 0 ? sample(resolvedType, depth - 1) : undefined;
    if (resolvedType) return Math.max(...Object.values(resolvedType.values));
    if (field.type === 'bool') return true;
    if (field.type === 'bytes') return Buffer.from(field.name);
    return field.type === 'string' ? `a ${field.name}` : field.id;
  };
  const entries = type.fieldsArray.flatMap((field) => {
    const value = one(field.resolve());
    if (value === undefined) return [];
    if (field.map) return [[field.name, { key: value }]];
    return [[field.name, field.repeated ? [value, value] : value]];
  });
  return Object.fromEntries(entries) as Record<string, unknown>;
}

const plain = (type: protobuf.Type, bytes: Uint8Array) =>
  type.toObject(type.decode(bytes), { longs: String, bytes: String });

test('calls, fields and values of 1.36 are the same', () => {
  for (const [service, calls] of Object.entries(earlier.services))
    for (const [name, types] of Object.entries(calls)) assert.deepEqual(now.services[service]?.[name], types);
  for (const [message, fields] of Object.entries(earlier.messages))
    for (const [name, field] of Object.entries(fields))
      assert.deepEqual(now.messages[message]?.[name], field, `${message}.${name}`);
  for (const [name, values] of Object.entries(earlier.enums)) {
    const prefix = name === 'Signal' ? 'SIGNAL_' : '';
    for (const [word, number] of Object.entries(values))
      assert.equal(now.enums[name]?.[`${prefix}${word}`], number, `${name}.${word}`);
  }
});

test('every message of a 1.36 client is decoded and sent back without a change', () => {
  const types = earlierTypes();
  for (const name of Object.keys(earlier.messages)) {
    const type = types.lookupType(`${earlier.package}.${name}`);
    const sent = type.encode(type.fromObject(sample(type, 3))).finish();
    const codec = cri[name as keyof typeof cri] as unknown as Codec<object, object>;
    const back = codec.encode(codec.decode(sent)).finish();
    assert.deepEqual(plain(type, back), plain(type, sent), name);
    if (Object.keys(type.fields).length > 0) assert.ok(sent.length > 0, name);
  }
});

test('what 1.36 lacks is skipped by its client', () => {
  const type = earlierTypes().lookupType(`${earlier.package}.StatusResponse`);
  const features = { supplementalGroupsPolicy: true, userNamespacesHostNetwork: true };
  const bytes = cri.StatusResponse.encode({ features: { ...features, mountOptions: true } }).finish();
  assert.deepEqual(plain(type, bytes), {
    features: { supplemental_groups_policy: true, user_namespaces_host_network: true },
  });
});
