"""A policy live: real time, the simulator's rules, GPUs that are done when they are done."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from PIL import Image

from pats_opt.core.policy import Action, Decide, Start, State, SwitchTo, WakeAt
from pats_opt.core.solver import Capabilities, Kind
from pats_opt.errors import NoScheduleError, SolverError, UnfinishedError
from pats_opt.execute.record import Phase
from pats_opt.execute.run import ExecutionOutcome
from pats_opt.execute.work import EngineSettings
from pats_opt.model.problem import Problem, Site
from tests.execute.fakes import FakeEngine, open_slow
from tests.execute.runs import (
    drawn,
    journals,
    makings,
    of,
    pictures,
    policy_of,
    problem,
    run,
    run_live,
)
from tests.simulate.scripted import alone
from tests.support import scale
from tests.support.policies import policy_names
from tests.support.zoo import adapter, gpu, request

A = frozenset((0,))
POLICIES = policy_names()


def live(
    folder: Path, story: Problem, decide: Callable[[State], Any], **others: Any
) -> ExecutionOutcome:
    """Run a policy made of one function."""

    class Told(msgspec.Struct):
        name: ClassVar[str] = "scripted"
        kind: ClassVar[Kind] = Kind.ONLINE
        capabilities: ClassVar[Capabilities] = Capabilities()

        def start(self, site: Site, seed: int) -> Decide:  # noqa: ARG002
            return decide

    return run_live(folder, story, Told(), **others)


@pytest.mark.parametrize("policy", ["fifo", "pats", "price-index"])
@pytest.mark.parametrize("gpus", [1, 2])
def test_policies_serve_all(tmp_path: Path, policy: str, gpus: int) -> None:
    """Every request is served once, after its arrival, and the document is of a live run."""
    story = problem(12, gpus=gpus)
    folder = tmp_path / "out"
    outcome = run_live(folder, story, policy, seed=3)
    assert outcome.error is None
    done = outcome.execution
    assert done.complete
    assert done.live
    assert done.schedule_sha256 is None
    assert (done.maker.name, done.maker.seed) == (policy, 3)
    assert set(makings(folder).values()) == {1}
    assert len(pictures(folder)) == 12
    arrival = {r.id: r.arrival_s for r in story.instance.requests}
    for each in done.gpus:
        assert [b.index for b in each.batches] == list(range(len(each.batches)))
        last = 0.0
        for batch in each.batches:
            assert last <= batch.switch_start_s <= batch.start_s <= batch.end_s
            last = batch.end_s
            for member in batch.members:
                assert batch.switch_start_s >= arrival[member.id] - 1e-6
    assert done.notes["policy"]["decisions"] >= 1


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_runs_live(tmp_path: Path, policy: str) -> None:
    """On random instances of all its features it keeps the rules and serves all, as simulated."""
    for seed in scale.seeds(4):
        story = drawn(seed, policy_of(policy).capabilities.features)
        outcome = run_live(tmp_path / str(seed) / "out", story, policy, seed=seed)
        assert outcome.error is None
        made = makings(tmp_path / str(seed) / "out")
        assert set(made.values()) == {1}
        assert set(made) | set(outcome.execution.rejected) == {j.id for j in story.jobs}


def test_images_are_those_of_a_schedule(tmp_path: Path) -> None:
    """Who decides when does not change what is made, but for the run's name in the file."""
    run(tmp_path / "one", problem(6))
    run_live(tmp_path / "two", problem(6))
    for i in range(6):
        pixels = [
            Image.open(tmp_path / each / "images" / f"r{i}.png").tobytes()
            for each in ("one", "two")
        ]
        assert pixels[0] == pixels[1]


def test_a_gpu_is_idle_when_it_is(tmp_path: Path) -> None:
    """A slow device: past its predicted end, a GPU stays busy to the policy until it ends."""
    story = of(request("r0", steps=10, adapter="base"), request("r1", adapter="base"), tick_s=0.001)
    seen: list[tuple[int, int]] = []

    def decide(state: State) -> list[Action]:
        seen.append((state.tick, state.gpus[0].free_at))
        return [*alone(state), WakeAt(state.tick + 20)] if state.waiting else []

    outcome = live(tmp_path / "out", story, decide, engine=open_slow)
    assert outcome.error is None
    busy = [(tick, free_at) for tick, free_at in seen if free_at > tick]
    assert any(tick > 30 for tick, _ in busy), "10 steps were to take 10 ticks, and take 200"
    assert all(free_at >= tick + 1 for tick, free_at in busy)
    first, second = outcome.execution.gpus[0].batches
    assert second.switch_start_s >= first.end_s


