"""Drawing data of schedules, against a plain recomputation from the batches."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_opt.model.checker import ReplayedBatch, check
from pats_opt.model.instance import Instance
from pats_opt.model.parsing import convert
from pats_opt.model.plan import PlannedBatch, plan_of, schedule_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule, SolverRef
from pats_opt.solving.solve import solve
from pats_opt.tables import ScheduleTable
from pats_opt.views.bars import bar_legend
from pats_opt.views.lines import thinned, until
from pats_opt.views.overview import OTHERS, SWITCHING, time_shares
from pats_opt.views.style import MOST_APART
from pats_opt.views.view import LANE, Chart, StepSeries
from tests.support.strategies import documents
from tests.support.zoo import ZOO, Json, Solved, adapter, document, gpu, request


def seen(raw: Json) -> tuple[Problem, Schedule, tuple[ReplayedBatch, ...], Chart]:
    """A schedule of an instance by a policy, with its chart."""
    problem = Problem(convert(raw, Instance))
    schedule = solve(problem.instance, "fcfs-grouped").schedule
    batches = check(problem, schedule).replayed
    table = ScheduleTable.from_replay(problem, batches)
    return problem, schedule, batches, Chart.of(table, schedule)


@given(documents())
def test_members_are_those_of_the_batches(raw: Json) -> None:
    """Every member once, with its seconds, its own end, and its place in the lane."""
    problem, _, batches, chart = seen(raw)
    tick_s, slotted = problem.site.tick_s, problem.site.clock.slotted
    bars, requests = chart.requests, chart.seconds.requests
    gpus = chart.table.batches.gpu[requests.batch]
    found = {
        job: (start, end, done, gpu)
        for job, start, end, done, gpu in zip(
            requests.job.tolist(),
            requests.start.tolist(),
            bars.right.tolist(),
            requests.completion.tolist(),
            gpus.tolist(),
            strict=True,
        )
    }
    assert found == {
        job.index: (
            pytest.approx(batch.batch.start * tick_s),
            pytest.approx((batch.end if slotted else done) * tick_s),
            pytest.approx(done * tick_s),
            batch.gpu,
        )
        for batch in batches
        for job, _, done in batch.members
    }
    assert (np.diff(requests.start) >= 0).all()
    lane = gpus.astype(float)
    assert (bars.top >= lane - 1e-9).all()
    assert (bars.bottom <= lane + LANE + 1e-9).all()


@given(documents())
def test_members_of_a_batch_do_not_overlap_and_the_longest_lies_lowest(raw: Json) -> None:
    chart = seen(raw)[3]
    bars, requests = chart.requests, chart.seconds.requests
    for batch in set(requests.batch.tolist()):
        mine = [k for k, b in enumerate(requests.batch.tolist()) if b == batch]
        mine.sort(key=lambda k: -float(bars.bottom[k]))
        for below, above in pairwise(mine):
            assert bars.top[below] == pytest.approx(bars.bottom[above])
            assert requests.completion[below] >= requests.completion[above]
        top = float(chart.batches.top[batch])
        assert bars.top[mine[-1]] == pytest.approx(top)


@given(documents())
def test_losses_of_requests_and_switches_add_up(raw: Json) -> None:
    problem, schedule, _, chart = seen(raw)
    terms = check(problem, schedule).terms
    whole = chart.losses()
    assert sum(one.quality for one in whole) == pytest.approx(terms.quality)
    assert sum(one.latency for one in whole) == pytest.approx(terms.latency)
    assert sum(one.late for one in whole) == pytest.approx(terms.late)
    assert sum(one.rejection for one in whole) == pytest.approx(terms.rejection)
    assert [one.total for one in whole] == sorted((one.total for one in whole), reverse=True)
    paid = chart.table.switches.seconds.sum() * problem.site.switch_price_per_s
    assert paid == pytest.approx(terms.switching)


@given(documents(), st.floats(0, 1))
def test_memory_at_any_time_is_what_is_held_then(raw: Json, share: float) -> None:
    """The residents of the last switch, and the members that are inside."""
    problem, _, batches, chart = seen(raw)
    site = problem.site
    tick = int(share * max((b.end for b in batches), default=0))
    for gpu_ in site.gpus:
        mine = [b for b in batches if b.gpu == gpu_.index]
        begun = [b for b in mine if b.batch.switch_start <= tick]
        resident = begun[-1].resident if begun else gpu_.resident
        inside = sum(
            job.demand[0]
            for b in mine
            for job, _, done in b.members
            if b.batch.start <= tick < (b.end if site.clock.slotted else done)
        )
        held = site.base_vram + sum(site.adapter_vram[a] for a in resident) + inside
        x, y = chart.memory[gpu_.index]
        level = y[np.searchsorted(np.rint(x / site.tick_s), tick, "right") - 1]
        assert level == pytest.approx(held / 1e9)


@pytest.mark.parametrize("solved", ZOO, ids=lambda s: s.__name__)
def test_shares_of_the_far_view_are_those_of_gpu_time(solved: Callable[[], Solved]) -> None:
    """Over all bins, the seconds of serving and of switching are those of the batches."""
    chart = seen(solved().document)[3]
    blocks = time_shares(chart)
    seconds = (blocks.boxes.right - blocks.boxes.left) * blocks.share
    switching = blocks.key == SWITCHING
    start, switches = chart.seconds.batches.start, chart.seconds.switches
    assert seconds[~switching].sum() == pytest.approx((chart.batches.right - start).sum())
    assert seconds[switching].sum() == pytest.approx((switches.end - switches.start).sum())
    assert (blocks.share <= 1 + 1e-9).all()
    np.testing.assert_allclose(blocks.boxes.bottom - blocks.boxes.top, LANE * blocks.share)


def test_the_far_view_takes_rare_adapters_together() -> None:
    """Ten adapters: those served longest have a colour each, the rest are one block a bin."""
    names = [f"a{k}" for k in range(10)]
    requests = [request(f"{n}-{i}", adapter=n) for k, n in enumerate(names) for i in range(10 - k)]
    raw = document(
        *requests,
        gpus=[gpu(resident=())],
        adapters=[adapter(n, 1.0) for n in names],
        service={"kind": "steps", "step_s": {"table": [1.0]}},
    )
    blocks = time_shares(seen(raw)[3])
    assert set(blocks.key.tolist()) == {SWITCHING, OTHERS, *range(MOST_APART)}


def test_classes_of_batches_are_by_hit_and_size() -> None:
    """Batches of 1, 3, 4 and 2, the first and the last after a load; then 15 of other adapters."""
    names = ["a"] * 8 + ["b"] * 2 + [f"c{k}" for k in range(15)]
    raw = document(
        *[request(f"r{k}", adapter=name) for k, name in enumerate(names)],
        gpus=[gpu(resident=())],
        adapters=[adapter(name, 1.0) for name in dict.fromkeys(names)],
        service={"kind": "steps", "step_s": {"table": [1.0] * 4}},
    )
    problem = Problem(convert(raw, Instance))
    groups = [range(1), range(1, 4), range(4, 8), range(8, 10), *([k] for k in range(10, 25))]
    plan = [
        PlannedBatch(
            100 * n, tuple((k, 0) for k in some), frozenset({problem.jobs[some[0]].adapter})
        )
        for n, some in enumerate(groups, 1)
    ]
    schedule = schedule_of(problem, plan_of([plan]), SolverRef(name="test"))
    chart = Chart.of(ScheduleTable.from_replay(problem, check(problem, schedule).replayed))
    found = [chart.style.names[k] for k in chart.style.batches.tolist()]
    assert found[:5] == [
        "miss, batch of 1",
        "hit, batch of 2 or 3",
        "hit, batch of 4 or more",
        "miss, batch of 2 or 3",
        "miss, batch of 1",
    ]
    assert [key.requests for key in bar_legend(chart.table).keys] == [0, 3, 4, 16, 2, 0]
    assert OTHERS not in time_shares(chart).key


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=400), st.integers(2, 20))
def test_a_thinned_line_keeps_every_bins_extremes(levels: list[int], bins: int) -> None:
    line = StepSeries(np.arange(len(levels), dtype=float), np.array(levels, dtype=float))
    thin = thinned(line, 4 * bins)
    assert len(thin.x) <= max(4 * bins, 4)
    assert set(zip(*thin, strict=True)) <= set(zip(*line, strict=True))
    assert (thin.y.min(), thin.y.max()) == (line.y.min(), line.y.max())
    assert (thin.x[0], thin.x[-1]) == (line.x[0], line.x[-1])
    assert (thin.y[0], thin.y[-1]) == (line.y[0], line.y[-1])


def test_a_line_goes_on_at_its_last_level() -> None:
    line = StepSeries(np.array([0.0, 2.0]), np.array([1.0, 3.0]))
    x, y = until(line, 5.0)
    assert (x.tolist(), y.tolist()) == ([0, 2, 5], [1, 3, 3])
    assert until(line, 1.0) is line


def test_prices_are_per_second_and_free_after_their_end() -> None:
    """Entries of 4 s, each the price of a tick of 2 s; the cache's places have theirs."""
    problem = Problem(convert(document(request("r0"), tick_s=2.0), Instance))
    extra = {
        "prices": {"tick_s": 4.0, "gpus": [{"gpus": ["gpu-0"], "hold": [0.5, 1], "keep": [2]}]}
    }
    schedule = schedule_of(
        problem,
        plan_of([[PlannedBatch(0, ((0, 0),), frozenset({0}))]]),
        SolverRef(name="test"),
    )
    schedule = msgspec.structs.replace(schedule, extra=extra)
    (line,) = Chart.of(
        ScheduleTable.from_replay(problem, check(problem, schedule).replayed), schedule
    ).prices
    assert (line.hold.x.tolist(), line.hold.y.tolist()) == ([0, 4, 8], [0.25, 0.5, 0])
    assert line.keep is not None
    assert line.keep.y.tolist() == [1.0, 0.0]
