"""Predicted against measured as a whole: documents, live runs, sentences, the page."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pats_opt.core.solver import Feature
from pats_opt.errors import InputError
from pats_opt.execute.compare import ExecutionComparison, compare, sentences, write_page
from pats_opt.execute.compare.document import BatchRow, ComparedFigure, TimesLine
from pats_opt.execute.compare.page import MOST_BATCHES, listed, page
from pats_opt.execute.compare.sentences import fit_text
from pats_opt.execute.record import BatchRun, Execution, GpuRun, MemberRun, Pace, Tier
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.instance import Instance
from pats_opt.model.plan import PlannedBatch, plan_of, schedule_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule, SolverRef
from pats_opt.solving.solve import solve
from pats_opt.tables import BY_GROUP
from pats_opt.tables.statistics import ratio
from pats_opt.testing.instances import random_instance
from tests.execute.samples import Device, as_predicted, executed
from tests.support.markup import Html
from tests.support.zoo import adapter, document, gpu, request

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(1)>$x$_&amp;{{ 7 * 7 }}'

DEVICE = Device(
    step_s=lambda n: 0.3 + 0.1 * n,
    encode_s=lambda n: 0.1 * n,
    decode_s=0.1,
    save_s=0.05,
    load_s=lambda _a, _b: 0.2,
    activate_s=0.01,
    noise=0.05,
    peak_gib=lambda n: 5.0 + n,
)


def instance(seed: int, requests: int = 20, *features: Feature) -> Instance:
    return random_instance(seed, features, requests=(requests, requests))


def run_of(
    problem: Problem, device: Device = DEVICE, solver: str = "fcfs-grouped", **others: Any
) -> tuple[Execution, Schedule]:
    schedule = solve(problem, solver).schedule
    return executed(problem, schedule, device, **others), schedule


def named(comparison: ExecutionComparison) -> dict[str, ComparedFigure]:
    return {f.name: f for f in (*comparison.totals, *comparison.service, *comparison.loss)}


@given(st.integers(0, 10_000), st.sampled_from(list(Pace)))
def test_every_instance_and_run_has_a_comparison_a_page_and_sentences(
    seed: int, pace: Pace
) -> None:
    problem = Problem(random_instance(seed))
    run, schedule = run_of(problem, pace=pace, seed=seed)
    found = compare(problem, run, schedule)
    assert msgspec.json.decode(msgspec.json.encode(found), type=ExecutionComparison) == found
    assert all("\n" not in s and "None" not in s and "nan" not in s for s in sentences(found))
    if seed % 10 == 0:  # pages take longer
        assert "script" not in Html(page(found, run, problem)).tags


def test_the_page_is_self_contained_and_begins_with_the_result(tmp_path: Path) -> None:
    problem = Problem(instance(3, 20, Feature.GPUS, Feature.OPTIONS))
    run, schedule = run_of(problem)
    found = compare(problem, run, schedule)
    write_page(found, run, problem, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    tags = Html(text)
    assert text.startswith("<!doctype html>")
    assert not {"script", "link", "img", "iframe", "object"} & tags.tags.keys()
    assert all(link.startswith("#") for link in tags.links)
    assert "@import" not in text
    assert "url(http" not in text
    assert text.count("<svg") == 4
    lead = text.index('class="lead')
    assert text.index(sentences(found)[0].split(":")[0], lead) < text.index("<h2>")
    for sentence in sentences(found):
        assert sentence in tags.text


def test_service_by_group_is_compared_where_there_are_groups() -> None:
    """A call of eight images lasts from its first arrival to its last image, on both sides."""
    plain = instance(3, 8)
    for group in ("call", None):
        requests = tuple(replace(r, group=group) for r in plain.requests)
        problem = Problem(replace(plain, requests=requests))
        execution, schedule = run_of(problem)
        comparison = compare(problem, execution, schedule)
        found, told = named(comparison), page(comparison, execution, problem)
        assert ("group latency p95" in told) == (group is not None)
        if group is None:
            assert not {*BY_GROUP} & found.keys()
            continue
        served, longest = found["groups_served"], found["group_latency_max_s"]
        assert (served.predicted, served.unrounded, served.measured) == (1, 1, 1)
        assert longest.measured == found["group_latency_p50_s"].measured
        assert (longest.measured or 0.0) >= (found["latency_max_s"].measured or 0.0) > 0.0


def test_texts_from_files_stay_texts() -> None:
    """Ids, errors, device names and versions are whatever a file says."""
    made = Problem(
        parse_instance(
            encode(
                document(
                    request(EVIL, adapter=EVIL),
                    request("r1", adapter=EVIL, reject_loss=1.0),
                    name=EVIL,
                    gpus=[gpu(EVIL, ())],
                    adapters=[adapter(EVIL, 1.0)],
                )
            )
        )
    )
    run, schedule = run_of(made)
    ran = run.gpus[0]
    failing = tuple(
        replace(
            b,
            members=tuple(
                MemberRun(id=m.id, option=m.option, error=f"{EVIL}\n\x1b[31m") for m in b.members
            ),
        )
        for b in ran.batches
    )
    run = replace(
        run,
        gpus=(GpuRun(id=EVIL, device=EVIL, batches=failing),),
        versions={EVIL: EVIL},
        model=replace(run.model, name=EVIL),
        maker=SolverRef(name=EVIL, params={EVIL: EVIL}),
        engine=EVIL,
        started=EVIL,
    )
    found = compare(made, run, schedule)
    text = page(found, run, made)
    tags = Html(text)
    assert not {"script", "img"} & tags.tags.keys()
    assert "onerror" in tags.text
    assert "{{ 7 * 7 }}" in tags.text
    assert "\x1b" not in text


def test_a_live_run_is_held_against_its_simulation() -> None:
    """The same batches, then one that two requests share where the simulation has two."""
    problem = Problem(parse_instance(encode(document(request("r0"), request("r1"), request("r2")))))
    alone = [PlannedBatch(k, ((k, 0),), frozenset([0])) for k in range(3)]
    simulated = schedule_of(problem, plan_of([alone]), SolverRef(name="fifo"))
    same = compare(
        problem,
        executed(problem, simulated, as_predicted(problem), live=True, schedule_sha256=None),
        simulated,
    )
    assert same.composition is not None
    assert (same.composition.same, same.composition.live) == (3, 3)
    assert not same.retimed
    assert same.batches[0].end_predicted_s is None

    together = [alone[0], PlannedBatch(1, ((1, 0), (2, 0)), frozenset([0]))]
    other = schedule_of(problem, plan_of([together]), SolverRef(name="fifo"))
    live = executed(problem, other, as_predicted(problem), live=True)
    found = compare(problem, live, simulated)
    assert found.composition is not None
    assert (found.composition.same, found.composition.live, found.composition.simulated) == (
        1,
        2,
        3,
    )
    assert found.composition.same_options == found.composition.both == 3
    assert found.differences is not None
    # r2 was done at 2 s, not at 3.
    assert (found.differences.min_s, found.differences.max_s) == pytest.approx((-1, 0))
    assert found.differences.mean_s == pytest.approx(-1 / 3)
    assert found.gaps.unrun == 0
    # Each batch is held against the constants for its own members.
    assert [row.batch_ratio for row in found.batches] == pytest.approx([1.0, 1.0])
    assert any("1 of 2 live batches" in sentence for sentence in sentences(found))
    assert "simulated" in page(found, live, problem)


def test_a_live_run_may_reject_what_the_simulation_serves() -> None:
    problem = Problem(
        parse_instance(encode(document(request("r0"), request("r1", reject_loss=5.0))))
    )
    batches = [PlannedBatch(k, ((k, 0),), frozenset([0])) for k in range(2)]
    simulated = schedule_of(problem, plan_of([batches]), SolverRef(name="fifo"))
    ran = schedule_of(problem, plan_of([batches[:1]]), SolverRef(name="fifo"))
    found = compare(problem, executed(problem, ran, as_predicted(problem), live=True), simulated)
    assert found.complete
    assert named(found)["rejection"].measured == 5
    assert named(found)["rejection"].predicted == 0
    assert found.differences is not None
    assert found.differences.count == 1


def test_a_request_that_had_to_be_served_is_missing_however_it_was_left_out() -> None:
    problem = Problem(parse_instance(encode(document(request("r0"), request("r1")))))
    batches = [PlannedBatch(k, ((k, 0),), frozenset([0])) for k in range(2)]
    simulated = schedule_of(problem, plan_of([batches]), SolverRef(name="fifo"))
    ran = schedule_of(problem, plan_of([batches[:1]]), SolverRef(name="fifo"))
    live = executed(problem, ran, as_predicted(problem), live=True)
    assert live.rejected == ("r1",)
    found = compare(problem, live, simulated)
    assert not found.complete
    assert found.gaps.missing == ("r1",)


def test_residents_of_a_live_run_follow_its_loads() -> None:
    """Predicted switches of a live run come from what the GPU really held."""
    stated: dict[str, Any] = {
        "gpus": [gpu(resident=())],
        "adapters": [adapter("a", 1.0, 2.0), adapter("b", 3.0, 4.0)],
        "base_vram_gib": 1.0,
    }
    problem = Problem(
        parse_instance(encode(document(request("r0"), request("r1", adapter="b"), **stated)))
    )
    batches = [
        PlannedBatch(1, ((0, 0),), frozenset([0])),
        PlannedBatch(5, ((1, 0),), frozenset([1])),
    ]
    schedule = schedule_of(problem, plan_of([batches]), SolverRef(name="fifo"))
    found = compare(
        problem, executed(problem, schedule, as_predicted(problem), live=True), schedule
    )
    assert [row.switch_predicted_s for row in found.batches] == [1.0, 3.0]
    assert [row.peak_predicted_gib for row in found.batches] == [4.0, 6.0]  # base, own, 1 GiB


def test_a_slotted_instance_predicts_no_seconds() -> None:
    problem = Problem(
        parse_instance(
            encode(document(request("r0"), request("r1"), service={"kind": "slot"}, tick_s=2.0))
        )
    )
    run, schedule = run_of(problem)
    found = compare(problem, run, schedule)
    figures = named(found)
    assert found.slotted
    assert figures["makespan_s"].predicted is None
    assert figures["latency_mean_s"].predicted is None
    assert figures["latency"].predicted is not None
    assert figures["makespan_s"].measured is not None
    assert found.differences is None
    assert found.recalibrated is not None
    assert found.recalibrated.accuracy.before_s is None
    assert any("slotted" in note for note in found.notes)
    assert "slotted" in page(found, run, problem)


def test_an_empty_run_is_reported_as_such() -> None:
    problem = Problem(instance(5))
    run, schedule = run_of(problem)
    nothing = replace(
        run, gpus=tuple(GpuRun(id=g.id, device="cpu", batches=()) for g in run.gpus), complete=False
    )
    found = compare(problem, nothing, schedule)
    assert not found.complete
    assert len(found.gaps.missing) == 20
    assert sentences(found)[0].startswith("Nothing was run")
    assert "Nothing was run" in page(found, nothing, problem)
    gone = compare(problem, replace(run, gpus=()), schedule)
    assert gone.gaps == found.gaps


def test_an_instance_without_requests() -> None:
    problem = Problem(parse_instance(encode(document())))
    run, schedule = run_of(problem)
    found = compare(problem, run, schedule)
    assert found.complete
    assert named(found)["loss"].ratio == 1.0  # both are 0
    page(found, run, problem)


def test_all_failed() -> None:
    problem = Problem(instance(5))
    run, schedule = run_of(problem)
    failed = replace(
        run,
        gpus=tuple(replace(g, batches=tuple(_failed(b) for b in g.batches)) for g in run.gpus),
        complete=False,
    )
    found = compare(problem, failed, schedule)
    assert len(found.gaps.failed) == 20
    assert named(found)["served"].measured == 0
    assert found.constants.batches == 0
    assert found.recalibrated is None
    assert found.differences is None
    text = page(found, failed, problem)
    assert "out of luck" in text
    assert "lead broken" in text


def _failed(batch: BatchRun) -> BatchRun:
    members = tuple(MemberRun(id=m.id, option=m.option, error="out of luck") for m in batch.members)
    return replace(batch, members=members)


def test_nothing_predicted_has_no_ratio() -> None:
    """Free switches by the instance that take time: no ratio, no crash."""
    assert ratio(0.0, 0.0) == 1.0
    assert ratio(0.0, 1.0) is None
    assert ratio(None, 1.0) is None
    assert ratio(2.0, None) is None
    assert ratio(2.0, 1.0) == 0.5
    stated: dict[str, Any] = {"gpus": [gpu(resident=())], "adapters": [adapter("a", 0.0)]}
    problem = Problem(parse_instance(encode(document(request("r0"), **stated))))
    run, schedule = run_of(problem)
    found = compare(problem, run, schedule)
    assert named(found)["switching_s"].ratio is None
    assert found.constants.switching[0].ratio is None
    assert found.batches[0].switch_ratio is None
    page(found, run, problem)


def test_memory_and_its_silence() -> None:
    problem = Problem(instance(5))
    loud, schedule = run_of(problem)
    quiet, _ = run_of(problem, replace(DEVICE, peak_gib=None))
    largest = max(len(b.requests) for g in schedule.gpus for b in g.batches)
    found = compare(problem, loud, schedule)
    assert named(found)["peak_memory_gib"].measured == 5.0 + largest
    assert not any("does not tell" in note for note in found.notes)
    silent = compare(problem, quiet, schedule)
    assert named(silent)["peak_memory_gib"].measured is None
    assert any("does not tell" in note for note in silent.notes)


def test_notes_say_what_the_run_was() -> None:
    problem = Problem(instance(5))
    run, schedule = run_of(problem, pace=Pace.FAST)
    run = replace(run, model=replace(run.model, shrink=16, tier=Tier.DISK))
    notes = " ".join(compare(problem, run, schedule).notes)
    assert "divided by 16" in notes
    assert "without waiting" in notes
    again = " ".join(compare(problem, replace(run, sittings=3), schedule).notes)
    assert "in 3 sittings" in again


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("instance", "another instance"),
        ("gpu", "no GPU 'other'"),
        ("request", "no request 'other'"),
        ("option", "no option 7"),
        ("batch", "no such batch"),
        ("members", "not those of the schedule's"),
        ("fewer", "not those of the schedule's"),
        ("adapter", "no adapter 'other'"),
    ],
)
def test_what_does_not_belong_together_is_refused(wrong: str, says: str) -> None:
    problem = Problem(instance(5))
    run, schedule = run_of(problem)
    ran = run.gpus[0]
    first = ran.batches[0]
    member = first.members[0]
    changes: dict[str, Any] = {
        "gpu": replace(ran, id="other"),
        "request": _with_first(ran, members=(replace(member, id="other"),)),
        "option": _with_first(ran, members=(replace(member, option=7),)),
        "batch": _with_first(ran, index=999),
        "members": _with_first(ran, members=ran.batches[1].members),
        "fewer": _with_first(ran, members=()),
        "adapter": _with_first(ran, load=("other",)),
    }
    if wrong == "instance":
        run = replace(run, instance=replace(run.instance, sha256="0" * 64))
    else:
        run = replace(run, gpus=(changes[wrong], *run.gpus[1:]), live=wrong == "adapter")
    with pytest.raises(InputError, match=says):
        compare(problem, run, schedule)


def _with_first(ran: GpuRun, **changes: Any) -> GpuRun:
    return replace(ran, batches=(replace(ran.batches[0], **changes), *ran.batches[1:]))


def test_a_schedule_of_another_instance_is_refused() -> None:
    problem, other = Problem(instance(5)), Problem(instance(6))
    run, _ = run_of(problem)
    with pytest.raises(InputError, match="another instance"):
        compare(problem, run, run_of(other)[1])


def test_batches_out_of_order_in_the_file_keep_their_numbers() -> None:
    """The checker goes by start, a file may list batches in any order."""
    problem = Problem(parse_instance(encode(document(request("r0"), request("r1", 2)))))
    batches = [
        PlannedBatch(0, ((0, 0),), frozenset([0])),
        PlannedBatch(1, ((1, 0),), frozenset([0])),
    ]
    schedule = schedule_of(problem, plan_of([batches]), SolverRef(name="by-hand"))
    (plan,) = schedule.gpus
    turned = replace(schedule, gpus=(replace(plan, batches=plan.batches[::-1]),))
    run = executed(problem, turned, as_predicted(problem))
    assert [b.index for b in run.gpus[0].batches] == [1, 0]
    found = compare(problem, run, turned)
    assert [(b.index, b.members[0].id) for b in found.measured] == [(1, "r0"), (0, "r1")]
    assert [row.end_predicted_s for row in found.batches] == [1, 3]
    assert named(found)["loss"].ratio == pytest.approx(1.0)


def test_long_runs_list_the_batches_farthest_from_their_prediction() -> None:
    """Half as long is as far as twice as long; a batch without a ratio comes first of all."""
    rng = random.Random(0)
    rows = [_row(k, rng.uniform(0.9, 1.1)) for k in range(MOST_BATCHES + 50)]
    rows[3], rows[7], rows[9] = _row(3, 2.0), _row(7, 0.5), _row(9, None)
    problem = Problem(instance(5))
    run, schedule = run_of(problem)
    found = replace(compare(problem, run, schedule), batches=tuple(rows))
    shown = [row.index for row in listed(found)]
    assert len(shown) == MOST_BATCHES
    assert {3, 7, 9} <= {*shown}
    assert shown == sorted(shown)
    assert "50 more are left out" in page(found, run, problem)


def _row(index: int, times: float | None) -> BatchRow:
    return BatchRow(
        gpu="gpu-0",
        index=index,
        members=1,
        failed=0,
        splits=0,
        resumed=times is None,
        switch_predicted_s=0.0,
        switch_s=0.0,
        switch_ratio=1.0,
        batch_predicted_s=1.0,
        batch_unrounded_s=1.0,
        batch_s=times or 0.1,
        batch_ratio=times,
        end_predicted_s=1.0,
        end_s=1.0,
        peak_predicted_gib=1.0,
        peak_gib=None,
    )


def test_thousands_of_batches_are_drawn_as_pixels() -> None:
    """A page of a long run stays small."""
    count = 2500
    problem = Problem(
        parse_instance(
            encode(document(*(request(f"r{k}", arrival_s=float(k)) for k in range(count))))
        )
    )
    batches = [PlannedBatch(k, ((k, 0),), frozenset([0])) for k in range(count)]
    schedule = schedule_of(problem, plan_of([batches]), SolverRef(name="by-hand"))
    run = executed(problem, schedule, as_predicted(problem))
    text = page(compare(problem, run, schedule), run, problem)
    assert "<image" in text
    assert "<title>gpu-0" not in text
    assert len(text) < 1_000_000


def test_the_sentences_say_what_the_figures_are() -> None:
    """By hand: one step of 0.7 s on a tick of 1 s that took 0.9 s; the loss is the latency."""
    service = {"kind": "steps", "step_s": {"base": 0.7, "per_sample": 0.0}}
    problem = Problem(parse_instance(encode(document(request("r0"), service=service))))
    run, schedule = run_of(problem, Device(step_s=lambda _: 0.9, unet_share=None))
    told = sentences(compare(problem, run, schedule))
    assert told[0] == (
        "The loss was 0.9, predicted 1 (10 % less): \N{MINUS SIGN}0.3 because durations are not "
        "rounded up to ticks, +0.2 because they were not what the constants say."
    )
    assert told[1] == (
        "The last batch ended at 0.9 s (predicted 1), serving took 0.9 s (predicted 1), switching "
        "0 s (predicted 0)."
    )
    assert (
        "A step takes 900 ms at batch size 1, the only one measured (so no line can be fitted); "
        "the instance says 700 ms." in told
    )


def test_errors_of_rounding_are_no_difference() -> None:
    """By hand: a step of one tick, and 1e-15 more without rounding."""
    service = {"kind": "steps", "step_s": {"base": 1.0, "per_sample": 0.0}}
    problem = Problem(parse_instance(encode(document(request("r0"), service=service))))
    run, schedule = run_of(problem, Device(step_s=lambda _: 0.9, unet_share=None))
    comparison = compare(problem, run, schedule)
    loss = tuple(
        replace(each, unrounded=1 + 1e-15) if each.name == "loss" else each
        for each in comparison.loss
    )
    first = sentences(replace(comparison, loss=loss))[0]
    assert first == "The loss was 0.9, predicted 1 (10 % less)."


@pytest.mark.parametrize(
    ("fitted", "says"),
    [
        (TimesLine(base=1, per_sample=1, r2=1.0, rms_s=0, sizes=2), "through two sizes"),
        (TimesLine(base=1, per_sample=1, r2=0.99999, rms_s=0, sizes=3), "R² > 0.999 over 3 sizes"),
        (TimesLine(base=1, per_sample=0, r2=None, rms_s=0, sizes=3), "level over 3 sizes"),
        (
            TimesLine(base=0, per_sample=1, r2=0.5, rms_s=0, sizes=2, bounded=True),
            "was held there; R² 0.5",
        ),
    ],
)
def test_how_well_a_line_fits_is_said_honestly(fitted: TimesLine, says: str) -> None:
    assert says in fit_text(fitted)


def test_comparing_needs_neither_the_model_nor_matplotlib() -> None:
    """An ``execution.json`` can be read where torch is not installed."""
    code = (
        "import sys, pats_opt.execute.compare\n"
        "sys.exit(bool({'torch', 'diffusers', 'matplotlib'} & {*sys.modules}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
