"""Metrics of schedules: by hand, against plain restatements, and the laws that they obey."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict

from pats_opt.errors import NoScheduleError
from pats_opt.model.checker import ReplayedBatch, check
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.instance import Instance
from pats_opt.model.plan import Plan, PlannedBatch, plan_of, schedule_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import SolverRef
from pats_opt.solving.result import Result
from pats_opt.solving.solve import solve
from pats_opt.tables import (
    BY_DEADLINE,
    BY_GROUP,
    BY_LOADER,
    BY_LOOK_UP,
    METRICS,
    AdapterMetrics,
    Metrics,
    ScheduleTable,
    adapter_table,
    level_counts,
    levels_of,
    measure,
    queue_series,
    queue_steps,
    shown,
)
from pats_opt.tables.statistics import group_quantiles, jain, quantile, rank
from pats_opt.testing.instances import random_features, random_instance
from tests.core.plain_metrics import Plain
from tests.support import scale
from tests.support.zoo import adapter, document, gpu, request


def approx(value: Any) -> Any:
    """Equal up to rounding; None and texts as they are."""
    return value if value is None or isinstance(value, str) else pytest.approx(value, abs=1e-9)


def replayed(problem: Problem, plan: Plan) -> list[ReplayedBatch]:
    """A valid plan as the checker replays it."""
    verdict = check(problem, schedule_of(problem, plan, SolverRef(name="test")))
    batches = list(verdict.replayed)
    assert verdict.ok, verdict.violations
    return batches


def worked(groups: Mapping[str, str | None] | None = None) -> ScheduleTable:
    """Two adapters on two GPUs that hold one each; a step takes a second, a load two.

    ======  ====  =====  =====  =====
    GPU     load  start  end    who
    ======  ====  =====  =====  =====
    gpu-0         0      4      r0 (2 steps, arrives 0), r1 (4 of 4 or 2 steps, arrives 0)
    gpu-0   b     6      7      r3 (1 step, arrives 1)
    gpu-0         7      8      r4 (1 step, arrives 7)
    gpu-1   a     4      6      r2 (2 steps, arrives 1)
    ======  ====  =====  =====  =====

    r5, of adapter c, is rejected.
    """
    two = [{"steps": 2, "quality": 0.5}, {"steps": 4, "quality": 1.0}]
    instance = document(
        request("r0", 2),
        request("r1", options=two),
        request("r2", 2, arrival_s=1.0),
        request("r3", arrival_s=1.0, adapter="b"),
        request("r4", arrival_s=7.0, adapter="b", deadline_s=0.5),
        request("r5", arrival_s=7.0, adapter="c", reject_loss=8.0),
        gpus=[gpu(), gpu("gpu-1", resident=())],
        adapters=[adapter("a", 2.0, 1.0), adapter("b", 1.5, 2.0), adapter("c"), adapter("idle")],
    )
    for asked in instance["requests"]:
        if groups and asked["id"] in groups:
            asked["group"] = groups[asked["id"]]
    problem = Problem(parse_instance(json.dumps(instance)))
    a, b = frozenset({0}), frozenset({1})
    first = [
        PlannedBatch(0, ((0, 0), (1, 1)), a),
        PlannedBatch(6, ((3, 0),), b),
        PlannedBatch(7, ((4, 0),), b),
    ]
    plan = plan_of([first, [PlannedBatch(4, ((2, 0),), a, switch_start=2)]])
    return ScheduleTable.from_replay(problem, replayed(problem, plan))


def test_figures_of_a_schedule_worked_by_hand() -> None:
    """Waits are 0, 0, 3, 5, 0; latencies 2, 4, 5, 6, 1; a's mean is 11 / 3, b's 3.5."""
    made = measure(worked(), max_wait_s=3.0)
    assert (made.served, made.rejected, made.batches, made.mean_batch) == (5, 1, 4, 1.25)
    assert (made.wait_mean_s, made.wait_p95_s, made.wait_p99_s) == (8 / 5, 5.0, 5.0)
    assert (made.wait_max_s, made.wait_max_request, made.starved) == (5.0, "r3", 1)
    latencies = (made.latency_mean_s, made.latency_p50_s, made.latency_max_s)
    assert latencies == (18 / 5, 4.0, 6.0)
    # Two wait from 1, one from 4, none from 6: 6 + 2 over 8 s.
    assert (made.queue_mean, made.queue_max) == (1.0, 2)
    assert (made.makespan_s, made.throughput_per_s, made.steps_per_s) == (8.0, 5 / 8, 10 / 8)
    assert (made.switches, made.loads, made.evictions, made.switching_s) == (2, 2, 1, 3.5)
    assert (made.hit_share, made.batch_hit_share) == (approx(3 / 5), 0.5)
    # Of 16 s: 4 + 1 + 1 + 2 serving, 2 + 2 switching (1.5 s of loading takes two ticks).
    assert (made.busy_share, made.switching_share, made.idle_share) == (0.5, 0.25, 0.25)
    assert made.serving_of_used == pytest.approx(8 / 12)
    assert (made.vram_peak_gib, made.deadline_misses) == (3.0, 1)
    assert made.jain == pytest.approx((11 / 3 + 3.5) ** 2 / (2 * ((11 / 3) ** 2 + 3.5**2)))
    assert (made.worst_adapter, made.worst_adapter_p95_s) == ("b", 6.0)
    assert (made.steps_saved_share, made.quality_mean) == (0.0, 1.0)


@pytest.mark.parametrize("clock", ["ticks", "seconds"])
def test_groups_worked_by_hand(clock: str) -> None:
    """Two of a call arrive at 0 and 1 and end at 2 and 6: 6 s. The whole of the other: 4 s.

    The third call loses r5, so that it counts as rejected; r4 is in no group.
    """
    groups = {"r0": "x", "r1": "y", "r2": "x", "r3": "z", "r4": None, "r5": "z"}
    table = worked(groups)
    made = measure(table if clock == "ticks" else table.in_seconds())
    assert (made.groups_served, made.groups_rejected) == (2, 1)
    assert (made.group_latency_mean_s, made.group_latency_p50_s) == (5.0, 4.0)
    assert (made.group_latency_p95_s, made.group_latency_max_s) == (6.0, 6.0)
    hidden = {*BY_LOADER, *BY_LOOK_UP}
    assert {*Metrics.__struct_fields__} - {*shown(made)} == hidden
    known = {name: value for name, value in asdict(made).items() if name not in hidden}
    assert msgspec.to_builtins(made) == known


def test_without_groups_there_are_no_metrics_of_them() -> None:
    """They are neither shown nor written; a group of which nobody is served has no latency."""
    made = measure(worked())
    assert [name for name in BY_GROUP if getattr(made, name) is not None] == []
    assert {*msgspec.to_builtins(made)} == {*shown(made)} == {*shown(made, made)}
    assert {*Metrics.__struct_fields__} - {*shown(made)} == {*BY_GROUP, *BY_LOADER, *BY_LOOK_UP}
    none = measure(worked({"r5": "z"}))
    assert (none.groups_served, none.groups_rejected, none.group_latency_mean_s) == (0, 1, None)
    assert {*Metrics.__struct_fields__} - {*shown(made, none)} == {*BY_LOADER, *BY_LOOK_UP}
    assert shown(made, none) == shown(none, made)


def test_the_table_by_adapter_worked_by_hand() -> None:
    """Nobody asks for ``idle``, so it has no line; ``c`` has one, as a request of it is refused."""
    a, b, c = adapter_table(worked())
    assert (a.adapter, a.requests, a.served, a.rejected, a.queue_max) == ("a", 3, 3, 0, 1)
    assert (a.latency_mean_s, a.latency_p95_s, a.latency_max_s) == (11 / 3, 5.0, 5.0)
    assert (a.wait_mean_s, a.wait_max_s) == (1.0, 3.0)
    assert (a.loads, a.load_s, a.batches, a.mean_batch) == (1, 2.0, 2, 1.5)
    assert a.serving_share == pytest.approx(6 / 16)
    assert a.loss == pytest.approx(11 + 2)  # latency and the load, 1 a second each
    assert (b.requests, b.loads, b.load_s, b.batches, b.mean_batch) == (2, 1, 1.5, 2, 1.0)
    assert b.loss == pytest.approx(7 + 1.5)
    assert (c.requests, c.served, c.rejected, c.loss) == (1, 0, 1, 8.0)
    assert (c.latency_mean_s, c.wait_max_s, c.mean_batch, c.queue_max) == (None, None, None, 0)
    assert a.loss_share == pytest.approx(13 / 29.5)


def test_the_queue_worked_by_hand() -> None:
    """Eight buckets of a second are the steps themselves; two buckets share what they cover."""
    table = worked()
    ticks, levels = queue_steps(table)
    steps = dict(zip(ticks.tolist(), levels.tolist(), strict=True))
    assert steps == {0: 0, 1: 2, 4: 1, 6: 0, 7: 0}
    fine = queue_series(table)
    assert (fine.span_s, fine.bucket_s, fine.mean, fine.max) == (8.0, 1.0, 1.0, 2)
    assert fine.bucket_mean == (0, 2, 2, 2, 1, 1, 0, 0)
    assert fine.bucket_max == (0, 2, 2, 2, 1, 1, 0, 0)
    coarse = queue_series(table, buckets=3)
    assert coarse.bucket_s == pytest.approx(8 / 3)
    assert coarse.bucket_mean == approx((10 / 8, 12 / 8, 2 / 8))  # 2 until 4, 1 until 6
    assert coarse.bucket_max == (2, 2, 1)


def test_nobody_served() -> None:
    """An empty schedule has shares that add up, and no means."""
    problem = Problem(parse_instance(json.dumps(document(request("r0", reject_loss=1.0)))))
    table = ScheduleTable.from_replay(problem, [])
    made = measure(table, max_wait_s=0.0)
    assert (made.served, made.rejected, made.starved, made.queue_max) == (0, 1, 0, 0)
    assert (made.busy_share, made.switching_share, made.idle_share) == (0.0, 0.0, 1.0)
    for name in ("wait_mean_s", "wait_max_request", "jain", "worst_adapter", "hit_share"):
        assert getattr(made, name) is None
    assert made.throughput_per_s is made.serving_of_used is made.batch_hit_share is None
    (line,) = adapter_table(table)
    assert (line.rejected, line.loss, line.loss_share) == (1, 1.0, 1.0)
    assert queue_series(table).bucket_mean == ()


def test_service_levels_by_hand() -> None:
    """Of three requests one is late and one rejected; of two look-ups one hits, and is passed."""
    made = document(
        request(
            "r0",
            options=[{"steps": 1, "quality": 0.8, "skip": 3}],
            deadline_s=1.0,
            extra={"approximate_cache": {"level": 2, "similarity": 0.8}},
        ),
        request("r1", 4, deadline_s=2.0, extra={"approximate_cache": {"level": 0}}),
        request("r2", reject_loss=0.0),
    )
    problem = Problem(parse_instance(json.dumps(made)))
    held = frozenset((0,))
    plan = Plan(((PlannedBatch(0, ((0, 0),), held), PlannedBatch(1, ((1, 0),), held)),))
    table = ScheduleTable.from_replay(problem, replayed(problem, plan))
    metrics = measure(table)
    assert metrics.goodput_per_s == approx(1 / 5)
    assert metrics.violation_share == approx(2 / 3)
    assert metrics.quality_of_all == approx(1.8 / 3)
    assert metrics.look_up_hit_share == approx(1 / 3)
    assert metrics.redirected_share == approx(1 / 2)
    assert metrics.skipped_share == approx(3 / 8)
    assert level_counts(table) == ((0, 1), (3, 1))
    assert levels_of(problem) == (0, 3)
    assert {"violation_share", "redirected_share"} <= set(shown(metrics))
    assert set(BY_DEADLINE) <= set(shown(measure(worked())))
    assert not set(BY_LOOK_UP) & set(shown(measure(worked())))


def test_the_metrics_of_a_run_know_the_policys_bound() -> None:
    """``starved`` is counted against ``max_wait_s`` of the policy, and against nothing else."""
    slow = [request(f"r{i}", 4, demand={"vram_gib": 6.0}) for i in range(3)]
    instance = parse_instance(json.dumps(document(*slow)))
    found = [solve(instance, f"fifo{bound}").metrics for bound in ("", ":max_wait_s=4")]
    assert [made.starved if made else "-" for made in found] == [None, 1]


def looked_up(instance: Instance, rng: random.Random) -> Instance:
    """The instance with steps that options skip, and what look-ups of most requests found."""
    found = []
    for request_ in instance.requests:
        options = tuple(
            msgspec.structs.replace(option, skip=rng.choice((0, 3, 7)))
            for option in request_.options
        )
        level = rng.choice((None, 0, 3, 5, 9))
        extra = {} if level is None else {"approximate_cache": {"level": level}}
        found.append(msgspec.structs.replace(request_, options=options, extra=extra))
    return msgspec.structs.replace(instance, requests=tuple(found))


def some_results(seed: int) -> list[tuple[Problem, Result]]:
    """The results of three policies on a random instance of random features."""
    rng = random.Random(seed)
    instance = random_instance(rng, random_features(rng), requests=(1, 14))
    problem = Problem(looked_up(instance, rng) if seed % 3 == 0 else instance)
    found = []
    for policy in ("fifo", "pats", "fifo:option=fewest:max_wait_s=2"):
        try:
            found.append((problem, solve(problem, policy)))
        except NoScheduleError:
            continue  # it misses a hard horizon
    return found


@pytest.mark.parametrize("seed", scale.seeds(100))
def test_figures_are_those_of_a_plain_restatement(seed: int) -> None:
    """The same from the documents, request by request and tick by tick, whatever the features."""
    for problem, result in some_results(seed):
        plain = Plain(json.loads(encode(problem.instance)), json.loads(encode(result.schedule)))
        made, does = result.metrics, ScheduleTable.from_replay(problem, result.replayed)
        assert made is not None
        for name, value in plain.figures(result.params["max_wait_s"]).items():
            assert getattr(made, name) == approx(value), name
        table = {line.adapter: line for line in adapter_table(does)}
        for adapter_id, figures in plain.by_adapter().items():
            for name, value in figures.items():
                assert getattr(table[adapter_id], name) == approx(value), name
        for buckets in (1, 3, 200):
            queue = queue_series(does, buckets)
            means, most = plain.buckets(len(queue.bucket_mean))
            assert queue.bucket_mean == approx(tuple(means))
            assert queue.bucket_max == tuple(most)


@pytest.mark.parametrize("seed", range(100, 160))
def test_laws(seed: int) -> None:
    """Laws of any schedule: shares, Jain's index, Little's law, and parts that add up."""
    for problem, result in some_results(seed):
        made, replay = result.metrics, result.replayed
        does = ScheduleTable.from_replay(problem, replay)
        assert made is not None
        assert made.busy_share + made.switching_share + made.idle_share == approx(1.0)
        shares = [made.busy_share, made.switching_share, made.idle_share]
        assert all(-1e-12 <= share <= 1 + 1e-12 for share in shares)
        lines = adapter_table(does)
        known = [line for line in lines if line.served]
        if known:
            assert made.jain is not None
            assert 1 / len(known) - 1e-12 <= made.jain <= 1.0
            assert made.worst_adapter_p95_s == max(line.latency_p95_s or 0.0 for line in known)
        # Little's law, in whole ticks, so exactly.
        ticks, levels = queue_steps(does)
        area = sum(
            Fraction(b - a) * int(level)
            for a, b, level in zip(ticks, ticks[1:], levels.tolist(), strict=False)
        )
        waits = [b.batch.start - job.arrival for b in replay for job, _, _ in b.members]
        assert area == sum(waits)
        assert levels[-1] == 0
        if made.makespan_s:
            assert made.queue_mean * made.makespan_s == approx(sum(waits) * problem.site.tick_s)
        series = queue_series(does, 7)
        assert sum(series.bucket_mean) * series.bucket_s == approx(series.mean * series.span_s)
        assert max(series.bucket_max, default=0) == series.max == made.queue_max
        assert sum(line.served for line in lines) == made.served
        assert sum(line.requests for line in lines) == len(problem.jobs)
        assert sum(line.loads for line in lines) == made.loads
        assert sum(line.serving_share for line in lines) == approx(made.busy_share)
        assert sum(line.loss for line in lines) == approx(result.loss)
        assert made.wait_mean_s is None or made.latency_mean_s is not None
        assert made.latency_mean_s is None or made.wait_mean_s is not None
        if made.wait_mean_s is not None and made.latency_mean_s is not None:
            assert made.wait_mean_s <= made.latency_mean_s


@given(st.lists(st.floats(0.0, 1e12), min_size=1, max_size=30))
def test_jains_index(values: list[float]) -> None:
    """The formula in fractions; between 1 / n and 1; blind to the unit and to the order."""
    found = jain(np.array(values))
    assert found is not None
    exact = [Fraction(value) for value in values]
    squares = sum(value * value for value in exact)
    index = 1 if squares == 0 else sum(exact) ** 2 / (len(exact) * squares)
    assert found == pytest.approx(float(index))
    assert 1 / len(values) - 1e-9 <= found <= 1.0


def test_jains_index_at_its_ends() -> None:
    """Alike is 1, one of four alone is 1 / 4, nothing has none."""
    assert jain(np.array([3.0, 3.0, 3.0])) == jain(np.zeros(5)) == 1.0
    assert jain(np.array([0.0, 0.0, 7.0, 0.0])) == 0.25
    assert jain(np.array([])) is None


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.sampled_from((0.5, 0.95, 0.99)))
def test_quantiles(values: list[int], q: float) -> None:
    """The smallest value that a share of at least q does not exceed, and the groups' alike."""
    rising = np.sort(np.array(values, dtype=float))
    found = quantile(rising, q)
    assert found == np.quantile(rising, q, method="inverted_cdf")
    groups = np.zeros(len(values), dtype=np.int64)
    (of_group,) = group_quantiles(np.array(values, float), groups, np.array([len(values), 0]), q)
    assert of_group[0] == found
    assert np.isnan(of_group[1])


