import assert from 'node:assert/strict';
import test from 'node:test';
import type { nri } from '#api/nri/index.ts';
import { type ErrorCode, hasCode } from '#core/errors.ts';
import type { SecurityProfile } from '#core/model/security.ts';
import { answer, pod, record, spec } from '#test/fixtures/nri-messages.ts';
import { containerMessage, podMessage } from '../messages/index.ts';
import { CreateCollector, type DefaultValidatorOptions, defaultValidator } from './index.ts';

const off: DefaultValidatorOptions = {
  enable: true,
  rejectOciHookAdjustment: false,
  rejectRuntimeDefaultSeccompAdjustment: false,
  rejectUnconfinedSeccompAdjustment: false,
  rejectCustomSeccompAdjustment: false,
  rejectNamespaceAdjustment: false,
  rejectSysctlAdjustment: false,
  requiredPlugins: [],
  tolerateMissingPluginsAnnotation: '',
};

const TYPES: Readonly<Record<string, SecurityProfile>> = {
  RuntimeDefault: { type: 'RuntimeDefault', localhostRef: '' },
  Unconfined: { type: 'Unconfined', localhostRef: '' },
  Localhost: { type: 'Localhost', localhostRef: '/p.json' },
};

interface Given {
  readonly adjust?: nri.ContainerAdjustmentInit;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly profile?: SecurityProfile | undefined;
  /** Whether the container has a filter. */
  readonly filter?: boolean;
}

function validate(options: Partial<DefaultValidatorOptions>, given: Given): void {
  const { seccomp: _, ...linux } = spec.linux;
  const confined = given.filter === false ? { ...spec, linux } : spec;
  const requested = given.profile ? { ...record, seccompProfile: given.profile } : record;
  const container = containerMessage({ record: requested, spec: confined });
  const collector = new CreateCollector(container);
  collector.add('10-a', answer(given.adjust));
  defaultValidator(
    { ...off, ...options },
    {
      pod: podMessage({ ...pod, annotations: given.annotations ?? {} }),
      container,
      outcome: collector.outcome(),
      plugins: [
        { index: '10', name: 'a' },
        { index: '20', name: 'b' },
      ],
    },
  );
}

function rejects(
  options: Partial<DefaultValidatorOptions>,
  given: Given,
  message: RegExp,
  code: ErrorCode = 'FailedPrecondition',
): void {
  assert.throws(
    () => validate(options, given),
    (error) => {
      assert.ok(hasCode(error, code), String(error));
      assert.match(error.message, message);
      assert.notEqual(error.hint, '');
      return true;
    },
  );
  validate({ ...options, enable: false }, given);
}

const hooks: Given = { adjust: { hooks: { poststop: [{ path: '/h' }] } } };
const namespaces: Given = { adjust: { linux: { namespaces: [{ type: 'uts', path: '/ns' }] } } };
const sysctl: Given = { adjust: { linux: { sysctl: { 'net.a': '1' } } } };
const policy = (profile?: SecurityProfile, filter = true): Given => ({
  adjust: { linux: { seccompPolicy: { defaultAction: 'SCMP_ACT_ALLOW' } } },
  profile,
  filter,
});

test('without rules all is allowed', () => {
  for (const given of [hooks, namespaces, sysctl, policy(TYPES['Localhost'])]) validate({}, given);
});

test('each rule names the plugin, what it changes and the option', () => {
  rejects(
    { rejectOciHookAdjustment: true },
    hooks,
    /: 10-a adds OCI hooks, against reject_oci_hook_adjustment$/,
  );
  rejects(
    { rejectNamespaceAdjustment: true },
    namespaces,
    /: 10-a changes namespaces uts, against reject_namespace_adjustment$/,
  );
  rejects(
    { rejectSysctlAdjustment: true },
    sysctl,
    /: 10-a changes sysctl net\.a, against reject_sysctl_adjustment$/,
  );
});

test('removal of a namespace or a sysctl is a change', () => {
  rejects(
    { rejectNamespaceAdjustment: true },
    { adjust: { linux: { namespaces: [{ type: '-network' }] } } },
    /10-a changes namespaces network/,
  );
  rejects(
    { rejectSysctlAdjustment: true },
    { adjust: { linux: { sysctl: { '-net.a': '' } } } },
    /10-a changes sysctl net\.a/,
  );
});

test('a rule is for its own field alone', () => {
  validate({ rejectOciHookAdjustment: true }, namespaces);
  validate({ rejectNamespaceAdjustment: true }, sysctl);
  validate({ rejectSysctlAdjustment: true }, hooks);
  validate(
    { rejectOciHookAdjustment: true, rejectNamespaceAdjustment: true },
    { adjust: { args: ['/bin/x'] } },
  );
});

