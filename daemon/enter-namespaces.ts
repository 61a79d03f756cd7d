/** What `crisp ctl debug` needs of linux/, which the command line does not import itself. */
export { become, type EnteredKind, HeldNamespaces, runAttached } from '#linux/namespace/enter.ts';