def test_a_batch_takes_a_tick_at_least(tmp_path: Path) -> None:
    """A GPU that is done at once is idle at the next tick, so policies may divide by the ticks."""
    story = of(*(request(f"r{i}", adapter="base") for i in range(3)), tick_s=0.05)
    starts: list[int] = []

    def decide(state: State) -> list[Action]:
        if state.waiting and state.idle:
            starts.append(state.tick)
        return alone(state)

    outcome = live(tmp_path / "out", story, decide)
    assert outcome.error is None
    assert len(set(starts)) == len(starts) == 3


def test_ticks_rise_and_events_are_delivered(tmp_path: Path) -> None:
    """Arrivals at their ticks, batch ends, timers; never before, and all in order."""
    story = of(
        request("r0", adapter="base"),
        request("r1", adapter="base", arrival_s=0.05),
        request("r2", adapter="base", arrival_s=0.05),
    )
    arrivals: list[tuple[int, list[str]]] = []
    ticks: list[int] = []

    def decide(state: State) -> list[Action]:
        ticks.append(state.tick)
        if state.arrived:
            arrivals.append((state.tick, [job.id for job in state.arrived]))
        if state.tick < 12:
            return [WakeAt(12)]
        return alone(state)

    outcome = live(tmp_path / "out", story, decide)
    assert outcome.error is None
    assert ticks == sorted(ticks)
    assert [names for _, names in arrivals] == [["r0"], ["r1", "r2"]]
    assert arrivals[1][0] >= 5
    assert all(b.start_s >= 0.12 for b in outcome.execution.gpus[0].batches)


def test_a_prefetch_is_part_of_the_next_batch(tmp_path: Path) -> None:
    """It is carried out at once, its end is an event, and the batch after it pays no switch."""
    story = of(request("r0", adapter="base"), request("r1", adapter="a", arrival_s=0.2))
    seen: list[str] = []

    def decide(state: State) -> list[Action]:
        (only,) = state.gpus
        if not state.idle:
            return []
        if state.waiting:
            (job,) = state.waiting.values()
            return [Start(0, ((job.index, 0),), only.resident | {job.adapter})]
        seen.append("switched" if only.before is not None else "ended")
        return [] if only.before is not None else [SwitchTo(0, only.resident | A)]

    outcome = live(tmp_path / "out", story, decide)
    assert outcome.error is None
    assert seen == ["ended", "switched"]
    first, last = outcome.execution.gpus[0].batches
    assert (first.index, last.index) == (0, 1)
    assert (first.load, last.load) == ((), ("a",))
    assert last.switch_start_s < 0.2 <= last.start_s
    assert [s.phase for s in last.spans].count(Phase.LOAD) == 1


def test_rejected_requests(tmp_path: Path) -> None:
    """Those left waiting to the end, and those that nothing can serve, are rejected."""
    story = of(
        request("r0", adapter="base"),
        request("r1", adapter="base", reject_loss=1.0, weight=0.0),
        request("r2", adapter="base", demand={"vram_gib": 99.0}, reject_loss=1.0),
    )

    def decide(state: State) -> list[Action]:
        return alone(state) if 0 in state.waiting else []

    folder = tmp_path / "out"
    outcome = live(folder, story, decide)
    assert outcome.error is None
    assert outcome.execution.complete
    assert set(outcome.execution.rejected) == {"r1", "r2"}
    again = live(folder, story, decide, resume=True)
    assert again.execution == outcome.execution
    assert again.new == 0


