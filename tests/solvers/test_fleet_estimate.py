"""The estimate that labels of fleets are compared by, worked out afresh for every label."""

from __future__ import annotations

import math
import random
from typing import Any

import numba
import numpy as np
import pytest

from pats_opt.core.solver import Feature
from pats_opt.model.problem import Problem
from pats_opt.testing.instances import random_features, random_instance
from pats_solvers.common.arrays import Ints
from pats_solvers.dp.bound import unpack
from pats_solvers.dp.fleet.bound import NEVER, elsewhere, paid_rest, state_of, whole_value
from pats_solvers.dp.fleet.labels import FleetLabels
from pats_solvers.dp.fleet.model import fleet_tables_at
from pats_solvers.dp.fleet.search import FleetSearch
from tests.solvers.test_fleet_search import CASES, OTHERS
from tests.support import scale
from tests.support.label_passes import random_prices


@numba.njit
def rest(model: Any, gpus: Any, counts: Any) -> float:
    """Return what is left, where the GPU that does it for least serves all of an adapter."""
    backlogs, cost = np.zeros(1 + len(model.tables), dtype=np.int64), 0.0
    for q in range(len(counts)):
        cost += model.slots[model.classes[q].arrival_at + q + counts[q]]
    for h in range(len(gpus)):
        cost += paid_rest(model, model.gpus[h], gpus[h].free)
    for a in range(len(model.bits)):
        left, least = 0, np.inf
        for q in range(model.adapters[a].class_at, model.adapters[a + 1].class_at):
            left += model.classes[q].jobs - counts[q]
        for h in range(len(gpus)):
            gpu = gpus[h]
            if gpu.free < NEVER:
                state, grain = state_of(model, gpu, a), gpu.free // model.grain
                each = whole_value(model, model.gpus[h], a, state, grain, counts, backlogs)
                least = min(least, each)
        if left:
            cost += least if least < np.inf else elsewhere(model, a, counts)
    return cost


@pytest.mark.parametrize("case", CASES[2:], ids=lambda case: "-".join(f.name for f in sorted(case)))
def test_what_changes_with_a_child_adds_up(
    case: set[Feature], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An estimate is carried from label to child by differences, whatever the instance has."""
    rng, collect, checked = random.Random(str(sorted(case))), FleetLabels.collect, list[float]()

    def checking(labels: FleetLabels, layer: int, width: int) -> Ints:
        rows = collect(labels, layer, width)
        counts = np.zeros(len(search.data.kinds), dtype=np.int64)
        for row in rows if layer > 0 else ():
            unpack(search.model.classes, labels.pool.key, row, counts)
            label = labels.pool.labels[row]
            estimate = float(label["loss"]) + rest(search.model, labels.pool.gpus[row], counts)
            assert label["rank"] == pytest.approx(estimate, abs=1e-9)
            checked.append(estimate)
        return rows

    monkeypatch.setattr(FleetLabels, "collect", checking)
    for seed in scale.seeds(20):
        wanted = random_features(rng, 0.35, OTHERS) | case
        if Feature.PAIRS in case:
            wanted -= {Feature.RESIDENT, Feature.ACTIVATE}
        problem = Problem(random_instance(seed, wanted, requests=(2, 5), tight=seed % 3 == 0))
        search = FleetSearch(problem, fleet_tables_at(*random_prices(problem, rng)))
        search.run(math.inf, lambda: None, beam=20)
    assert checked
