"""Shell completion for bash, zsh and fish, and ``pats-opt completion``, which prints the script.

Scripts and protocol are click's, except that bash also gets file names and words with ``:`` or
``=``, such as ``pats:gamma=0.5``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
)

from pats_opt.cli import COMPLETING

SHELLS = ("bash", "zsh", "fish")

Items = list[CompletionItem[str]]

#: Packages of the built-in policies.
POLICIES = (".online.", ".semi_markov.")

#: Suffixes of the files that the parameter of a command takes; others take any file.
SUFFIXES = {
    "instance": (".json",),
    "instances": (".json",),
    "schedule": (".json",),
    "test": (".json",),
    "config": (".toml",),
    "run_file": (".toml",),
}

#: Characters at which bash splits words, although they occur inside solver specifications.
BREAKS = (":", "=")


def paths(incomplete: str, suffixes: tuple[str, ...]) -> Items:
    """Return the folders, and the files with these suffixes, that match ``incomplete``."""
    from pathlib import Path

    head, name = os.path.split(incomplete)
    try:
        there = sorted(Path(head or ".").iterdir())
    except OSError:
        return []
    found = []
    for path in there:
        if not path.name.startswith(name) or (path.name.startswith(".") and not name):
            continue
        if path.is_dir():
            found.append(CompletionItem(os.path.join(head, path.name, ""), path=True))  # noqa: PTH118
        elif path.suffix in suffixes:
            found.append(CompletionItem(os.path.join(head, path.name), path=True))  # noqa: PTH118
    return found


def specs(_ctx: click.Context, option: click.Parameter, incomplete: str) -> Items:
    """Return solvers and policies; after ``name:`` its parameters, after ``key=`` their values."""
    name, colon, _ = incomplete.partition(":")
    if not colon:
        return _matching(incomplete, _names(option))
    head, _, last = incomplete.rpartition(":")
    used = {setting.partition("=")[0] for setting in head.split(":")[1:]}
    return [
        CompletionItem(f"{head}:{item.value}", help=item.help)
        for item in settings(_fields(name), last)
        if item.value.partition("=")[0] not in used
    ]


def spec_list(ctx: click.Context, option: click.Parameter, incomplete: str) -> Items:
    """Return solvers and policies for a comma-separated list."""
    head, comma, last = incomplete.rpartition(",")
    return [
        CompletionItem(f"{head}{comma}{item.value}", help=item.help)
        for item in specs(ctx, option, last)
    ]


def params(ctx: click.Context, _option: click.Parameter, incomplete: str) -> Items:
    """Return ``KEY=VALUE`` for the solver or policy on the command line."""
    spec = ctx.params.get("solver") or ctx.params.get("policy") or ""
    spec = (ctx.params.get("policies") or (spec,))[-1]
    return settings(_fields(spec.partition(":")[0]), incomplete)


def settings(fields: Iterable[Any], incomplete: str) -> Items:
    """Return ``key=``, or ``key=value`` if the values can be enumerated."""
    from pats_opt.cli.describing import choices

    key, equals, value = incomplete.partition("=")
    if not equals:
        return [CompletionItem(f"{f.name}=") for f in fields if f.name.startswith(key)]
    known = next((choices(field.type) for field in fields if field.name == key), [])
    return [CompletionItem(f"{key}={one}") for one in known if one.startswith(value)]


def suites(_ctx: click.Context, _option: click.Parameter, incomplete: str) -> Items:
    """Return the built-in suites, and TOML files."""
    import tomllib
    from importlib.resources import files

    document = tomllib.loads((files("pats_opt") / "data" / "suites.toml").read_text("utf-8"))
    named = {name: str(suite.get("about", "")) for name, suite in document.items()}
    return [*_matching(incomplete, named), *paths(incomplete, (".toml",))]


def profiles(_ctx: click.Context, _option: click.Parameter, incomplete: str) -> Items:
    """Return the built-in profiles, and TOML files."""
    from importlib.resources import files

    folder = files("pats_opt") / "data" / "profiles"
    names = sorted(f.name for f in folder.iterdir() if f.name.endswith(".toml"))
    found = _matching(incomplete, [name.removesuffix(".toml") for name in names])
    return [*found, *paths(incomplete, (".toml",))]


def _fields(name: str) -> tuple[Any, ...]:
    """Return the parameters of a solver or policy; none if it is unknown or fails to import."""
    from pats_opt.cli.describing import fields
    from pats_opt.core import registry
    from pats_opt.errors import InputError

    try:
        return fields(registry.load(name))
    except (InputError, ImportError, TypeError):
        return ()


def _names(option: click.Parameter) -> Iterator[str]:
    """Yield every solver and policy; for ``--policy`` only the policies."""
    from pats_opt.core import registry

    for name in registry.names():
        home = registry.BUILT_IN.get(name, "")
        if (
            option.name not in {"policy", "policies"}
            or not home
            or any(part in home for part in POLICIES)
        ):
            yield name


def _matching(incomplete: str, names: Iterable[str]) -> Items:
    """Return the names that match, with their help if ``names`` is a mapping."""
    texts = names if isinstance(names, dict) else {}
    return [CompletionItem(n, help=texts.get(n)) for n in names if n.startswith(incomplete)]


class Bash(BashComplete):
    """Completion for bash: words with ``:`` and ``=``, file names, no space after ``key=``."""

    name: ClassVar[str] = "bash"
    source_template: ClassVar[str] = r"""%(complete_func)s() {
    local IFS=$'\n'
    local response completion type value

    response=$(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD \
        %(complete_var)s=bash_complete "$1")

    for completion in $response; do
        type=${completion%%%%,*}
        value=${completion#*,}
        if [[ $type == 'dir' ]]; then
            compopt -o dirnames
        elif [[ $type == 'file' ]]; then
            compopt -o default
        elif [[ $type == 'path' ]]; then
            compopt -o filenames
            COMPREPLY+=("${value%%/}")
        else
            [[ $value == *[:=] ]] && compopt -o nospace
            COMPREPLY+=("$value")
        fi
    done
    return 0
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._typed_before = ""  # the part of the word that bash takes for other words

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words, rejoined where bash has split them, and the last one."""
        words = click.shell_completion.split_arg_string(os.environ["COMP_WORDS"])
        here = int(os.environ["COMP_CWORD"])
        before, last = words[1:here], words[here] if here < len(words) else ""
        joined: list[str] = []
        glued = False  # whether the next word belongs to the previous one
        for word in [*before, last]:
            if joined and (glued or word in BREAKS):
                joined[-1] += word
            else:
                joined.append(word)
            glued = word in BREAKS
        incomplete = joined.pop()
        typed = incomplete.partition("=")[2] if incomplete.startswith("-") else incomplete
        self._typed_before = typed[: len(typed) - (0 if last in BREAKS else len(last))]
        return joined, incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return kind and value, without the part that bash has split off."""
        kind = "path" if item.path else item.type
        return f"{kind},{item.value.removeprefix(self._typed_before)}"


def register() -> None:
    """Make click use :class:`Bash`."""
    add_completion_class(Bash)


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands, options, solvers and files in SHELL.

    \b
    Install it once, then open a new shell:
      bash  pats-opt completion bash >> ~/.bashrc
      zsh   pats-opt completion zsh >> ~/.zshrc       (below the line with compinit)
      fish  pats-opt completion fish > ~/.config/fish/completions/pats-opt.fish
    """  # noqa: D301
    register()
    made = get_completion_class(shell)
    assert made is not None
    root = ctx.find_root()
    click.echo(made(root.command, {}, root.info_name or "pats-opt", COMPLETING).source())
