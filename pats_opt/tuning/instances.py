"""Train and test instances, kept apart.

The split is by class, so that each side has its share of every class. It depends on the instances'
digests and the seed alone, not on the order or the names of files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.model.instance import Instance
from pats_opt.runs.instances import instance_files


class TuneInstance(Struct, frozen=True, kw_only=True):
    """An instance of a search: its name, class, digest and file."""

    name: str
    group: str
    sha256: str
    file: str


def instances_of(
    paths: Sequence[str],
    suites: Sequence[str],
    folder: Path,
    validate: Callable[[Instance, str], None] = lambda *_: None,
) -> list[TuneInstance]:
    """Read the instances of files, folders and suites, each once.

    Args:
        paths: Files, or folders whose ``*.json`` are instances.
        suites: Names of generated suites.
        folder: The search's folder, below which suites are written.
        validate: Called with each instance and its file; raises to refuse it.

    Raises:
        InputError: for a file that is no instance, or a name that is no suite.
    """
    found: dict[str, TuneInstance] = {}
    for source in instance_files(paths, suites, folder):
        instance, file = source.instance, str(source.file)
        if instance.sha256 not in found:
            validate(instance, file)
            found[instance.sha256] = TuneInstance(
                name=instance.name, group=source.group, sha256=instance.sha256, file=file
            )
    return sorted(found.values(), key=lambda one: (one.group, one.name, one.sha256))


def split(
    instances: Sequence[TuneInstance], share: float, seed: int
) -> tuple[list[TuneInstance], list[TuneInstance]]:
    """Split instances into train and test: ``share`` of each class for the test, drawn by ``seed``.

    At least one instance is on each side. Where a class's share is no whole number, the classes
    with the largest fractions give one more (ties: in the order of their names).

    Raises:
        InputError: there are fewer than two instances.
    """
    if len(instances) < 2:
        raise InputError(
            f"{len(instances)} instance cannot be split into train and test",
            hint="name at least two different ones, or test instances of their own",
        )
    groups: dict[str, list[TuneInstance]] = defaultdict(list)
    for one in sorted(instances, key=lambda one: (one.group, one.sha256)):
        groups[one.group].append(one)
    wanted = min(max(round(share * len(instances)), 1), len(instances) - 1)
    counts = {group: int(share * len(members)) for group, members in groups.items()}
    fractions = sorted(groups, key=lambda group: counts[group] - share * len(groups[group]))
    for group in fractions[: wanted - sum(counts.values())]:
        counts[group] += 1
    rng = np.random.default_rng(seed)
    test: set[str] = set()
    for group, members in groups.items():
        drawn = rng.permutation(len(members))[: counts[group]]
        test.update(members[i].sha256 for i in drawn)
    return (
        [one for one in instances if one.sha256 not in test],
        [one for one in instances if one.sha256 in test],
    )


def without(train: Sequence[TuneInstance], test: Sequence[TuneInstance]) -> list[TuneInstance]:
    """Return the train instances that are not among the test instances.

    Raises:
        InputError: none is left, or there is no test instance.
    """
    digests = {one.sha256 for one in test}
    left = [one for one in train if one.sha256 not in digests]
    if not left or not test:
        raise InputError(
            "every train instance is a test instance as well",
            hint="name train instances besides those of --test and --test-suite",
        )
    return left
