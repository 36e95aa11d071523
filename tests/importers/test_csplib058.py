"""``import csplib058``: the file, the reading backwards in time, bad files."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import pats_opt
from pats_opt.errors import InfeasibleError, InputError
from pats_opt.importers.csplib058 import (
    LotSizing,
    import_csplib058,
    lot_sizing_instance,
    read_csplib058,
)
from tests.support.classics import cheapest_plan, random_matrix

FILE = "5\n2\n0 1 0 0 1\n1 0 0 1 0\n2\n\n0 5\n3 0\n\n8"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ours.psp"


def test_file(file: Path) -> None:
    file.write_text(FILE)
    lots = LotSizing("ours", ((0, 1, 0, 0, 1), (1, 0, 0, 1, 0)), 2.0, ((0, 5), (3, 0)), 8.0)
    assert read_csplib058(file) == lots
    file.write_text(FILE.removesuffix("8"))
    assert read_csplib058(file).best_known is None


def test_reading_backwards(file: Path) -> None:
    """An order due in period d arrives at slot T - d; the change from b to a costs q[a][b]."""
    file.write_text(FILE)
    instance = import_csplib058(file)
    assert {r.id: r.arrival_s for r in instance.requests} == {
        "item-1-due-2": 3.0,
        "item-1-due-5": 0.0,
        "item-2-due-1": 4.0,
        "item-2-due-4": 1.0,
    }
    costs = {(p.source, p.target): p.load_s for p in instance.switching.pairs}
    assert costs == {("item-2", "item-1"): 5.0, ("item-1", "item-2"): 3.0}
    assert (instance.horizon_ticks, instance.latency_price_per_s) == (5, 2.0)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("5\n2\n", "", "line 1: '0' is no number of periods"),
        ("5\n2\n", "5.5\n2\n", "line 1: '5.5' is no number of periods"),
        ("0 1 0 0 1", "0 1 0 0 -1", "line 3: '-1' is no demand of item 1"),
        ("0 1 0 0 1", "0 1 0 0 6", "line 3: '6' is no demand of item 1"),
        ("1 0 0 1 0", "1 0 0 one 0", "line 4: 'one' is no demand of item 2"),
        ("3 0\n\n8", "3", "line 8: the file ends where changeover cost from item 2 should be"),
        ("0 5", "0 -5", "line 7: '-5' is no changeover cost from item 1"),
        ("\n8", "\n8 9", "line 10: 1 words follow the optimal cost"),
    ],
)
def test_bad_files_are_one_line(file: Path, before: str, after: str, message: str) -> None:
    assert before in FILE
    file.write_text(FILE.replace(before, after, 1))
    with pytest.raises(InputError) as error:
        read_csplib058(file)
    assert str(error.value).startswith(f"{file}: ")
    assert message in str(error.value)


@pytest.mark.parametrize("solver", ["dp", "cpsat", "cpsat:formulation=positions", "milp"])
def test_the_loss_is_the_least_cost(solver: str) -> None:
    """Against every plan, also where demand cannot be met, and several units at once."""
    rng = random.Random(13)
    infeasible = 0
    for _ in range(8):
        demand = tuple(tuple(rng.choice((0, 0, 0, 1)) for _ in range(6)) for _ in range(2))
        if rng.random() < 0.5:
            demand = ((*demand[0][:-1], 2), demand[1])
        changeover = tuple(map(tuple, random_matrix(rng, 2)))
        lots = LotSizing("x", demand, 3.0, changeover)
        least = cheapest_plan(demand, 3.0, changeover)
        if least is None:
            infeasible += 1
            with pytest.raises(InfeasibleError):
                pats_opt.solve(lot_sizing_instance(lots), solver, time_limit=60)
            continue
        result = pats_opt.solve(lot_sizing_instance(lots), solver, time_limit=60)
        assert result.loss == pytest.approx(least)
        assert result.bound == pytest.approx(least)
    assert 0 < infeasible < 8