def test_withdrawals(tmp_path: Path) -> None:
    """Requests past the hard horizon are withdrawn; one that must be served ends the run."""
    story = of(
        request("r0", adapter="base"),
        request("r1", adapter="base", reject_loss=1.0),
        horizon_ticks=8,
    )
    gone: list[str] = []

    def decide(state: State) -> list[Action]:
        gone.extend(job.id for job in state.withdrawn)
        return alone(state) if 0 in state.waiting else []

    outcome = live(tmp_path / "one", story, decide)
    assert outcome.error is None
    assert gone == ["r1"]
    assert outcome.execution.rejected == ("r1",)
    must = of(request("r0", adapter="base"), request("r1", adapter="base"), horizon_ticks=8)
    outcome = live(tmp_path / "two", must, decide)
    assert isinstance(outcome.error, NoScheduleError)
    assert "did not serve 'r1' in time" in str(outcome.error)
    assert list(pictures(tmp_path / "two")) == ["r0.png"]
    assert not outcome.execution.complete


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ([Start(0, ((1, 0),), frozenset())], "broke rule 2"),
        ([Start(0, ((0, 0),), frozenset({2}))], "does not wait"),
        ([Start(7, ((1, 0),), A)], "there is no GPU 7"),
        ([WakeAt(-1)], "not in the future"),
        ("nonsense", "is no action"),
        (None, "is no list of actions"),
        ([], "waiting for ever"),
    ],
)
def test_a_policy_that_breaks_rules_ends_the_run(tmp_path: Path, answer: object, why: str) -> None:
    """As in the simulator; the images made so far are kept."""
    story = of(request("r0", adapter="base"), request("r1", adapter="base", arrival_s=0.03))

    def decide(state: State) -> object:
        if 0 in state.waiting:
            return alone(state)
        return answer if state.waiting and state.idle else []

    folder = tmp_path / "out"
    outcome = live(folder, story, decide)
    assert isinstance(outcome.error, SolverError)
    assert why in str(outcome.error)
    assert list(pictures(folder)) == ["r0.png"]
    assert not outcome.execution.complete
    assert live(folder, story, alone, resume=True).error is None
    assert set(makings(folder).values()) == {1}


def test_a_policy_that_fails_ends_the_run(tmp_path: Path) -> None:
    """Its exception is told, with the state."""

    def decide(state: State) -> list[Action]:
        raise KeyError("lost")

    outcome = live(tmp_path / "out", problem(), decide)
    assert isinstance(outcome.error, SolverError)
    assert "failed with KeyError('lost')" in str(outcome.error)


def test_an_interrupted_live_run_goes_on(tmp_path: Path) -> None:
    """Images are kept; all that had arrived arrives again at the second where it stopped."""
    folder = tmp_path / "out"
    story = problem(12)
    (folder / "images").mkdir(parents=True)

    def interrupt() -> None:
        while not list((folder / "images").glob("*.png")):
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    first = run_live(folder, story, engine=open_slow)
    assert isinstance(first.error, UnfinishedError)
    made = set(makings(folder))
    assert 0 < len(made) < 12
    second = max(j.second for j in journals(folder))
    outcome = run_live(folder, story, resume=True)
    assert outcome.error is None
    assert outcome.execution.sittings == 2
    assert set(makings(folder).values()) == {1}
    assert set(makings(folder)) == {f"r{i}" for i in range(12)}
    (only,) = outcome.execution.gpus
    assert len({b.index for b in only.batches}) == len(only.batches)
    after = [b for b in only.batches if not {m.id for m in b.members} & made]
    assert all(b.switch_start_s >= second for b in after)


def test_resumed_gpus_hold_what_they_held(tmp_path: Path) -> None:
    """The engine opens with the adapters of the last batch, and the policy sees them."""
    folder = tmp_path / "out"
    story = of(
        request("r0", adapter="a"),
        request("r1", adapter="b", arrival_s=0.05),
        gpus=[gpu(resident=("b",))],
        switching={"max_resident": 1},
    )
    opened: list[tuple[str, ...]] = []
    held: list[frozenset[int]] = []

    def decide(state: State) -> list[Action]:
        held.append(state.gpus[0].resident)
        if 1 in state.waiting and len(opened) < 2:
            raise RuntimeError
        return alone(state)

    def engine(settings: EngineSettings, clock: Callable[[], float]) -> FakeEngine:
        made = FakeEngine(settings, clock)
        opened.append(tuple(made.resident))
        return made

    assert live(folder, story, decide, engine=engine).error is not None
    assert live(folder, story, decide, engine=engine, resume=True).error is None
    assert opened == [("b",), ("a",)]
    assert held[0] == {1}
    assert held[-1] == {0}


def test_no_wait_of_a_policy_blocks_the_end(tmp_path: Path) -> None:
    """A timer far off does not keep a run going in which everybody is served."""
    story = of(request("r0", adapter="base"))
    outcome = live(tmp_path / "out", story, lambda state: [*alone(state), WakeAt(10**9)])
    assert outcome.error is None


def test_slots_cover_what_any_gpu_can_hold(tmp_path: Path) -> None:
    """As many adapters as max_resident and memory allow."""
    large = [adapter("a", 0.01, 6.0), adapter("b", 0.01, 6.0), adapter("base")]
    for name, others, slots in (
        ("all", {"switching": {"max_resident": 9}}, 2),
        ("some", {"switching": {"max_resident": 1}}, 1),
        ("fits", {"switching": {"max_resident": 9}, "adapters": large}, 1),
    ):
        outcome = run_live(tmp_path / name, problem(3, **others))
        assert outcome.error is None
        assert outcome.execution.model.slots == slots
