/** What plugins want of containers: put together, checked and validated. Nothing here has an effect outside. */
export { CreateCollector, type CreateOutcome, UpdateCollector } from './collector.ts';
export { type DefaultValidatorOptions, defaultValidator } from './default-validator.ts';
export type { CollectedEviction, CollectedUpdate, IgnoredUpdate, UpdateOutcome } from './updates.ts';
export { checkVerdict, type Validation, validationRequest } from './validation.ts';
