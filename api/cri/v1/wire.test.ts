/** Compares api.proto with the published CRI, name by name and number by number. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import protobuf from 'protobufjs';
import { imageServiceDefinition, runtimeServiceDefinition } from './index.ts';

interface Wire {
  package: string;
  services: Record<string, Record<string, string[]>>;
  messages: Record<string, Record<string, [number, string, string]>>;
  enums: Record<string, Record<string, number>>;
}

const fixture = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../../test/fixtures/cri-wire.json'), 'utf8'),
) as Wire & {
  source?: string;
};
delete fixture.source;

function fieldOf(field: protobuf.Field, packageName: string): [number, string, string] {
  const type = field.resolvedType ? field.resolvedType.fullName.slice(packageName.length + 2) : field.type;
  const single = !field.repeated && !field.map;
  let text = field.repeated ? `repeated ${type}` : type;
  if (field instanceof protobuf.MapField) text = `map<${field.keyType},${type}>`;
  assert.equal(field.partOf, null, `${field.fullName} is in a oneof`);
  return [field.id, text, single && field.resolvedType instanceof protobuf.Type ? 'presence' : 'none'];
}

function collect(namespace: protobuf.NamespaceBase, packageName: string, wire: Wire): void {
  for (const item of namespace.nestedArray) {
    const name = item.fullName.slice(packageName.length + 2);
    if (item instanceof protobuf.Type) {
      wire.messages[name] = Object.fromEntries(
        item.fieldsArray.map((f) => [f.name, fieldOf(f.resolve(), packageName)]),
      );
    } else if (item instanceof protobuf.Enum) {
      wire.enums[name] = { ...item.values };
    } else if (item instanceof protobuf.Service) {
      wire.services[name] = Object.fromEntries(
        item.methodsArray.map((method) => {
          assert.ok(!method.requestStream);
          return [
            method.name,
            [method.requestType, `${method.responseStream ? 'stream ' : ''}${method.responseType}`],
          ];
        }),
      );
    }
    if (item instanceof protobuf.Namespace) collect(item, packageName, wire);
  }
}

const root = new protobuf.Root().loadSync(join(import.meta.dirname, 'api.proto'), { keepCase: true });
root.resolveAll();
const packageRoot = root.lookup(fixture.package) as protobuf.Namespace;
const wire: Wire = { package: packageRoot.fullName.slice(1), services: {}, messages: {}, enums: {} };
collect(packageRoot, wire.package, wire);

test('every service, message, field and enum value equals the contract, in both directions', () => {
  assert.deepEqual(wire, fixture);
});

test('the contract has the published size', () => {
  const count = (group: Record<string, object>) =>
    Object.values(group).reduce((sum, item) => sum + Object.keys(item).length, 0);
  assert.equal(count(wire.services), 43);
  assert.equal(Object.keys(wire.messages).length, 175);
  assert.equal(count(wire.messages), 478);
  assert.equal(Object.keys(wire.enums).length, 11);
  assert.equal(count(wire.enums), 95);
});

test('the service definitions have the paths and kinds of the contract', () => {
  for (const [name, definition] of Object.entries({
    RuntimeService: runtimeServiceDefinition,
    ImageService: imageServiceDefinition,
  })) {
    const expected = Object.entries(fixture.services[name] ?? {}).map(([rpc, [, reply]]) => [
      rpc,
      `/runtime.v1.${name}/${rpc}`,
      false,
      reply?.startsWith('stream '),
    ]);
    const actual = Object.entries(definition).map(([rpc, m]) => [
      rpc,
      m.path,
      m.requestStream,
      m.responseStream,
    ]);
    assert.deepEqual(actual, expected);
  }
});
