/** `crisp ctl` on images: images, inspecti, rmi, imagefsinfo. */
import { type cri, toBigInt, toJson } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';
import { type Command, UsageError } from '../command.ts';
import { renderDocument } from '../documents.ts';
import { bytes, shortId } from '../format.ts';
import { outputFlag, outputOf } from '../output.ts';
import type { Column } from '../table.ts';
import {
  type Ctl,
  DOCUMENT_FORMATS,
  forEachTarget,
  LIST_FORMATS,
  noTruncFlag,
  printList,
  quietFlag,
  TARGET_EXITS,
} from './context.ts';
import { statusDocument } from './status-document.ts';

interface Row {
  readonly image: cri.Image;
  readonly repository: string;
  readonly tag: string;
  readonly digest: string;
}

/** One row for each tag; an image without tags has one for its digest. */
export function imageRows(image: cri.Image): Row[] {
  const [repositoryOfDigest = '<none>', digest = '<none>'] = image.repoDigests[0]?.split('@') ?? [];
  if (image.repoTags.length === 0) return [{ image, repository: repositoryOfDigest, tag: '<none>', digest }];
  return image.repoTags.map((name) => {
    const colon = name.lastIndexOf(':');
    const hasTag = colon > name.lastIndexOf('/');
    const [repository, tag] = hasTag ? [name.slice(0, colon), name.slice(colon + 1)] : [name, '<none>'];
    const own = image.repoDigests.find((text) => text.startsWith(`${repository}@`))?.split('@')[1];
    return { image, repository, tag, digest: own ?? digest };
  });
}

const verboseText = (image: cri.Image): string =>
  [
    `ID: ${image.id}`,
    ...image.repoTags.map((tag) => `RepoTags: ${tag}`),
    ...image.repoDigests.map((digest) => `RepoDigests: ${digest}`),
    `Size: ${bytes(toBigInt(image.size))}`,
    ...(image.uid ? [`Uid: ${toBigInt(image.uid.value)}`] : []),
    ...(image.username ? [`Username: ${image.username}`] : []),
    `Pinned: ${image.pinned}`,
  ].join('\n');

export const images: Command<Ctl> = {
  name: 'images',
  aliases: ['image', 'img'],
  usage: '[IMAGE]',
  summary: 'List images',
  flags: {
    ...quietFlag,
    verbose: { type: 'boolean', short: 'v', doc: 'All details of each image' },
    digests: { type: 'boolean', doc: 'Show digests' },
    ...noTruncFlag,
    ...outputFlag(LIST_FORMATS),
  },
  arity: [0, 1],
  async run(ctl, parsed) {
    const [wanted] = parsed.args;
    const request = wanted === undefined ? {} : { filter: { image: { image: wanted } } };
    const reply = await ctl.client.ListImages(request, ctl.call());
    const found = reply.images.sort((a, b) => (a.repoTags[0] ?? a.id).localeCompare(b.repoTags[0] ?? b.id));
    if (parsed.has('verbose')) {
      ctl.terminal.out(`${found.map(verboseText).join('\n\n')}\n`);
      return 0;
    }
    const short = parsed.has('no-trunc') ? (id: string) => id : shortId;
    const digestColumn: Column<Row> = ['DIGEST', ({ digest }) => short(digest)];
    printList(ctl, parsed, {
      items: parsed.has('quiet')
        ? found.flatMap((image) => imageRows(image).slice(0, 1))
        : found.flatMap(imageRows),
      quiet: ({ image }) => image.id,
      document: () => ({ images: found.map((image) => toJson('Image', image)) }),
      columns: [
        ['IMAGE', ({ repository }) => repository],
        ['TAG', ({ tag }) => tag],
        ...(parsed.has('digests') ? [digestColumn] : []),
        ['IMAGE ID', ({ image }) => short(image.id)],
        ['SIZE', ({ image }) => bytes(toBigInt(image.size))],
      ],
    });
    return 0;
  },
};

const missing = (name: string): CrispError =>
  new CrispError('NotFound', `no such image "${name}"`, { hint: 'pull it, or see `crisp ctl images`' });

