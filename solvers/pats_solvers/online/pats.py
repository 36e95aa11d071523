"""PATS, perception-aware Tetris scheduling, as its document states it (section 4)."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np
from msgspec import Meta

from pats_opt.policy import Decide, GpuState, Start, State
from pats_opt.problem import Job, Site
from pats_opt.solver import Capabilities, Kind
from pats_solvers.online.candidates import Candidates, Floats, Ints
from pats_solvers.online.packing import (
    BatchBuilder,
    LeastRecentlyUsed,
    fewest_steps,
    most_steps,
    open_batch,
)


class Pats(msgspec.Struct, frozen=True, kw_only=True):
    """Serve first what is short, fits well and has waited; then build a train of its adapter.

    Pruning: a simple request (complexity below ``threshold``) gets its fewest steps, a complex one
    its most; one of unknown complexity counts as complex. Score of request j on an idle GPU::

        score_j = 1 / EffTime_j * cos(demand_j, residual) * (1 + gamma * wait_j)

    with EffTime_j = steps x step time alone, plus the seconds of switching its adapter would pay
    on that GPU now (the whole tick of a ``slot`` batch stands for steps x step time there), and
    wait_j in seconds since arrival. The best is the leader; in the simulated state its adapter is
    ready and the residual smaller by its demand. Waiting requests of that adapter are scored again
    in that state, the best that fits joins, and so on until none fits.

    What the document leaves open is settled so. Vectors are over the resources that the GPU limits,
    each as a share of its capacity; the residual before the leader is what the idle GPU has free
    beside its residents. A vector of zeros has cosine 1; with memory alone every cosine is 1.
    Several idle GPUs: the pair of request and GPU with the highest score goes first. Ties go to the
    first GPU, then to the earliest request. ``max_resident`` above 1: the least recently used
    residents are evicted, as few as let the leader fit. ``max_per_batch`` above 1 changes nothing,
    as a train has one adapter. Where the hard horizon leaves no time for a leader's option its
    fewest steps are taken, and a request that has no time even so is passed over.

    Args:
        threshold: Complexity, 0 to 1, below which a request is simple.
        gamma: Weight of waiting, per second.
        use_cosine: Whether the score has its cosine factor (off: an ablation).
        prune: Whether simple requests get their fewest steps (off: all get the most).
        followers: Whether the leader takes others along (off: batches of one).
    """

    name: ClassVar[str] = "pats"
    kind: ClassVar[Kind] = Kind.ONLINE
    capabilities: ClassVar[Capabilities] = Capabilities()

    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    gamma: Annotated[float, Meta(ge=0, le=1e9)] = 0.1
    use_cosine: bool = True
    prune: bool = True
    followers: bool = True

    def option(self, job: Job) -> int:
        """The pruning rule: which option ``job`` gets."""
        simple = self.prune and job.complexity is not None and job.complexity < self.threshold
        return fewest_steps(job) if simple else most_steps(job)

    def start(self, site: Site, seed: int) -> Decide:  # noqa: ARG002 - draws nothing
        """Fresh memory for one run."""
        return _Pats(self, site)


class Angles:
    """Cosines between demands, one a column, and a residual, all as shares of a capacity.

    Unlimited resources, and those of which there is nothing, are left out; zeros give 1.
    """

    def __init__(self, demand: Ints, capacity: tuple[int | None, ...]) -> None:
        self._limited = [(i, most) for i, most in enumerate(capacity) if most]
        self._count = demand.shape[1]
        self._shares: list[Floats] = [demand[i] / most for i, most in self._limited]
        square = np.zeros(self._count)
        for share in self._shares:  # one after another, so that a column's place cannot matter
            square += share * share
        self._length = np.sqrt(square)
        self._none = self._length == 0.0
        self._length[self._none] = 1.0

    def cosine(self, residual: list[int | None]) -> Floats:
        """Cosine of each demand with ``residual``."""
        left = [(residual[i] or 0) / most for i, most in self._limited]
        length = math.sqrt(sum(x * x for x in left))
        if len(left) < 2 or length == 0.0:
            return np.ones(self._count)
        dot = np.zeros(self._count)
        for share, x in zip(self._shares, left, strict=True):
            dot += share * x
        dot /= self._length * length
        dot[self._none] = 1.0
        return np.minimum(dot, 1.0, out=dot)


class _Pats:
    """PATS at work on one site."""

    def __init__(self, policy: Pats, site: Site) -> None:
        self._policy, self._site = policy, site
        self._victims = LeastRecentlyUsed()
        self._waiting = Candidates(site, self._kind, self._work_s)
        self._loads: dict[int | None, Floats] = {}

    def __call__(self, state: State) -> list[Start]:
        for job in state.arrived:
            self._waiting.add(job)
        for job in state.withdrawn:
            self._waiting.remove(job)
        idle, starts = {gpu.index: gpu for gpu in state.idle}, []
        while idle and (batch := self._train(list(idle.values()), state.tick)) is not None:
            starts.append(batch.start())
            del idle[starts[-1].gpu]
        return starts

    def _kind(self, job: Job) -> tuple[object, ...]:
        """Jobs of a kind have the same score but for waiting, and expire together."""
        steps = job.options[self._policy.option(job)].steps
        return job.adapter, job.demand, steps, job.options[fewest_steps(job)].steps

    def _work_s(self, job: Job) -> float:
        clock = self._site.clock
        if clock.slotted:
            return self._site.tick_s
        return job.options[self._policy.option(job)].steps * clock.step_s(1)

    def _train(self, idle: list[GpuState], tick: int) -> BatchBuilder | None:
        """The next batch on one of the idle GPUs, or None where none can serve anything."""
        waiting = self._waiting
        scored = [(gpu, self._leader_scores(gpu, tick)) for gpu in idle] if waiting.rows else []
        while scored:
            gpu, scores = max(scored, key=lambda pair: float(pair[1].max()))
            row = waiting.best(scores)
            if row is None:
                return None
            leader = waiting.heads[row][0]
            options = (choose(leader) for choose in (self._policy.option, fewest_steps))
            batch = open_batch(self._site, gpu, leader, options, tick=tick, victims=self._victims)
            if batch is not None:
                waiting.remove(leader)
                self._victims.used(gpu.index, (leader.adapter,))
                if self._policy.followers:
                    self._take_along(batch, gpu, leader.adapter, tick)
                return batch
            scores[row] = -1.0  # it cannot end by the horizon there
        return None

    def _leader_scores(self, gpu: GpuState, tick: int) -> Floats:
        """Score of every row on ``gpu``; -1 where it cannot serve the row."""
        waiting, site = self._waiting, self._site
        effective_s = waiting.work_s + self._switching_s(gpu)[waiting.adapter]
        scores: Floats = self._urgency(waiting.arrival, tick) / effective_s
        if self._policy.use_cosine:
            angles = Angles(waiting.demand, site.gpus[gpu.index].capacity)
            scores *= angles.cosine(list(site.room(gpu.index, gpu.resident)))
        scores[~waiting.hosted(gpu.index)] = -1.0
        return scores

    def _take_along(self, batch: BatchBuilder, gpu: GpuState, adapter: int, tick: int) -> None:
        """Add followers to the leader: intra-batch simulation, no switching for them."""
        waiting = self._waiting
        rows = np.flatnonzero((waiting.adapter == adapter) & waiting.hosted(gpu.index))
        if not len(rows) or batch.full:
            return
        demand, work_s = waiting.demand[:, rows], waiting.work_s[rows]
        speeds = self._urgency(waiting.arrival[rows], tick) / work_s
        angles = Angles(demand, self._site.gpus[gpu.index].capacity)
        limited = [i for i, room in enumerate(batch.free) if room is not None]
        out = np.zeros(len(rows), np.bool_)
        while not batch.full:
            scores = speeds.copy()
            if self._policy.use_cosine:
                scores *= angles.cosine(batch.free)
            scores[out] = -1.0
            for i in limited:
                scores[demand[i] > batch.free[i]] = -1.0
            place = waiting.best(scores, rows)
            if place is None:
                return
            heads = waiting.heads[rows[place]]
            job = heads[0]
            joined = batch.add(job, self._policy.option(job))
            if joined:
                waiting.remove(job)
            if joined and heads:
                speeds[place] = self._urgency(heads[0].arrival, tick) / work_s[place]
            else:  # it cannot end by the horizon, or it was the last of its kind
                out[place] = True

    def _urgency(self, arrival: Any, tick: int) -> Any:
        """1 + gamma x seconds waited."""
        return 1.0 + self._policy.gamma * ((tick - arrival) * self._site.tick_s)

    def _switching_s(self, gpu: GpuState) -> Floats:
        """Seconds of loading or activation that each adapter would pay on ``gpu`` now."""
        site = self._site
        source = next(iter(gpu.resident), None) if site.pairs else None
        if source not in self._loads:
            before = frozenset() if source is None else frozenset((source,))
            count = len(site.adapter_ids)
            self._loads[source] = np.array([site.load_seconds(a, before) for a in range(count)])
        seconds = self._loads[source].copy()
        for a in gpu.resident:
            stays = gpu.active is None or gpu.active == {a}
            seconds[a] = 0.0 if stays else site.activate_s
        return seconds
