/** A process of its own for `nri.test.ts`: its mount namespace is one in which crun works. */
import { nriCases } from './nri-cases.ts';

await nriCases('crun');
