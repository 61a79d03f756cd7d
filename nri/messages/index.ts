/** What plugins see of pods and containers: records and OCI specifications as messages of NRI. Nothing here fails. */
export { adjusted, adjustmentMessage } from './adjustment.ts';
export { containerMessage } from './container.ts';
export { podMessage } from './pod.ts';
export { resourcesMessage, withChanges } from './resources.ts';
