"""Train and test instances, kept apart.

The split is by class, so that each side has its share of every class, and by the instances' digests
and the seed alone: the order or the names of files cannot matter. The same instance, by its digest,
is never on both sides: given twice it counts once, and named for the test it is no train instance.
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


class Case(Struct, frozen=True, kw_only=True):
    """One instance: its name, class, digest and file."""

    name: str
    group: str
    sha256: str
    file: str


def cases(
    paths: Sequence[str],
    suites: Sequence[str],
    folder: Path,
    look: Callable[[Instance, str], None] = lambda *_: None,
) -> list[Case]:
    """The instances of files, folders and suites, each once; suites are written below ``folder``.

    Args:
        paths: Files, or folders whose ``*.json`` are instances.
        suites: Names of generated suites.
        folder: The search's folder.
        look: Called with each instance and its file while it is at hand, to refuse it.

    Raises:
        InputError: for a file that is no instance, or a name that is no suite.
    """
    found: dict[str, Case] = {}
    for source in instance_files(paths, suites, folder):
        instance, file = source.instance, str(source.file)
        if instance.sha256 not in found:
            look(instance, file)
            found[instance.sha256] = Case(
                name=instance.name, group=source.group, sha256=instance.sha256, file=file
            )
    return sorted(found.values(), key=lambda case: (case.group, case.name, case.sha256))


def split(all_cases: Sequence[Case], share: float, seed: int) -> tuple[list[Case], list[Case]]:
    """Train and test instances: ``share`` of each class for the test, drawn by ``seed``.

    At least one instance is on each side. Where a class's share is no whole number, the classes
    with the largest fractions give one more (ties: in the order of their names).

    Raises:
        InputError: there are fewer than two instances.
    """
    if len(all_cases) < 2:
        raise InputError(
            f"{len(all_cases)} instance cannot be split into train and test",
            hint="name at least two different ones, or test instances of their own",
        )
    groups: dict[str, list[Case]] = defaultdict(list)
    for case in sorted(all_cases, key=lambda case: (case.group, case.sha256)):
        groups[case.group].append(case)
    wanted = min(max(round(share * len(all_cases)), 1), len(all_cases) - 1)
    counts = {group: int(share * len(members)) for group, members in groups.items()}
    fractions = sorted(groups, key=lambda group: counts[group] - share * len(groups[group]))
    for group in fractions:
        if sum(counts.values()) < wanted:
            counts[group] += 1
    rng = np.random.default_rng(seed)
    test: set[str] = set()
    for group, members in groups.items():
        drawn = rng.permutation(len(members))[: counts[group]]
        test.update(members[i].sha256 for i in drawn)
    return (
        [case for case in all_cases if case.sha256 not in test],
        [case for case in all_cases if case.sha256 in test],
    )


def apart(train: Sequence[Case], test: Sequence[Case]) -> list[Case]:
    """The train instances that are not among the test instances.

    Raises:
        InputError: none is left, or there is no test instance.
    """
    named = {case.sha256 for case in test}
    left = [case for case in train if case.sha256 not in named]
    if not left or not test:
        raise InputError(
            "every train instance is a test instance as well",
            hint="name train instances besides those of --test and --test-suite",
        )
    return left
