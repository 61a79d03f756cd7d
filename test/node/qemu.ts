/** How qemu is started for a machine. A copy of a machine goes on only with the same arguments, but for paths and ports. */
import { join } from 'node:path';

const MEMORY_MB = 2048;
const AGENT = 7777;
const CRI = 7778;
/**
 * One processor: with two, code that one of them writes while the other runs it (the kernel's own patches, V8) costs emulated time,
 * and has let a boot hang for good. Left out is what costs more emulated than it saves: string instructions by bytes (erms), wide
 * registers, a fifth level of page tables.
 */
const PROCESSOR = ['-smp', '1', '-cpu', 'max,-erms,-la57,-smap,-smep,-pku,-svm,-avx,-avx2'];
/**
 * While the processor is busy its clocks count its instructions, of 2^2 ns each, instead of the time here. On a loaded machine the
 * kernel gauged clocks that ran ten times too fast, or not at all, and what starves here does not run into the guest's time limits.
 */
const EMULATED = ['-accel', 'tcg,thread=single', '-icount', 'shift=2,align=off,sleep=on'];
/**
 * `quiet` and the rest save emulated time. Without random addresses (`norandmaps`) what has been translated of a program serves
 * its next process as well: a short one takes a third of the time.
 */
const KERNEL_LINE = [
  'console=ttyS0 quiet panic=-1 mitigations=off audit=0 nokaslr norandmaps tsc=reliable no_timer_check',
  'init_on_alloc=0 hardened_usercopy=off randomize_kstack_offset=off random.trust_cpu=on',
  'systemd.unified_cgroup_hierarchy=1 systemd.show_status=0',
].join(' ');

/** The names of a machine's files in its directory, and in that of a copy. */
export const FILES = {
  kernel: 'vmlinuz',
  initrd: 'initrd.img',
  disk: 'disk.img',
  /** `/dev/vdc` of the machine: empty, for file systems of other kinds than its root's. */
  spare: 'spare.img',
} as const;
export const CONSOLE = 'console.log';

export interface QemuSettings {
  /** With the files above. */
  readonly directory: string;
  /** A second disk, `/dev/vdb`: what the machine writes there is gone when it is switched off. */
  readonly kit: string;
  /** Added to the kernel's command line. */
  readonly kernelLine?: string | undefined;
}

/** On the loopback address of this side: the agent's port, and that of crisp's socket. */
export interface Ports {
  readonly agent: number;
  readonly cri: number;
}

export function qemuArguments({ directory, kit, kernelLine = '' }: QemuSettings, ports: Ports): string[] {
  const forward = `hostfwd=tcp:127.0.0.1:${ports.agent}-:${AGENT},hostfwd=tcp:127.0.0.1:${ports.cri}-:${CRI}`;
  const accelerator = process.env['CRISP_NODE_ACCEL'];
  const path = (name: string) => join(directory, name);
  return [
    ['-M', 'q35', ...(accelerator ? ['-accel', accelerator] : EMULATED)],
    [...PROCESSOR, '-m', String(MEMORY_MB)],
    ['-nodefaults', '-no-reboot', '-display', 'none', '-serial', `file:${path(CONSOLE)}`, '-qmp', 'stdio'],
    ['-kernel', path(FILES.kernel), '-initrd', path(FILES.initrd), '-append', `${KERNEL_LINE} ${kernelLine}`],
    ['-netdev', `user,id=net,restrict=on,${forward}`, '-device', 'virtio-net-pci,netdev=net,romfile='],
    // The machine's own page cache is what a power cut loses; qemu's writes are in this host's.
    ['-drive', `file=${path(FILES.disk)},if=virtio,format=raw,cache=unsafe`],
    ['-drive', `file=${kit},if=virtio,format=raw,snapshot=on`],
    ['-drive', `file=${path(FILES.spare)},if=virtio,format=raw,cache=unsafe`],
  ].flat();
}