def test_a_quantile_does_not_suffer_from_rounding() -> None:
    """0.95 x 20 values is the 19th of them, however 0.95 is stored."""
    assert [rank(20, 0.95), rank(100, 0.99), rank(1, 0.5), rank(7, 1.0)] == [18, 98, 0, 6]


def test_a_schedule_of_enormous_ticks() -> None:
    """Times near the largest that an instance may have, in its smallest ticks."""
    late = request("r0", arrival_s=1e9, options=[{"steps": 8, "quality": 1.0}])
    slow = {"kind": "steps", "step_s": {"base": 1e9, "per_sample": 0.0}}
    problem = Problem(parse_instance(json.dumps(document(late, tick_s=1e-6, service=slow))))
    result = solve(problem, "fifo")
    made = result.metrics
    assert made is not None
    assert (made.latency_max_s, made.wait_max_s) == (approx(8e9), 0.0)
    queue = queue_series(ScheduleTable.from_replay(problem, result.replayed))
    assert queue.max == 0
    assert queue.span_s == approx(9e9)


def test_every_metric_has_a_name_and_a_unit() -> None:
    named = {*Metrics.__struct_fields__, *AdapterMetrics.__struct_fields__}
    assert named <= METRICS.keys()
    ends = {"s": ("_s",), "per s": ("_per_s",), "GiB": ("_gib",), "%": ("_share", "_of_used")}
    for name, spec in METRICS.items():
        assert name.endswith(ends.get(spec.unit, ("",)))
    assert METRICS["latency_p95_s"].heading == "latency p95, s"
    assert METRICS["throughput_per_s"].heading == "throughput per s"
    assert METRICS["busy_share"].text(0.5) == "50 %"
    assert METRICS["mean_batch"].text(None) == "\N{EN DASH}"
