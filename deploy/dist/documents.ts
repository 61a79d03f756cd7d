/** Manual pages and completions, where they are below an installation's prefix. */
import { commands } from '../../cli/commands.ts';
import { completionScript } from '../../cli/completion.ts';
import { manPages } from '../../cli/reference/man-pages.ts';

const COMPLETIONS: Readonly<Record<string, string>> = {
  bash: 'share/bash-completion/completions/crisp',
  zsh: 'share/zsh/site-functions/_crisp',
  fish: 'share/fish/vendor_completions.d/crisp.fish',
};

/** Texts by path; `deploy/install` links each. `date` is what the pages show, in seconds since the epoch. */
export async function documents(version: string, date: number): Promise<ReadonlyMap<string, string>> {
  const day = new Date(date * 1000).toISOString().slice(0, 10);
  const pages = [...(await manPages(version, day))].map(
    ([name, text]) => [`share/man/man${name.at(-1)}/${name}`, text] as const,
  );
  const scripts = Object.entries(COMPLETIONS).map(
    async ([shell, path]) => [path, await completionScript(shell, commands)] as const,
  );
  return new Map([...pages, ...(await Promise.all(scripts))]);
}