export const inspecti: Command<Ctl> = {
  name: 'inspecti',
  usage: 'IMAGE [IMAGE...]',
  summary: 'Show the status of images',
  flags: { ...outputFlag(DOCUMENT_FORMATS) },
  arity: [1, Infinity],
  exits: TARGET_EXITS,
  async run(ctl, parsed) {
    const format = outputOf(parsed, DOCUMENT_FORMATS);
    return forEachTarget(ctl, parsed.args, async (name) => {
      const { image, info } = await ctl.client.ImageStatus(
        { image: { image: name }, verbose: true },
        ctl.call(),
      );
      if (!image) throw missing(name);
      return renderDocument(statusDocument('Image', image, info), format).trimEnd();
    });
  },
};

/** The images that no container uses. */
async function unused(ctl: Ctl, all: readonly cri.Image[]): Promise<cri.Image[]> {
  const { containers } = await ctl.client.ListContainers({}, ctl.call());
  const used = new Set(
    containers.flatMap(({ imageId, imageRef, image }) => [imageId, imageRef, image?.image]),
  );
  return all.filter(
    (image) =>
      !image.pinned && ![image.id, ...image.repoTags, ...image.repoDigests].some((name) => used.has(name)),
  );
}

export const rmi: Command<Ctl> = {
  name: 'rmi',
  usage: '[IMAGE...]',
  summary: 'Remove images with all their names',
  flags: {
    all: { type: 'boolean', short: 'a', doc: 'All images' },
    prune: { type: 'boolean', short: 'q', doc: 'All images that no container uses and that are not pinned' },
  },
  arity: [0, Infinity],
  exits: TARGET_EXITS,
  async run(ctl, parsed) {
    if (parsed.has('all') && parsed.has('prune'))
      throw new UsageError('crisp ctl rmi: --all and --prune exclude each other');
    const several = parsed.has('all') || parsed.has('prune');
    if (several === parsed.args.length > 0)
      throw new UsageError('crisp ctl rmi: name images, or one of --all and --prune');
    const all = several ? (await ctl.client.ListImages({}, ctl.call())).images : [];
    const chosen = parsed.has('prune') ? await unused(ctl, all) : all;
    const targets = several ? chosen.map(({ id }) => id) : parsed.args;
    return forEachTarget(ctl, targets, async (name) => {
      const { image } = await ctl.client.ImageStatus({ image: { image: name } }, ctl.call());
      if (!image) throw missing(name);
      await ctl.client.RemoveImage({ image: { image: name } }, ctl.call());
      return (image.repoTags.length > 0 ? image.repoTags : [image.id])
        .map((text) => `Deleted: ${text}`)
        .join('\n');
    });
  },
};

const USAGE_FORMATS = ['json', 'yaml', 'table'] as const;

export const imagefsinfo: Command<Ctl> = {
  name: 'imagefsinfo',
  usage: '',
  summary: 'Show the disk usage of images and containers',
  flags: { ...outputFlag(USAGE_FORMATS) },
  arity: [0, 0],
  async run(ctl, parsed) {
    const format = outputOf(parsed, USAGE_FORMATS);
    const reply = await ctl.client.ImageFsInfo({}, ctl.call());
    if (format !== 'table') {
      ctl.terminal.out(renderDocument({ status: toJson('ImageFsInfoResponse', reply) }, format));
      return 0;
    }
    const rows = [
      ...reply.imageFilesystems.map((fs) => ({ use: 'images', fs })),
      ...reply.containerFilesystems.map((fs) => ({ use: 'containers', fs })),
    ];
    const columns: Column<(typeof rows)[number]>[] = [
      ['FOR', ({ use }) => use],
      ['PATH', ({ fs }) => fs.fsId?.mountpoint ?? ''],
      ['USED', ({ fs }) => bytes(toBigInt(fs.usedBytes?.value))],
      ['INODES', ({ fs }) => String(toBigInt(fs.inodesUsed?.value))],
    ];
    printList(ctl, parsed, {
      items: rows,
      columns,
      quiet: ({ fs }) => fs.fsId?.mountpoint ?? '',
      document: () => undefined,
    });
    return 0;
  },
};
