/** All cases, in the order of a report. */
import type { Case } from '../case.ts';
import { CLASS_CASES } from './classes.ts';
import { DEBUG_CASES } from './debug.ts';
import { EXEC_CASES } from './exec.ts';
import { IMAGE_CASES } from './images.ts';
import { INIT_CASES } from './init.ts';
import { JOB_CASES } from './jobs.ts';
import { LIFECYCLE_CASES } from './lifecycle.ts';
import { LIMIT_CASES } from './limits.ts';
import { LOG_CASES } from './logs.ts';
import { NETWORK_CASES } from './network.ts';
import { NODE_CASES } from './node.ts';
import { POD_CASES } from './pods.ts';
import { PROBE_CASES } from './probes.ts';
import { RESIZE_CASES } from './resize.ts';
import { RESTART_CASES } from './restarts.ts';
import { SECURITY_CASES } from './security.ts';
import { STATS_CASES } from './stats.ts';
import { USER_CASES } from './users.ts';
import { VOLUME_CASES } from './volumes.ts';

export const CASES: readonly Case[] = [
  ...NODE_CASES,
  ...POD_CASES,
  ...NETWORK_CASES,
  ...INIT_CASES,
  ...PROBE_CASES,
  ...RESTART_CASES,
  ...LIFECYCLE_CASES,
  ...LOG_CASES,
  ...EXEC_CASES,
  ...DEBUG_CASES,
  ...VOLUME_CASES,
  ...IMAGE_CASES,
  ...JOB_CASES,
  ...LIMIT_CASES,
  ...RESIZE_CASES,
  ...USER_CASES,
  ...SECURITY_CASES,
  ...CLASS_CASES,
  ...STATS_CASES,
];
