"""Losses with one resident adapter do not change with rule 4 of PROBLEM.md's new edition."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

import pats_opt

HERE = Path(__file__).parent
INSTANCES = HERE.parents[1] / "instances"


def losses() -> Iterator[tuple[Path, dict[str, str]]]:
    """Each instance of the repository, with the losses of policies by the edition before."""
    table: dict[str, dict[str, str]] = {}
    with (HERE / "one_resident.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            table.setdefault(row["instance"], {})[row["policy"]] = row["loss"]
    for name, found in table.items():
        yield next(INSTANCES.glob(f"*/{name}.json")), found


CASES = [pytest.param(path, found, id=path.stem) for path, found in losses()]


@pytest.mark.parametrize(("path", "expected"), CASES)
def test_losses_stay_to_the_last_digit(path: Path, expected: dict[str, str]) -> None:
    instance = pats_opt.read_instance(path)
    found = {policy: repr(pats_opt.solve(instance, policy).loss) for policy in expected}
    assert found == expected