test('a seccomp policy: by the profile that the pod asks for', () => {
  const rules = {
    RuntimeDefault: 'rejectRuntimeDefaultSeccompAdjustment',
    Unconfined: 'rejectUnconfinedSeccompAdjustment',
    Localhost: 'rejectCustomSeccompAdjustment',
  } as const;
  const option = {
    RuntimeDefault:
      /changes the runtime's default seccomp policy, against reject_runtime_default_seccomp_adjustment/,
    Unconfined: /changes the unconfined seccomp policy, against reject_unconfined_seccomp_adjustment/,
    Localhost: /changes the custom seccomp policy, against reject_custom_seccomp_adjustment/,
  };
  const types = Object.keys(rules) as (keyof typeof rules)[];
  for (const type of types)
    for (const rule of types) {
      const given = policy(TYPES[type]);
      if (type === rule) rejects({ [rules[rule]]: true }, given, option[type]);
      else validate({ [rules[rule]]: true }, given);
    }
  for (const type of types) validate({ [rules[type]]: true }, hooks);
});

test('without a profile the container is unconfined, or its filter is of unknown origin', () => {
  rejects(
    { rejectUnconfinedSeccompAdjustment: true },
    policy(undefined, false),
    /the unconfined seccomp policy/,
  );
  validate(
    { rejectCustomSeccompAdjustment: true, rejectRuntimeDefaultSeccompAdjustment: true },
    policy(undefined, false),
  );
  rejects({ rejectCustomSeccompAdjustment: true }, policy(), /the custom seccomp policy/);
  rejects({ rejectRuntimeDefaultSeccompAdjustment: true }, policy(), /the runtime's default seccomp policy/);
  validate({ rejectUnconfinedSeccompAdjustment: true }, policy());
});

const REQUIRED = 'required-plugins.noderesource.dev';

test('required plugins, by name or with the index', () => {
  validate({ requiredPlugins: ['a', '20-b'] }, {});
  rejects({ requiredPlugins: ['a', 'c', '30-b'] }, {}, /required plugins "c", "30-b" are not connected/);
});

test('required by annotation: of the pod, of this container before that', () => {
  const annotated = (annotations: Record<string, string>): Given => ({ annotations });
  const missing = /required plugins "c" are not connected/;
  validate({}, annotated({ [REQUIRED]: '["a"]' }));
  rejects({}, annotated({ [REQUIRED]: '["c"]' }), missing);
  rejects({}, annotated({ [REQUIRED]: '- c' }), missing);
  rejects({}, annotated({ [`${REQUIRED}/pod`]: '["c"]', [REQUIRED]: '["a"]' }), missing);
  rejects({}, annotated({ [`${REQUIRED}/container.web`]: '["c"]', [REQUIRED]: '["a"]' }), missing);
  validate({}, annotated({ [`${REQUIRED}/container.web`]: '[]', [REQUIRED]: '["c"]' }));
  validate({}, annotated({ [`${REQUIRED}/container.other`]: '["c"]' }));
  rejects({ requiredPlugins: ['c'] }, annotated({ [REQUIRED]: '["a"]' }), missing);
  validate({}, annotated({ [REQUIRED]: '' }));
});

test('an annotation that cannot be read is an error that names it', () => {
  for (const value of ['c', '{"a": 1}', '[1]', '["a"', '&a [*a]', `["${'x'.repeat(70_000)}"]`])
    rejects({}, { annotations: { [REQUIRED]: value } }, /^annotation required-plugins/, 'InvalidArgument');
});

test('missing plugins are tolerated where the configured annotation says so', () => {
  const key = 'tolerate.example/missing';
  const options = { requiredPlugins: ['c'], tolerateMissingPluginsAnnotation: key };
  const missing = /"c" are not connected/;
  for (const value of ['true', 'True', '1', 't']) validate(options, { annotations: { [key]: value } });
  for (const value of ['false', '0', 'F']) rejects(options, { annotations: { [key]: value } }, missing);
  rejects(
    options,
    { annotations: { [key]: 'yes' } },
    /^annotation tolerate\.example\/missing: "yes"/,
    'InvalidArgument',
  );
  rejects(options, { annotations: { [key]: 'true', [`${key}/container.web`]: 'false' } }, missing);
  validate(options, { annotations: { [key]: 'false', [`${key}/pod`]: 'true' } });
  validate(options, { annotations: { [key]: 'true', [REQUIRED]: '["d"]' } });
  rejects({ requiredPlugins: ['c'] }, { annotations: { [key]: 'true', '': 'true' } }, missing);
});
