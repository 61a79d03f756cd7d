/** The script of `crisp completion bash`. It needs bash 4.4 and nothing of the package bash-completion. */
import { type CompletionEntry, quoted, valuedFlags, wanted } from './entries.ts';
import { lookups } from './lookups.ts';

const assign = (name: string, words: readonly string[]): string =>
  words.length > 0 ? ` ${name}=${quoted(words.join(' '))}` : '';

function entryCase(entry: CompletionEntry): string {
  const { names, commands, flags, places, repeats, greedy } = entry;
  const parts = [
    assign(
      'subcommands',
      commands.map(([name]) => name),
    ),
    assign(
      'flags',
      flags.flatMap((flag) => flag.names),
    ),
    assign('valued', valuedFlags(entry)),
    places.length > 0 ? ` args=(${places.map((place) => quoted(wanted(place))).join(' ')})` : '',
    repeats ? ' repeats=1' : '',
    greedy ? ' greedy=1' : '',
  ];
  return `    ${names.map(quoted).join(' | ')})${parts.join('')} ;;`;
}

const WALK = `
# Adds what begins with $cur of the words and of what @files, @pods, @containers and @images stand for.
_crisp_reply() {
  local word candidate
  for word in $1; do
    case $word in
      @files)
        compopt -o filenames 2>/dev/null
        while IFS= read -r candidate; do COMPREPLY+=("$candidate"); done < <(compgen -f -- "$cur")
        ;;
      @*)
        while IFS=$'\\t' read -r candidate _; do
          [[ $candidate == "$cur"* ]] && COMPREPLY+=("$candidate")
        done < <("$program" completion --list "\${word#@}" "\${endpoint[@]}" 2>/dev/null)
        ;;
      *) [[ $word == "$cur"* ]] && COMPREPLY+=("$word") ;;
    esac
  done
}

_crisp() {
  local line=\${COMP_LINE:0:COMP_POINT} at='' pending='' rest='' count=0 want='' prefix='' word cur last
  local program=\${COMP_WORDS[0]} subcommands flags valued args repeats greedy
  local -a typed endpoint=()
  COMPREPLY=()
  # COMP_WORDS is split at : and = as well, which are in names of images and in --flag=value.
  read -ra typed <<<"$line"
  [[ $line == *[[:space:]] ]] && typed+=('')
  last=$((\${#typed[@]} - 1))
  cur=\${typed[last]}
  _crisp_entry ''
  for word in "\${typed[@]:1:last-1}"; do
    if [[ $pending ]]; then
      [[ "$at $pending" == @(ctl|trace|completion)' '@(-r|--runtime-endpoint) ]] && endpoint=(-r "$word")
      pending=''
    elif [[ $rest ]]; then
      count=$((count + 1))
    elif [[ $word == -- ]]; then
      rest=arguments
    elif [[ $word == -* ]]; then
      [[ " $valued " == *" $word "* ]] && pending=$word
    elif ((count == 0)) && _crisp_entry "\${at:+$at }$word"; then
      at="\${at:+$at }$word"
    else
      _crisp_entry "$at"
      count=$((count + 1))
      [[ $greedy ]] && rest=command
    fi
  done
  if [[ $pending ]]; then
    _crisp_value "$at" "$pending"
  elif [[ $rest == '' && $cur == --*=* ]]; then
    _crisp_value "$at" "\${cur%%=*}"
    [[ $COMP_WORDBREAKS == *=* ]] || prefix=\${cur%%=*}=
    cur=\${cur#*=}
  elif [[ $rest == '' && $cur == -* ]]; then
    want=$flags
  else
    [[ $repeats ]] && ((count >= \${#args[@]})) && count=$((\${#args[@]} - 1))
    want="\${args[count]-}"
    ((count == 0)) && want="$subcommands $want"
  fi
  _crisp_reply "$want"
  if [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]]; then
    word=\${cur%"\${cur##*:}"}
    COMPREPLY=("\${COMPREPLY[@]#"$word"}")
  fi
  [[ $prefix ]] && COMPREPLY=("\${COMPREPLY[@]/#/$prefix}")
  return 0
}

complete -F _crisp crisp
`;

export const bashScript = (entries: readonly CompletionEntry[]): string =>
  [
    '# Completion of crisp for bash, from `crisp completion bash`.',
    '',
    ...lookups(entries, "  subcommands='' flags='' valued='' args=() repeats='' greedy=''", entryCase),
    WALK,
  ].join('\n');
