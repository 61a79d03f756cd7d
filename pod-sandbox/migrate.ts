/** Migrates sandbox records of older versions of crisp. */
import { CrispError } from '#core/errors.ts';
import type { Versioned } from '#core/record-store.ts';
import { RECORD_VERSION, type SandboxRecord } from './sandbox.ts';

type Fields = Record<string, unknown>;

/** Throws DataLoss for a record of no version that crisp had. */
export function migrateRecord(record: Versioned): SandboxRecord {
  if (record.version === 1) return fromVersion2(fromVersion1(record));
  if (record.version === 2) return fromVersion2(record);
  throw new CrispError('DataLoss', `records of version ${record.version} are not known`);
}

/** Versions 1 and 2 had one attachment, or none. */
function fromVersion2(record: Versioned): SandboxRecord {
  const { attachment, ...others } = record as Versioned & Fields;
  const attachments = attachment === undefined ? [] : [attachment];
  return { ...others, attachments, version: RECORD_VERSION } as unknown as SandboxRecord;
}

/** Version 1 had other names for the types of profiles and the memory limits. */
function fromVersion1(record: Versioned): Versioned {
  const { config, limits, ...rest } = record as Versioned & Fields;
  const { linux, ...others } = fields(config, 'config');
  const { security, ...groups } = fields(linux, 'config.linux');
  return {
    ...rest,
    version: 2,
    config: {
      ...others,
      linux: { ...bothLimits(groups), security: migrateSecurity(fields(security, 'security')) },
    },
    ...(limits === undefined ? {} : { limits: bothLimits(fields(limits, 'limits')) }),
  } as Versioned;
}

const bothLimits = (given: Fields): Fields => ({
  ...given,
  overhead: migrateResources(given['overhead']),
  resources: migrateResources(given['resources']),
});

function migrateResources(resources: unknown): Fields | undefined {
  if (resources === undefined) return undefined;
  const { memoryLimit, memorySwapLimit, ...others } = fields(resources, 'resources');
  return { ...others, memoryLimitBytes: memoryLimit, memorySwapLimitBytes: memorySwapLimit };
}

const migrateSecurity = ({ seccomp, apparmor, ...others }: Fields): Fields => ({
  ...others,
  seccomp: migrateProfile(seccomp),
  apparmor: migrateProfile(apparmor),
});

function migrateProfile(profile: unknown): Fields | undefined {
  if (profile === undefined) return undefined;
  const { type, ...others } = fields(profile, 'profile');
  const name = String(type);
  return { ...others, type: name.charAt(0).toUpperCase() + name.slice(1) };
}

function fields(value: unknown, name: string): Fields {
  if (typeof value === 'object' && value !== null) return value as Fields;
  throw new CrispError('DataLoss', `the record has no ${name}`);
}
