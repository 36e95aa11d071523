"""Fitted constants and what is made of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pats_opt.execute.compare import compare
from pats_opt.execute.compare.constants import grouped, line, times
from pats_opt.execute.compare.document import ExecutionComparison, TimesBySize, TimesLine
from pats_opt.execute.record import Execution, Phase, Span, Tier
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.plan import PlannedBatch, plan_of, schedule_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule, SolverRef
from tests.execute.samples import Device, as_predicted, executed
from tests.support.zoo import adapter, document, gpu, request

#: What the made-up device takes; the instances below say something else.
BASE, PER_SAMPLE, ENCODE, ENCODE_EACH, DECODE, LOAD, ACTIVATE = (
    0.05,
    0.02,
    0.03,
    0.01,
    0.08,
    0.4,
    0.002,
)

DEVICE = Device(
    step_s=lambda n: BASE + PER_SAMPLE * n,
    encode_s=lambda n: ENCODE + ENCODE_EACH * n,
    decode_s=DECODE,
    save_s=0.1,
    load_s=lambda _a, _b: LOAD,
    activate_s=ACTIVATE,
    mib=44.5,
)


def batches_of(*sizes: int, **others: Any) -> tuple[Problem, Schedule]:
    """Batches of these sizes, adapters ``a`` and ``b`` in turn, both loaded with the first two."""
    requests = [
        request(f"r{k}-{i}", 3 + i, adapter="ab"[k % 2])
        for k, n in enumerate(sizes)
        for i in range(n)
    ]
    stated = {
        "gpus": [gpu(resident=(), vram_gib=100.0)],
        "adapters": [adapter("a", 2.0), adapter("b", 2.0), adapter("c", 2.0), adapter("d")],
        "switching": {"max_resident": 2, "activate_s": 0.5},
        "service": {
            "kind": "steps",
            "step_s": {"base": 0.1, "per_sample": 0.01},
            "overhead_s": {"base": 0.2, "per_sample": 0.1},
        },
        **others,
    }
    problem = Problem(parse_instance(encode(document(*requests, **stated))))
    jobs, planned, tick = problem.job_index(), [], 0
    for k, n in enumerate(sizes):
        tick += 5
        members = tuple((jobs[f"r{k}-{i}"], 0) for i in range(n))
        planned.append(PlannedBatch(tick, members, frozenset([0]) if k == 0 else frozenset([0, 1])))
        tick += 1 + problem.site.clock.ends(tuple(3 + i for i in range(n)))[1]
    return problem, schedule_of(problem, plan_of([planned]), SolverRef(name="by-hand"))


def compared(device: Device, *sizes: int, seed: int = 0, **others: Any) -> ExecutionComparison:
    problem, schedule = batches_of(*sizes, **others)
    return compare(problem, executed(problem, schedule, device, seed=seed), schedule)


def fitted(found: TimesBySize) -> TimesLine:
    assert found.line is not None
    return found.line


def fragment(comparison: ExecutionComparison) -> dict[str, Any]:
    assert comparison.recalibrated is not None
    parsed: dict[str, Any] = json.loads(comparison.recalibrated.text)
    return parsed


def test_fits_find_the_devices_constants() -> None:
    found = compared(DEVICE, 1, 2, 3, 4, 2, 1).constants
    steps = fitted(found.steps)
    assert (steps.base, steps.per_sample) == pytest.approx((BASE, PER_SAMPLE))
    assert steps.r2 == pytest.approx(1)
    assert steps.rms_s == pytest.approx(0, abs=1e-12)
    assert not steps.bounded
    encode, decode = fitted(found.overheads.encode), fitted(found.overheads.decode)
    assert (encode.base, encode.per_sample) == pytest.approx((ENCODE, ENCODE_EACH))
    assert (decode.base, decode.per_sample) == pytest.approx((0, DECODE), abs=1e-9)
    both = fitted(found.overheads.all)
    assert (both.base, both.per_sample) == pytest.approx((ENCODE, ENCODE_EACH + DECODE + 0.1))
    beside = fitted(found.overheads.gpu)
    assert (beside.base, beside.per_sample) == pytest.approx((ENCODE, ENCODE_EACH + DECODE))
    assert found.step_overhead is not None
    # A tenth of each step; the median step has two members.
    assert found.step_overhead.count == sum(size.count for size in found.steps.sizes)
    assert (
        0.1 * (BASE + PER_SAMPLE) <= found.step_overhead.median_s <= 0.1 * (BASE + 4 * PER_SAMPLE)
    )


@given(st.integers(0, 1000))
def test_fits_find_them_through_noise(seed: int) -> None:
    """Spans that are 5 % off each way: the constants come out within 10 % of a step."""
    noisy = replace(DEVICE, noise=0.05)
    found = compared(noisy, 1, 2, 3, 4, 2, 1, 4, seed=seed)
    steps = fitted(found.constants.steps)
    for n in range(1, 5):
        assert steps(n) == pytest.approx(BASE + PER_SAMPLE * n, rel=0.1)
    assert found.recalibrated is not None
    accuracy = found.recalibrated.accuracy
    assert accuracy.before_s is not None
    assert accuracy.after_s < 0.25 * accuracy.before_s


def test_every_size_is_listed_beside_the_instance_value() -> None:
    sizes = compared(DEVICE, 3).constants.steps.sizes
    assert [(s.n, s.count) for s in sizes] == [(1, 1), (2, 1), (3, 3)]
    assert [s.predicted_s for s in sizes] == pytest.approx([0.11, 0.12, 0.13])
    assert [s.median_s for s in sizes] == pytest.approx([0.07, 0.09, 0.11])


def test_switching_by_kind() -> None:
    """Two loads, then one activation a batch."""
    found = compared(DEVICE, 1, 1, 1, 1).constants.switching
    activate, load = found
    assert (activate.kind, load.kind) == ("activate", "load from host")
    assert (activate.count, load.count) == (2, 2)
    assert activate.median_s == pytest.approx(ACTIVATE)
    assert activate.predicted_s == 0.5
    assert activate.mib is None
    assert load.median_s == pytest.approx(LOAD)
    assert load.mib_per_s == pytest.approx(44.5 / LOAD)
    assert load.ratio == pytest.approx(LOAD / 2.0)


def test_tiers_are_kept_apart() -> None:
    problem, schedule = batches_of(1, 1)
    run = executed(problem, schedule, DEVICE)
    gpu_run = run.gpus[0]
    first = gpu_run.batches[0]
    spans = tuple(replace(s, tier=Tier.DISK) if s.phase is Phase.LOAD else s for s in first.spans)
    mixed = replace(
        run, gpus=(replace(gpu_run, batches=(replace(first, spans=spans), *gpu_run.batches[1:])),)
    )
    kinds = [k.kind for k in compare(problem, mixed, schedule).constants.switching]
    assert kinds == ["load from disk", "load from host"]


def test_a_line_weighs_each_median_by_its_count() -> None:
    """By hand: 3 times 2 s at n = 1, once 4 s at n = 2 and once 4 s at n = 3.

    Weighted means are 1.6 and 2.8; the slope is (3 * 0.6 * 0.8 + 0.4 * 1.2 + 1.4 * 1.2) over
    (3 * 0.6^2 + 0.4^2 + 1.4^2) = 3.6 / 3.2. It misses by 0.125, 0.75 and 0.375: squares
    of 0.75 in all, of 4.8.
    """
    found = line(times(grouped([(1, 2.0)] * 3 + [(2, 4.0), (3, 4.0)]), lambda _: None).sizes)
    assert found is not None
    assert found.per_sample == pytest.approx(1.125)
    assert found.base == pytest.approx(1.0)
    assert found.rms_s == pytest.approx((0.75 / 5) ** 0.5)
    assert found.r2 == pytest.approx(1 - 0.75 / 4.8)


def test_one_outlier_does_not_move_the_line() -> None:
    """The first step of a device may take very long."""
    values = [(1, 100.0)] + [(1, 1.0)] * 9 + [(2, 2.0)] * 9
    found = line(times(grouped(values), lambda _: None).sizes)
    assert found is not None
    assert (found.base, found.per_sample) == pytest.approx((0, 1), abs=1e-9)


@pytest.mark.parametrize(
    ("values", "base", "per_sample"),
    [
        ([(1, 3.0), (2, 1.0)], 2.0, 0.0),  # falling: level
        ([(1, 1.0), (2, 4.0)], 0.0, 9 / 5),  # steeper than through the origin
    ],
)
def test_no_constant_is_below_zero(
    values: list[tuple[int, float]], base: float, per_sample: float
) -> None:
    found = line(times(grouped(values), lambda _: None).sizes)
    assert found is not None
    assert found.bounded
    assert (found.base, found.per_sample) == pytest.approx((base, per_sample))


@given(
    st.lists(
        st.tuples(st.integers(1, 8), st.floats(0, 10, allow_nan=False)), min_size=1, max_size=30
    )
)
def test_no_other_line_without_negative_figures_is_nearer(values: list[tuple[int, float]]) -> None:
    """Against a grid of lines."""
    sizes = times(grouped(values), lambda _: None).sizes
    found = line(sizes)
    if found is None:
        assert len({n for n, _ in values}) == 1
        return

    def missed(base: float, slope: float) -> float:
        return sum(s.count * (s.median_s - base - slope * s.n) ** 2 for s in sizes)

    best = missed(found.base, found.per_sample)
    assert found.base >= 0
    assert found.per_sample >= 0
    for i in range(21):
        for k in range(21):
            assert best <= missed(0.5 * i, 0.5 * k) + 1e-6


def test_what_ran_in_parts_is_kept_out_of_fits() -> None:
    """Resumed, split and failing batches have times that are not those of their members."""
    problem, schedule = batches_of(1, 2, 3, 4)
    run = executed(problem, schedule, DEVICE)
    first, second, third, fourth = run.gpus[0].batches
    failing = replace(
        third,
        members=(replace(third.members[0], completion_s=None, image=None), *third.members[1:]),
    )
    parts = _with_batches(
        run, replace(first, resumed=True), replace(second, splits=1), failing, fourth
    )
    found = compare(problem, parts, schedule)
    assert found.constants.batches == 1
    assert sum(s.count for s in found.constants.steps.sizes) == 6
    assert found.batches[0].batch_ratio is None
    assert found.batches[1].batch_ratio is not None
    assert len([n for n in found.notes if "left out of fits" in n or "out of fits" in n]) == 3


def test_the_fragment_is_the_instance_with_measured_constants() -> None:
    """Pasted in, it is a right instance, and predicts what the device takes."""
    found = compared(DEVICE, 1, 2, 3, 1)
    parts = fragment(found)
    problem, schedule = batches_of(1, 2, 3, 1, **parts)
    assert parts["service"]["step_s"] == pytest.approx({"base": BASE, "per_sample": PER_SAMPLE})
    assert parts["service"]["overhead_s"] == pytest.approx(
        {"base": ENCODE, "per_sample": ENCODE_EACH + DECODE}
    )
    assert parts["switching"]["activate_s"] == pytest.approx(ACTIVATE)
    # c was not loaded and takes what loads take; d takes no time by the instance and keeps that.
    assert [a["load_s"] for a in parts["adapters"]] == pytest.approx([LOAD, LOAD, LOAD, 0.0])
    again = compare(problem, executed(problem, schedule, DEVICE), schedule)
    assert [row.batch_ratio for row in again.batches] == pytest.approx([1.0] * 4, rel=1e-4)
    assert found.recalibrated is not None
    assert found.recalibrated.accuracy.after_s == pytest.approx(0, abs=1e-5)
    assert "1 adapter was not loaded" in found.recalibrated.remarks[0]


def test_a_table_keeps_its_form() -> None:
    """Sizes that were measured have their median, the one that was not that of the line."""
    service = {"kind": "steps", "step_s": {"table": [0.1, 0.1, 0.1, 0.1, 0.1]}, "overhead_s": 0.0}
    found = compared(DEVICE, 3, 1, 2, service=service)
    table = fragment(found)["service"]["step_s"]["table"]
    assert table == pytest.approx([BASE + PER_SAMPLE * n for n in range(1, 6)], rel=1e-5)
    assert found.recalibrated is not None
    assert any("4, 5" in remark for remark in found.recalibrated.remarks)


@pytest.mark.parametrize("form", ["line", "table", "slot"])
def test_one_batch_size_gives_no_line_but_a_figure(form: str) -> None:
    services: dict[str, Any] = {
        "line": {"kind": "steps", "step_s": {"base": 0.1, "per_sample": 0.04}, "overhead_s": 0.5},
        "table": {"kind": "steps", "step_s": {"table": [0.14, 0.18]}, "overhead_s": 0.5},
        "slot": {"kind": "slot"},
    }
    found = compared(DEVICE, 1, 1, service=services[form])
    assert found.constants.steps.line is None
    service = fragment(found)["service"]
    # 0.07 s where the instance says 0.14: half of everything.
    expected: dict[str, dict[str, Any]] = {
        "line": {"base": 0.05, "per_sample": 0.02},
        "table": {"table": [0.07, 0.09]},
        "slot": {"base": 0.07, "per_sample": 0.0},
    }
    assert service["step_s"].keys() == expected[form].keys()
    for key, value in expected[form].items():
        assert service["step_s"][key] == pytest.approx(value)
    assert service["overhead_s"] == pytest.approx(ENCODE + ENCODE_EACH + DECODE)
    assert found.recalibrated is not None
    assert any("batch size 1 only" in remark for remark in found.recalibrated.remarks)


def test_transitions_have_their_own_seconds() -> None:
    """With pairs, a load from a to b is told apart from the first one."""
    pairs = [{"from": "a", "to": "b", "load_s": 9.0}, {"from": "c", "to": "a", "load_s": 8.0}]
    problem, _ = batches_of(1, 1, 1, switching={"max_resident": 1, "pairs": pairs})
    jobs = problem.job_index()
    planned = [
        PlannedBatch(20 * (k + 1), ((jobs[f"r{k}-0"], 0),), frozenset([k % 2])) for k in range(3)
    ]
    schedule = schedule_of(problem, plan_of([planned]), SolverRef(name="by-hand"))
    device = replace(DEVICE, load_s=lambda a, before: 0.25 if before and a == 1 else LOAD)
    parts = fragment(compare(problem, executed(problem, schedule, device), schedule))
    # c to a was not seen: it takes what loading a takes.
    assert [p["load_s"] for p in parts["switching"]["pairs"]] == pytest.approx([0.25, LOAD])


def test_no_spans_no_constants() -> None:
    problem, schedule = batches_of(1, 2)
    run = executed(problem, schedule, as_predicted(problem))
    bare = _with_batches(run, *(replace(b, spans=()) for b in run.gpus[0].batches))
    found = compare(problem, bare, schedule)
    assert found.recalibrated is None
    assert found.constants.steps.sizes == ()
    assert found.constants.overheads.gpu.sizes == ()
    assert found.constants.switching == ()
    assert found.batches[0].batch_ratio is not None


def test_loads_of_several_adapters_in_one_span_are_shared_out() -> None:
    problem, schedule = batches_of(1, 1)
    run = executed(problem, schedule, DEVICE)
    first, second = run.gpus[0].batches
    span = Span(phase=Phase.LOAD, start_s=0, seconds=0.6, ids=("a", "b"))
    found = compare(
        problem,
        _with_batches(run, replace(first, spans=(span, *first.spans[1:])), second),
        schedule,
    )
    load = next(k for k in found.constants.switching if k.kind == "load")
    assert load.predicted_s == 4.0
    adapters = fragment(found)["adapters"]
    assert adapters[0]["load_s"] == pytest.approx(0.3)


def test_an_activation_after_a_load_belongs_to_the_load() -> None:
    """Rule 4 charges a switch that loads for its loads only."""
    problem, schedule = batches_of(1, 1)
    run = executed(problem, schedule, DEVICE)
    first, second = run.gpus[0].batches
    after = Span(phase=Phase.ACTIVATE, start_s=first.start_s, seconds=0.05, ids=("a",))
    found = compare(
        problem, _with_batches(run, replace(first, spans=(*first.spans, after)), second), schedule
    )
    parts = fragment(found)
    assert parts["adapters"][0]["load_s"] == pytest.approx(LOAD + 0.05)
    assert parts["switching"]["activate_s"] == 0.5
    assert found.batches[0].switch_s == pytest.approx(LOAD + 0.05)
    # Nor is it overhead: the first of the two batches has 0.05 s less.
    (beside,) = found.constants.overheads.gpu.sizes
    assert beside.median_s == pytest.approx(ENCODE + ENCODE_EACH + DECODE - 0.05 / 2)
    assert found.recalibrated is not None
    assert any("activation" in remark for remark in found.recalibrated.remarks)


def test_switches_of_resumed_batches_are_kept_out_too() -> None:
    problem, schedule = batches_of(1, 1, 1)
    run = executed(problem, schedule, DEVICE)
    first, *others = run.gpus[0].batches
    slow = tuple(replace(s, seconds=50.0) if s.phase is Phase.LOAD else s for s in first.spans)
    found = compare(
        problem, _with_batches(run, replace(first, spans=slow, resumed=True), *others), schedule
    )
    load = next(k for k in found.constants.switching if k.kind == "load from host")
    assert load.count == 1
    assert load.median_s == pytest.approx(LOAD)
    # a is loaded by the resumed batch only: it takes what b took.
    assert [a["load_s"] for a in fragment(found)["adapters"][:2]] == pytest.approx([LOAD, LOAD])


def _with_batches(run: Execution, *batches: Any) -> Execution:
    return replace(run, gpus=(replace(run.gpus[0], batches=batches),))
