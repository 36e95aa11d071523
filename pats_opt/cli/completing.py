"""What a word on the command line can be completed to, for bash, zsh and fish.

The scripts and the protocol are click's. Bash is told more than click tells it: it splits words at
``:`` and ``=``, which stand inside a solver's name with its parameters.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class

Items = list[CompletionItem[str]]

#: Suffixes of the files that a parameter of this name takes; others take any file.
SUFFIXES = {
    "instance": (".json",),
    "instances": (".json",),
    "schedule": (".json",),
    "test": (".json",),
    "config": (".toml",),
    "run_file": (".toml",),
}

#: Where bash splits words, though a solver's name with its parameters is one.
BREAKS = (":", "=")


def paths(incomplete: str, suffixes: tuple[str, ...]) -> Items:
    """Folders, and files with one of these suffixes, whose paths begin with ``incomplete``."""
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


def specs(ctx: click.Context, option: click.Parameter, incomplete: str) -> Items:  # noqa: ARG001
    """Solvers and policies; behind ``name:`` its parameters, and behind ``key=`` their values."""
    name, colon, _ = incomplete.partition(":")
    if not colon:
        return _starting(incomplete, _names(option))
    head, _, last = incomplete.rpartition(":")
    used = {setting.partition("=")[0] for setting in head.split(":")[1:]}
    return [
        CompletionItem(f"{head}:{item.value}", help=item.help)
        for item in settings(_fields(name), last)
        if item.value.partition("=")[0] not in used
    ]


def spec_list(ctx: click.Context, option: click.Parameter, incomplete: str) -> Items:
    """Solvers and policies by commas."""
    head, comma, last = incomplete.rpartition(",")
    return [
        CompletionItem(f"{head}{comma}{item.value}", help=item.help)
        for item in specs(ctx, option, last)
    ]


def params(ctx: click.Context, option: click.Parameter, incomplete: str) -> Items:  # noqa: ARG001
    """``KEY=VALUE`` of the solver or policy that the command line names."""
    spec = ctx.params.get("solver") or ctx.params.get("policy") or ""
    return settings(_fields(spec.partition(":")[0]), incomplete)


def settings(fields: Iterable[Any], incomplete: str) -> Items:
    """``key=``, or ``key=value`` of a key whose values can be listed."""
    from pats_opt.cli.describing import choices

    key, equals, value = incomplete.partition("=")
    if not equals:
        return [CompletionItem(f"{f.name}=") for f in fields if f.name.startswith(key)]
    known = next((choices(field.type) for field in fields if field.name == key), [])
    return [CompletionItem(f"{key}={one}") for one in known if one.startswith(value)]


def suites(ctx: click.Context, option: click.Parameter, incomplete: str) -> Items:  # noqa: ARG001
    """Suites of the package, and TOML files."""
    document = tomllib.loads((files("pats_opt") / "data" / "suites.toml").read_text("utf-8"))
    named = {name: str(suite.get("about", "")) for name, suite in document.items()}
    return [*_starting(incomplete, named), *paths(incomplete, (".toml",))]


def profiles(ctx: click.Context, option: click.Parameter, incomplete: str) -> Items:  # noqa: ARG001
    """Profiles of the package, and TOML files."""
    folder = files("pats_opt") / "data" / "profiles"
    names = sorted(f.name for f in folder.iterdir() if f.name.endswith(".toml"))
    found = _starting(incomplete, [name.removesuffix(".toml") for name in names])
    return [*found, *paths(incomplete, (".toml",))]


def _fields(name: str) -> tuple[Any, ...]:
    """The parameters of a solver or policy; none of one that is not there or cannot be imported."""
    from pats_opt.cli.describing import fields
    from pats_opt.core import registry
    from pats_opt.errors import InputError

    try:
        return fields(registry.load(name))
    except (InputError, ImportError, TypeError):
        return ()


def _names(option: click.Parameter) -> Iterator[str]:
    """Every solver and policy; for an option that is named after policies, only those."""
    from pats_opt.core import registry

    for name in registry.names():
        home = registry.BUILT_IN.get(name, "")
        if option.name != "policy" or not home or ".online." in home:
            yield name


def _starting(incomplete: str, names: Iterable[str]) -> Items:
    """The names that begin so; with their help where ``names`` is a mapping."""
    told = names if isinstance(names, dict) else {}
    return [CompletionItem(n, help=told.get(n)) for n in names if n.startswith(incomplete)]


class Bash(BashComplete):
    """Bash, with words that hold ``:`` and ``=``, file names, and no blank after ``key=``."""

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
        self._typed_before = ""  # of the word, what bash takes for other words

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words, those put together again that were split at ``:`` or ``=``."""
        words = click.shell_completion.split_arg_string(os.environ["COMP_WORDS"])
        here = int(os.environ["COMP_CWORD"])
        before, last = words[1:here], words[here] if here < len(words) else ""
        joined: list[str] = []
        glued = False  # whether the next word belongs to the one before
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
        """Kind and value; bash keeps what it has split off, so that is left out."""
        kind = "path" if item.path else item.type
        return f"{kind},{item.value.removeprefix(self._typed_before)}"


def register() -> None:
    """Make click use :class:`Bash`."""
    add_completion_class(Bash)
