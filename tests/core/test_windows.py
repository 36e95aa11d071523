"""Service by window: by user's request, in the order of arrival, against a plain restatement."""

from __future__ import annotations

import math

import pytest

from pats_opt.core.solver import Feature
from pats_opt.model.problem import Problem
from pats_opt.solving.solve import solve
from pats_opt.tables import ScheduleTable
from pats_opt.tables.windows import window_services
from pats_opt.testing.instances import random_instance


def plain(table: ScheduleTable, windows: int, slo_s: float) -> list[tuple[int, int, int, int]]:
    """Requests, images, served and within of each window, by loops."""
    problem, requests = table.problem, table.requests
    tick_s = problem.site.tick_s
    ends = dict(zip(requests.job.tolist(), requests.completion.tolist(), strict=True))
    users: dict[object, list[tuple[float, float]]] = {}
    for job in problem.jobs:
        name = problem.instance.requests[job.position].group or ("alone", job.index)
        users.setdefault(name, []).append((job.arrival, ends.get(job.index, math.inf)))
    ranked = sorted(users.values(), key=lambda images: min(a for a, _ in images))
    found = []
    for k in range(min(windows, len(ranked))):
        some = ranked[k * len(ranked) // windows : (k + 1) * len(ranked) // windows]
        latency = [(max(e for _, e in u) - min(a for a, _ in u)) * tick_s for u in some]
        served = [x for x in latency if math.isfinite(x)]
        within = sum(x <= slo_s + 1e-9 * tick_s for x in served)
        found.append((len(some), sum(map(len, some)), len(served), within))
    return found


@pytest.mark.parametrize("seed", range(12))
def test_windows_are_as_restated(seed: int) -> None:
    features = (Feature.GPUS, Feature.REJECTION) if seed % 2 else (Feature.OPTIONS,)
    problem = Problem(random_instance(seed, features, requests=(20, 30)))
    result = solve(problem, "fcfs-grouped")
    table = ScheduleTable.from_replay(problem, result.replayed, result.loads)
    slo_s = 5 * problem.site.tick_s
    found = window_services(table, 4, slo_s)
    assert [(w.requests, w.images, w.served, w.within) for w in found] == plain(table, 4, slo_s)
    assert sum(w.images for w in found) == len(problem.jobs)
    assert window_services(table, 0) == ()
    assert [w.within for w in window_services(table, 2)] == [None, None]
