/** Annotations on which containerd's CRI plugin and its well-known NRI plugins act. */
import { acts, lacks, moot, type PeerAnnotation } from '../annotation.ts';

export const containerdAnnotations: readonly PeerAnnotation[] = [
  acts(['blockio.resources.beta.kubernetes.io/', 'io.kubernetes.cri.blockio-class'], 'class of block IO'),
  acts(['rdt.resources.beta.kubernetes.io/', 'io.kubernetes.cri.rdt-class'], 'class of RDT'),
  acts(
    ['ulimits.noderesource.dev/', 'ulimits.nri.containerd.io/'],
    'limits of the processes of a container (NRI plugin ulimit-adjuster)',
  ),
  moot('cdi.k8s.io/', 'CDI devices', 'always read, beside those of CRI'),
  lacks(
    'io.kubernetes.cri.untrusted-workload',
    'removed from containerd: the handler for untrusted pods',
    'a RuntimeClass',
  ),
];
