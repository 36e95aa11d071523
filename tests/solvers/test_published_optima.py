"""Published optima, where the published files are at hand beside the repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import pats_opt
from pats_opt import exporters
from pats_opt.errors import InfeasibleError
from pats_opt.importers.bin_packing import bin_packing_instance, read_bin_packing
from pats_opt.importers.csplib058 import import_csplib058
from pats_opt.importers.tsplib import import_tsplib
from pats_opt.model.instance import Instance
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason

DATA = Path(__file__).parents[3] / "shared" / "data" / "optima"
OPTIMA = DATA / "optima.json"

pytestmark = pytest.mark.skipif(
    not OPTIMA.is_file(), reason="the published files are not at ../shared/data/optima"
)

#: Far above what any of these takes.
TIME_LIMIT_S = 120.0


def published(kind: str, name: str) -> float:
    value = json.loads(OPTIMA.read_text(encoding="utf-8"))[kind][name]
    return float(value["tour"] if isinstance(value, dict) else value)


def reaches(kind: str, instance: Instance, optimum: float) -> None:
    """``auto`` proves the published optimum, and the export says the same."""
    result = pats_opt.solve(instance, "auto", time_limit=TIME_LIMIT_S)
    assert result.loss == optimum
    assert result.bound == pytest.approx(optimum)
    assert result.status.stop is StopReason.OPTIMAL
    exported = exporters.export(kind, Problem(instance), result.schedule)
    assert exported.document["objective"] == optimum


@pytest.mark.parametrize("name", ["gr17.tsp", "gr21.tsp", "ftv33.atsp"])
def test_tsplib(name: str) -> None:
    instance = import_tsplib(DATA / "tsplib" / name)
    reaches("tsplib", instance, published("tsplib", Path(name).stem))


@pytest.mark.parametrize("name", ["pigment15a", "pigment15b", "pigment20a"])
def test_csplib058(name: str) -> None:
    instance = import_csplib058(DATA / "csplib058" / f"{name}.psp")
    reaches("csplib058", instance, published("csplib058", name))


@pytest.mark.parametrize(
    ("file", "name"),
    [(f"PM_u0{n}_01.txt", f"PM_u0{n}_01") for n in (10, 20, 30)]
    + [("binpack1_u120_00-07.txt", f"u120_0{i}") for i in (1, 2, 4, 5)],
)
def test_bin_packing(file: str, name: str) -> None:
    """The fewest bins; that many do, and one fewer does not."""
    packings = {p.name: p for p in read_bin_packing(DATA / "bin-packing" / file)}
    bins = int(published("bin-packing", name))
    reaches("bin-packing", bin_packing_instance(packings[name]), bins)
    enough = bin_packing_instance(packings[name], bins=bins)
    assert pats_opt.solve(enough, "auto", time_limit=TIME_LIMIT_S).loss == 0.0
    too_few = bin_packing_instance(packings[name], bins=bins - 1)
    with pytest.raises(InfeasibleError):
        pats_opt.solve(too_few, "auto", time_limit=TIME_LIMIT_S)
