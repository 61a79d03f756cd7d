/** Compares nri.proto with the published NRI, name by name and number by number. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import protobuf from 'protobufjs';
import { fields, services, v1alpha1 } from './generated/api.js';

interface Wire {
  package: string;
  services: Record<string, Record<string, string[]>>;
  messages: Record<string, Record<string, [number, string, string]>>;
  enums: Record<string, Record<string, number>>;
}

const { source: _, ...fixture } = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../test/fixtures/nri-wire.json'), 'utf8'),
) as Wire & { source: string };
const PREFIX = fixture.package.length + 2;

function fieldOf(field: protobuf.Field): [number, string, string] {
  const type = field.resolve().resolvedType ? field.resolvedType?.fullName.slice(PREFIX) : field.type;
  const single = !field.repeated && !field.map;
  let text = field.repeated ? `repeated ${type}` : `${type}`;
  if (field instanceof protobuf.MapField) text = `map<${field.keyType},${type}>`;
  assert.equal(field.partOf, null, `${field.fullName} is in a oneof`);
  return [field.id, text, single && field.resolvedType instanceof protobuf.Type ? 'presence' : 'none'];
}

function collect(namespace: protobuf.NamespaceBase, wire: Wire): Wire {
  for (const item of namespace.nestedArray) {
    const name = item.fullName.slice(PREFIX);
    if (item instanceof protobuf.Type) {
      wire.messages[name] = Object.fromEntries(item.fieldsArray.map((field) => [field.name, fieldOf(field)]));
    } else if (item instanceof protobuf.Enum) {
      wire.enums[name] = { ...item.values };
    } else if (item instanceof protobuf.Service) {
      const methods = item.methodsArray.map((method) => {
        assert.ok(!method.requestStream && !method.responseStream);
        return [method.name, [method.requestType, method.responseType]];
      });
      wire.services[name] = Object.fromEntries(methods);
    }
    if (item instanceof protobuf.Namespace) collect(item, wire);
  }
  return wire;
}

const root = new protobuf.Root().loadSync(join(import.meta.dirname, 'nri.proto'), { keepCase: true });
root.resolveAll();
const packageRoot = root.lookup(fixture.package) as protobuf.Namespace;

test('every service, message, field and enum value equals the contract, in both directions', () => {
  const wire: Wire = { package: packageRoot.fullName.slice(1), services: {}, messages: {}, enums: {} };
  assert.deepEqual(collect(packageRoot, wire), fixture);
});

test('the contract has the published size', () => {
  const count = (group: Record<string, object>) =>
    Object.values(group).reduce((sum, item) => sum + Object.keys(item).length, 0);
  assert.equal(count(fixture.services), 21);
  assert.equal(Object.keys(fixture.messages).length, 85);
  assert.equal(count(fixture.messages), 252);
  assert.equal(Object.keys(fixture.enums).length, 10);
  assert.equal(count(fixture.enums), 99);
});

test('the tables have all of it', () => {
  assert.deepEqual(Object.keys(fields).sort(), Object.keys(fixture.messages).sort());
  for (const [name, rows] of Object.entries(fields))
    assert.deepEqual(
      rows.map(([number]) => number).sort((a, b) => a - b),
      Object.values(fixture.messages[name] ?? {})
        .map(([number]) => number)
        .sort((a, b) => a - b),
      name,
    );
  const tables: Readonly<Record<string, Record<string, unknown>>> = v1alpha1;
  for (const [name, values] of Object.entries(fixture.enums)) {
    const [outer = '', inner] = name.split('.');
    assert.deepEqual(inner ? tables[outer]?.[inner] : tables[outer], values, name);
  }
  for (const [name, methods] of Object.entries(services))
    assert.deepEqual(
      Object.fromEntries(
        Object.entries(methods).map(([method, { request, response }]) => [method, [request, response]]),
      ),
      fixture.services[name],
    );
});
