"""The instances of a run: files, folders of them, and generated suites."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pats_opt.core.registry import names
from pats_opt.errors import InputError
from pats_opt.generate import suites as generated
from pats_opt.model.files import read_instance, write_instance
from pats_opt.model.instance import Instance
from pats_opt.runs.copies import here


class InstanceFile(NamedTuple):
    """An instance, its file, and its class."""

    instance: Instance
    file: Path
    group: str


def instance_files(
    paths: Iterable[str], suites: Iterable[str], folder: Path
) -> Iterator[InstanceFile]:
    """The instances of files, folders and suites; those of suites are written first.

    Args:
        paths: Instance files, or folders whose ``*.json`` are instances.
        suites: Generated suites: names, or TOML files that hold one.
        folder: The run's folder, below which suites are written.

    Raises:
        InputError: A file is no instance, or a name no suite.
    """
    for path in _files(paths):
        instance = read_instance(path)
        yield InstanceFile(instance, path, generated.class_of(instance, path.resolve().parent.name))
    for suite in suites:
        yield from _written(suite, folder)


def read_unchanged(file: str, sha256: str, since: str) -> Instance:
    """Read the instance of a run, in a worker.

    Args:
        file: Path of its file for the caller of the worker.
        sha256: Digest that it had.
        since: Moment of that digest, for the message.

    Raises:
        InputError: The file is gone or has changed.
    """
    instance = read_instance(here(file))
    if instance.sha256 != sha256:
        raise InputError(f"the file has changed since {since}", file=file, hint="start anew")
    return instance


def _files(paths: Iterable[str]) -> Iterator[Path]:
    for path in map(Path, paths):
        if str(path).partition(":")[0] in names() and not path.exists():
            raise InputError(
                f"{str(path)!r} is a solver or policy, not an instance",
                hint="join several by commas, without spaces: A,B",
            )
        if not path.is_dir():
            yield path
            continue
        found = sorted(path.rglob("*.json"))
        if not found:
            raise InputError("no *.json in this folder", file=str(path), hint="name instance files")
        yield from found


def _written(suite: str, folder: Path) -> Iterator[InstanceFile]:
    """A suite's instances, in files that outlive the run; suites' names are safe file names."""
    name = Path(suite).stem if suite.endswith(generated.SUFFIX) else suite
    for instance in generated.instances(suite):
        path = folder / "instances" / name / f"{instance.name}.json"
        write_instance(instance, path)
        yield InstanceFile(instance, path, generated.class_of(instance, name))
