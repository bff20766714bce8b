"""``wandbsweep completion``: what a shell needs in order to complete commands, options and sweeps."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from wandbsweep.cli.commands import Command

SHELLS = ("bash", "zsh", "fish")

_BASH = """\
# wandbsweep completion: eval "$(wandbsweep completion bash)"
_wandbsweep() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} words=
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="{commands}"
  else
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
    if [ "${{word#-}}" = "$word" ]; then
      words=
      for file in outputs/*/sweep.yaml; do
        [ -f "$file" ] && file=${{file#outputs/}} && words="$words ${{file%/sweep.yaml}}"
      done
    fi
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _wandbsweep wandbsweep
"""
_ZSH = '# wandbsweep completion: eval "$(wandbsweep completion zsh)"\nautoload -U +X bashcompinit && bashcompinit\n'


def add(command: Command) -> None:
    parser = command("completion", run, "Print what makes a shell complete these commands.", sweep=False)
    parser.add_argument("shell", choices=SHELLS, help=f'as in: eval "$(wandbsweep completion {SHELLS[0]})"')


def run(options: argparse.Namespace) -> int:
    from wandbsweep.cli.main import commands

    print(script(options.shell, commands()), end="")
    return 0


def script(shell: str, commands: Mapping[str, tuple[str, Sequence[str]]]) -> str:
    """The script for ``shell``; ``commands`` by name: what it is about, and its options."""
    if shell == "fish":
        return _fish(commands)
    cases = "\n".join(f'      {name}) words="{" ".join(options)}" ;;' for name, (_, options) in commands.items())
    bash = _BASH.format(commands=" ".join(commands), cases=cases)
    return bash if shell == "bash" else _ZSH + bash.partition("\n")[2]


def _fish(commands: Mapping[str, tuple[str, Sequence[str]]]) -> str:
    lines = ["# wandbsweep completion: wandbsweep completion fish | source", "complete -c wandbsweep -f"]
    for name, (about, options) in commands.items():
        quoted = about.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"complete -c wandbsweep -n __fish_use_subcommand -a {name} -d '{quoted}'")
        flags = [("-l " if option.startswith("--") else "-s ") + option.lstrip("-") for option in options]
        lines += [f"complete -c wandbsweep -n '__fish_seen_subcommand_from {name}' {flag}" for flag in flags]
        lines.append(
            f"complete -c wandbsweep -n '__fish_seen_subcommand_from {name}' "
            "-a '(for f in outputs/*/sweep.yaml; basename (dirname $f); end)'"
        )
    return "\n".join(lines) + "\n"
