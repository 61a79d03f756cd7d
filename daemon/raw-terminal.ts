/** All that the command line needs of linux/ (see linux/io/raw-terminal.ts), which it does not import itself. */
export { rawTerminal } from '#linux/io/raw-terminal.ts';
