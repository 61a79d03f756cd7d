import type { cri } from '#api/cri/v1/index.ts';
import { metricDescriptors } from '../metrics/index.ts';

/** ListMetricDescriptors: constant while the daemon runs. */
export const listMetricDescriptors = () => async (): Promise<cri.ListMetricDescriptorsResponseInit> => ({
  descriptors: metricDescriptors,
});
