/** The script of `crisp completion fish`. */
import { type CompletionEntry, valuePatterns, variablesOf } from './entries.ts';

const quoted = (text: string): string => `'${text.replaceAll(/[\\']/g, (char) => `\\${char}`)}'`;
const described = (name: string, doc: string): string => `${quoted(name)}\\t${quoted(doc)}`;

function entryCase(entry: CompletionEntry): string {
  const lines = variablesOf(entry, { quoted, described }).map(
    ([name, items]) => `            set ${name} ${items.join(' ')}`,
  );
  return [`        case ${entry.names.map(quoted).join(' ')}`, ...lines].join('\n');
}

const WALK = `
# Prints what the words and @files, @pods, @containers and @images stand for, each behind $argv[1].
function __crisp_reply --no-scope-shadowing
    for want in (string split -n ' ' -- $argv[2])
        switch $want
            case @files
                __fish_complete_path $current
            case '@*'
                $program completion --list (string sub -s 2 -- $want) $endpoint 2>/dev/null
            case '*'
                echo $argv[1]$want
        end
    end
end

function __crisp
    set -l typed (commandline -opc)
    set -l current (commandline -ct)
    set -l program $typed[1]
    set -l at ''
    set -l pending ''
    set -l rest ''
    set -l count 0
    set -l endpoint
    set -l subcommands
    set -l flags
    set -l valued
    set -l args
    set -l repeats
    set -l greedy
    set -l value
    __crisp_entry ''
    for word in $typed[2..]
        set -l below (string trim -- "$at $word")
        if test -n "$pending"
            string match -qr '^(ctl|trace|completion) (-r|--runtime-endpoint)$' -- "$at $pending"; and set endpoint -r $word
            set pending ''
        else if test -n "$rest"
            set count (math $count + 1)
        else if test "$word" = --
            set rest arguments
        else if string match -q -- '-*' $word
            contains -- $word $valued; and set pending $word
        else if test $count -eq 0; and __crisp_entry $below
            set at $below
        else
            __crisp_entry $at
            set count (math $count + 1)
            test -n "$greedy"; and set rest command
        end
    end
    if test -n "$pending"
        __crisp_value "$at $pending"
        __crisp_reply '' "$value"
    else if test -z "$rest"; and string match -q -- '--*=*' $current
        set -l flag (string split -m 1 -- = $current)
        set current $flag[2]
        __crisp_value "$at $flag[1]"
        __crisp_reply "$flag[1]=" "$value"
    else if test -z "$rest"; and string match -q -- '-*' $current
        printf '%s\\n' $flags
    else
        test $count -eq 0; and test -n "$subcommands"; and printf '%s\\n' $subcommands
        set -l place (math $count + 1)
        test -n "$repeats"; and test $place -gt (count $args); and set place (count $args)
        test $place -le (count $args); and __crisp_reply '' "$args[$place]"
    end
end

complete -c crisp -f -a '(__crisp)'
`;

export function fishScript(entries: readonly CompletionEntry[]): string {
  const values = [...valuePatterns(entries)].flatMap(([want, patterns]) => [
    `        case ${patterns.map(quoted).join(' ')}`,
    `            set value ${quoted(want)}`,
  ]);
  return [
    '# Completion of crisp for fish, from `crisp completion fish`.',
    '',
    '# The commands, flags and arguments behind the commands of $argv[1]; fails where there is no such command.',
    'function __crisp_entry --no-scope-shadowing',
    ...['subcommands', 'flags', 'valued', 'args', 'repeats', 'greedy'].map((name) => `    set ${name}`),
    '    switch "$argv[1]"',
    ...entries.map(entryCase),
    "        case '*'",
    '            return 1',
    '    end',
    '    return 0',
    'end',
    '',
    '# What the value of a flag may be; $argv[1] has the commands before it, and the flag.',
    'function __crisp_value --no-scope-shadowing',
    '    set value',
    '    switch "$argv[1]"',
    ...values,
    '    end',
    'end',
    WALK,
  ].join('\n');
}
