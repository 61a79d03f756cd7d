/** The script of `crisp completion zsh`: the file `_crisp` in a directory of `fpath`. */
import { type CompletionEntry, quoted, variablesOf } from './entries.ts';
import { lookups } from './lookups.ts';

/** For `_describe`, which ends the candidate at the first colon. */
const described = (name: string, doc: string): string => quoted(`${name.replaceAll(':', '\\:')}:${doc}`);

/** A list of one is a list, but for the two that are true or false. */
const assigned = (name: string, items: readonly string[]): string =>
  name === 'repeats' || name === 'greedy' ? `${name}=${items.join('')}` : `${name}=(${items.join(' ')})`;

function entryCase(entry: CompletionEntry): string {
  const lines = variablesOf(entry, { quoted, described }).map(
    ([name, items]) => `      ${assigned(name, items)}`,
  );
  return [`    ${entry.names.map(quoted).join(' | ')})`, ...lines, '      ;;'].join('\n');
}

const WALK = `
_crisp_objects() {
  local -a found
  local line
  for line in "\${(@f)$($words[1] completion --list $1 $endpoint 2>/dev/null)}"; do
    [[ -n $line ]] && found+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
  done
  (( $#found )) && _describe $1 found
}

_crisp() {
  local at='' pending='' rest='' want='' repeats greedy word
  local -a subcommands flags valued args endpoint
  integer count=0
  _crisp_entry ''
  for word in "\${(@)words[2,CURRENT-1]}"; do
    if [[ -n $pending ]]; then
      [[ "$at $pending" == (ctl|trace|completion)\\ (-r|--runtime-endpoint) ]] && endpoint=(-r $word)
      pending=''
    elif [[ -n $rest ]]; then
      (( count += 1 ))
    elif [[ $word == -- ]]; then
      rest=arguments
    elif [[ $word == -* ]]; then
      (( $valued[(Ie)$word] )) && pending=$word
    elif (( count == 0 )) && _crisp_entry "\${at:+$at }$word"; then
      at="\${at:+$at }$word"
    else
      _crisp_entry "$at"
      (( count += 1 ))
      [[ -n $greedy ]] && rest=command
    fi
  done
  word=$words[CURRENT]
  if [[ -n $pending ]]; then
    _crisp_value "$at" "$pending"
  elif [[ -z $rest && $word == --*=* ]]; then
    _crisp_value "$at" "\${word%%=*}"
    compset -P '*='
  elif [[ -z $rest && $word == -* ]]; then
    _describe -o option flags
    return
  else
    (( count == 0 && $#subcommands )) && _describe command subcommands
    [[ -n $repeats ]] && (( count >= $#args )) && (( count = $#args - 1 ))
    want=$args[count+1]
  fi
  for word in \${=want}; do
    case $word in
      @files) _files ;;
      @*) _crisp_objects \${word#@} ;;
      *) compadd -- $word ;;
    esac
  done
}

if [[ $funcstack[1] == _crisp ]]; then _crisp "$@"; else compdef _crisp crisp; fi
`;

export const zshScript = (entries: readonly CompletionEntry[]): string =>
  [
    '#compdef crisp',
    '# Completion of crisp for zsh, from `crisp completion zsh`.',
    '',
    ...lookups(entries, "  subcommands=() flags=() valued=() args=() repeats='' greedy=''", entryCase),
    WALK,
  ].join('\n');
