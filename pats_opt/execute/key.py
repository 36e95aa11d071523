"""What a run is: all that decides its images and its measures, so that it is resumed as itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from pats_opt.errors import InputError
from pats_opt.execute.journal import Journal
from pats_opt.execute.options import Options
from pats_opt.model.instance import Instance, digest

#: What a part of the key is called in a message.
_NAMES = {"load_from": "--load-from", "memory": "--memory", "adapters": "adapter files"}


def run_key(
    instance: Instance, maker: Mapping[str, str], options: Options, files: Mapping[str, str]
) -> dict[str, str]:
    """The key of a run: names and digests.

    Args:
        instance: What is served.
        maker: The schedule by its digest, or the policy with its parameters and seed.
        options: What it is run with.
        files: The file of each adapter.

    Raises:
        InputError: An adapter's file cannot be read.
    """
    return {
        "instance": instance.sha256,
        **maker,
        "model": options.model,
        "dtype": options.dtype,
        "guidance": repr(float(options.guidance)),
        "shrink": str(options.shrink),
        "pace": options.pace.value,
        "load_from": options.tier.value,
        "memory": repr(options.memory_gib),
        "adapters": digest({name: _file_digest(path) for name, path in files.items()}),
    }


def _file_digest(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=path) from None


def refuse_other(key: Mapping[str, str], journals: Iterable[Journal | None], folder: Path) -> None:
    """Raise where a folder's journals are of another run.

    Raises:
        InputError: naming what differs.
    """
    for journal in journals:
        if journal is None:
            continue
        theirs = journal.head.key
        differ = [n for n in {**theirs, **key} if theirs.get(n) != key.get(n)]
        if differ:
            told = [
                f"{_NAMES.get(name, name)} {_short(theirs.get(name))}, not {_short(key.get(name))}"
                for name in differ
            ]
            raise InputError(
                f"this folder holds another run ({'; '.join(told)})",
                file=str(folder),
                hint="give the options it was begun with, or name another folder",
            )


def _short(value: str | None) -> str:
    if value is None:
        return "none"
    return value[:12] if len(value) == 64 and " " not in value else value
