/** The command line's one need of the kernel (see linux/raw-terminal.ts); it comes to linux/ by no other way. */
export { rawTerminal } from '#linux/raw-terminal.ts';
