/** The classes of block IO and RDT, which both peers have from goresctrl. */
import { lacks, maps, type PeerOption } from './option.ts';

const BLOCKIO = ['io.kubernetes.cri.blockio-class', 'blockio.resources.beta.kubernetes.io/'];
const RDT =
  'crisp makes no groups of resctrl: make them with the schemata of that file, list them in container.rdt_classes, and allow the annotations in container.allowed_annotations ("rdt.resources.beta.kubernetes.io/", "io.kubernetes.cri.rdt-class")';

/** The file has the same form; its annotations count where they are allowed. */
export const blockioFile: PeerOption = maps('blockio_config_file', '', 'container.blockio_config_file', {
  convert: (value) =>
    value === ''
      ? { same: 'none' }
      : {
          set: [
            [['container', 'blockio_config_file'], value],
            [['container', 'allowed_annotations'], BLOCKIO],
          ],
          note: 'and the annotations that name its classes, for all handlers',
        },
  note: 'the same file; its annotations are to be allowed in container.allowed_annotations',
});

export const rdtFile: PeerOption = lacks('rdt_config_file', '', RDT);
