/** The command line's one need of the kernel (see linux/io/raw-terminal.ts); it comes to linux/ by no other way. */
export { rawTerminal } from '#linux/io/raw-terminal.ts';
