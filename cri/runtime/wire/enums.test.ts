import assert from 'node:assert/strict';
import test from 'node:test';
import { cri } from '#api/cri/v1/index.ts';
import { hasCode } from '#core/errors.ts';
import {
  groupsPolicy,
  namespaceMode,
  namespaceNumber,
  profileType,
  propagation,
  propagationNumber,
  protocol,
} from './enums.ts';

/** The numbers of an enum of the proto. */
const numbersOf = (table: object): number[] =>
  Object.values(table).filter((value): value is number => typeof value === 'number');

const translations: readonly (readonly [string, object, (value: number) => string])[] = [
  ['NamespaceMode', cri.NamespaceMode, (value) => namespaceMode(value, 'pid')],
  ['Protocol', cri.Protocol, protocol],
  ['MountPropagation', cri.MountPropagation, propagation],
  ['SupplementalGroupsPolicy', cri.SupplementalGroupsPolicy, groupsPolicy],
  ['ProfileType', cri.SecurityProfile.ProfileType, (value) => profileType(value, 'seccomp')],
];

test('each value of the proto has its own name', () => {
  for (const [name, table, translate] of translations) {
    const numbers = numbersOf(table);
    assert.ok(numbers.length >= 2, name);
    assert.equal(new Set(numbers.map(translate)).size, numbers.length, name);
  }
});

test('a number that the proto does not have is refused', () => {
  for (const [name, table, translate] of translations) {
    const known = new Set(numbersOf(table));
    for (const value of [-1, 99, 2 ** 31 - 1, Number.NaN]) {
      assert.ok(!known.has(value));
      assert.throws(
        () => translate(value),
        (error) => hasCode(error, 'InvalidArgument'),
        name,
      );
    }
  }
});

test('the names are those of the proto', () => {
  assert.equal(namespaceMode(cri.NamespaceMode.POD, 'pid'), 'pod');
  assert.equal(namespaceMode(cri.NamespaceMode.NODE, 'pid'), 'node');
  assert.equal(protocol(cri.Protocol.SCTP), 'sctp');
  assert.equal(profileType(0, 'seccomp'), 'RuntimeDefault');
  assert.equal(profileType(1, 'seccomp'), 'Unconfined');
  assert.equal(profileType(2, 'seccomp'), 'Localhost');
  assert.equal(groupsPolicy(0), 'Merge');
});

test('converting to a name and back gives the same number', () => {
  for (const value of numbersOf(cri.NamespaceMode))
    assert.equal(namespaceNumber(namespaceMode(value, 'pid')), value);
  for (const value of numbersOf(cri.MountPropagation))
    assert.equal(propagationNumber(propagation(value)), value);
});
