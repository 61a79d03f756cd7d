/** The configuration: `loadConfig` reads and checks it, `describeConfig` prints it, `schema.ts` has every option. */
export { type ConfigChange, type ConfigChanges, changesOf } from './changes.ts';
export { describeConfig } from './describe.ts';
export { type ConfigDocument, configDocument } from './document.ts';
export { type ConfigSources, flaggedOptions, type LoadedConfig, loadConfig, type Setting } from './load.ts';
export { nearest } from './nearest.ts';
export type { Kind } from './node.ts';
export { bareKey } from './option.ts';
export { type Override, overridesOf } from './overrides.ts';
export { configReference, dotted, type OptionFacts, type SectionFacts } from './reference.ts';
export type { Config } from './schema.ts';
export { type Assignment, fallbackAt, optionAt, settingsText } from './settings-text.ts';
export { isTable, parseTomlFile, type TomlFile } from './toml-file.ts';
export { parseDuration, parseSize } from './units.ts';
