"""Seeded random tiny instances with every feature of PROBLEM.md, for tests of solvers."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import msgspec

from pats_opt.core.solver import ALL_FEATURES, Feature
from pats_opt.model.instance import (
    Adapter,
    Gpu,
    Instance,
    Option,
    Overhead,
    Overlap,
    Request,
    SlotService,
    StepsService,
    StepTime,
    Switching,
    Transition,
    quanta,
    validate,
)
from pats_opt.model.problem import Job, Problem
from pats_opt.model.timing import to_ticks

#: Features that need others, and features that exclude each other.
NEEDS: dict[Feature, frozenset[Feature]] = {
    Feature.MIXED_BATCH: frozenset((Feature.RESIDENT,)),
    Feature.ACTIVATE: frozenset((Feature.RESIDENT,)),
    Feature.OVERLAP: frozenset((Feature.RESIDENT,)),  # else a load waits for the batch anyway
}
CONFLICTS: tuple[tuple[Feature, Feature], ...] = (
    (Feature.PAIRS, Feature.RESIDENT),
    (Feature.SLOT, Feature.OVERHEAD),
    (Feature.OVERLAP, Feature.PAIRS),
    (Feature.OVERLAP, Feature.SLOT),
)

#: Round numbers, and numbers whose sums and ratios are inexact as floats.
TICKS_S = (1.0, 0.5, 1.2, 0.1, 0.7)
DEMANDS_GIB = (4.0, 4.0, 0.0, 2.5, 0.1 + 0.2, 4.1, 1 / 3)
ADAPTERS_GIB = (0.17, 0.0, 0.5, 1.1)
WEIGHTS = (1.0, 1.0, 1.0, 2.0, 0.5, 1 / 3, 0.0)
QUALITIES = (1.0, 0.97, 0.9, 0.8, 0.5, 1 / 3)
COMPLEXITIES = (None, 0.0, 0.2, 0.5, 0.8, 1.0)
#: Step counts and a step time, in ticks, that give batches of one to about four ticks.
STEPS: tuple[tuple[tuple[int, ...], float], ...] = (
    ((1, 2, 3, 4), 0.5),
    ((1, 2, 3), 1.0),
    ((1, 2, 4), 1 / 3),
    ((20, 40, 60), 0.05),
)
#: Load times in ticks; beside serving, longer ones matter.
LOADS = ((1.0, 1.0, 0.0, 0.4, 1.7, 2.0), (1.0, 2.0, 0.0, 0.4, 2.7, 4.0))
PRICES = (0.0, 0.05, 0.1, 1 / 3, 1.0)


def random_features(
    rng: random.Random, share: float = 0.4, among: frozenset[Feature] = ALL_FEATURES
) -> frozenset[Feature]:
    """Draw compatible features of ``among``, each with probability ``share``."""
    drawn = {feature for feature in sorted(ALL_FEATURES) if rng.random() < share} & among
    if Feature.OVERLAP in among and rng.random() < share:
        drawn |= {Feature.OVERLAP}
    for one, other in CONFLICTS:
        if {one, other} <= drawn:
            drawn.discard(rng.choice((one, other)))
    return frozenset(f for f in drawn if NEEDS.get(f, frozenset()) <= drawn)


def random_instance(
    seed: int | random.Random,
    features: Iterable[Feature] | None = None,
    *,
    requests: tuple[int, int] = (1, 5),
    tight: bool = False,
    feasible: bool = True,
) -> Instance:
    """Draw a tiny instance: 1-3 adapters, 1-2 GPUs, batches and switches of a few ticks.

    Args:
        seed: A seed, or a generator such as that of a property-based test library.
        features: Exactly the features that it uses; None draws a random set.
        requests: Fewest and most requests.
        tight: Whether a hard horizon is just long enough to serve one request after another with
            its quickest option; otherwise no policy that keeps serving can miss it.
        feasible: False makes a request impossible to serve that must be served.

    Raises:
        ValueError: The features cannot be together.
    """
    if isinstance(seed, random.Random):
        rng, name = seed, "random"
    else:
        rng, name = random.Random(seed), f"random-{seed}"  # noqa: S311 - reproducible, not secret
    wanted = random_features(rng) if features is None else frozenset(features)
    for feature in wanted:
        if missing := NEEDS.get(feature, frozenset()) - wanted:
            raise ValueError(f"{feature!r} needs {', '.join(sorted(missing))} too")
    for one, other in CONFLICTS:
        if {one, other} <= wanted:
            raise ValueError(f"{one!r} and {other!r} cannot be together")
    made = _InstanceDraw(rng, wanted).instance(name, rng.randint(*requests))
    if Feature.HORIZON in wanted:
        made = msgspec.structs.replace(made, horizon_ticks=_horizon(Problem(made), tight))
    if not feasible:
        made = _infeasible(rng, made)
    validate(made)
    return made


class _InstanceDraw:
    def __init__(self, rng: random.Random, wanted: frozenset[Feature]) -> None:
        self.rng, self.wanted = rng, wanted
        self.tick_s = rng.choice(TICKS_S)
        self.steps, self.step_s = rng.choice(STEPS)

    def instance(self, name: str, count: int) -> Instance:
        rng = self.rng
        adapters = self._adapters()
        requests = self._requests(count, [a.id for a in adapters])
        switching = self._switching([a.id for a in adapters])
        base = rng.choice((7.0, 0.0, 6.9))
        gpus = self._gpus(base, adapters, requests, switching.max_resident)
        if Feature.REJECTION in self.wanted and count > 1 and rng.random() < 0.2:
            too_large = {**requests[-1].demand, "vram_gib": 500.0}
            requests[-1] = msgspec.structs.replace(
                requests[-1], demand=too_large, reject_loss=rng.choice((0.0, 1.0))
            )
        made = Instance(
            name=name,
            tick_s=self.tick_s,
            base_vram_gib=base,
            gpus=gpus,
            adapters=adapters,
            switching=switching,
            service=self._service(),
            latency_price_per_s=rng.choice(PRICES[1:]) / self.tick_s,
            late_price=rng.choice((0.5, 1.0, 3.0)) if Feature.DEADLINES in self.wanted else 0.0,
            requests=tuple(requests),
        )
        if rng.random() < 0.7:  # drawn last: a seed gives the same instance as before, but for them
            return made
        groups = (msgspec.UNSET, None, *(f"call-{k}" for k in range(count)))
        grouped = [msgspec.structs.replace(r, group=rng.choice(groups)) for r in requests]
        return msgspec.structs.replace(made, requests=tuple(grouped))

    def _seconds(self, ticks: Sequence[float]) -> float:
        return self.rng.choice(ticks) * self.tick_s

    def _adapters(self) -> tuple[Adapter, ...]:
        rng = self.rng
        return tuple(
            Adapter(
                id=f"lora-{a}",
                vram_gib=rng.choice(ADAPTERS_GIB),
                load_s=self._seconds(LOADS[Feature.OVERLAP in self.wanted]),
            )
            for a in range(rng.randint(1, 3))
        )

    def _requests(self, count: int, adapters: Sequence[str]) -> list[Request]:
        rng, wanted = self.rng, self.wanted
        latest = rng.choice((0, 2, 4))
        drawn = []
        for r in range(count):
            demand = {"vram_gib": rng.choice(DEMANDS_GIB)}
            if Feature.RESOURCES in wanted:
                demand["batch"] = 1.0
                if rng.random() < 0.5:
                    demand["host_gib"] = rng.choice((0.3, 1.0, 2.5))
            several = Feature.OPTIONS in wanted and (r == 0 or rng.random() < 0.7)
            priced = Feature.DEADLINES in wanted and (r == 0 or rng.random() < 0.6)
            optional = Feature.REJECTION in wanted and (r == count - 1 or rng.random() < 0.4)
            drawn.append(
                Request(
                    id=f"r{r}",
                    arrival_s=rng.choice((0.0, rng.randint(0, latest), rng.random() * latest))
                    * self.tick_s,
                    adapter=rng.choice(adapters),
                    demand=demand,
                    options=self._options(rng.randint(2, 3) if several else 1),
                    weight=rng.choice(WEIGHTS),
                    complexity=rng.choice(COMPLEXITIES),
                    deadline_s=self._seconds((1.0, 2.0, 3.3, 5.0)) if priced else None,
                    reject_loss=rng.choice((0.0, 0.2, 1.0, 5.0)) if optional else None,
                )
            )
        return drawn

    def _options(self, count: int) -> tuple[Option, ...]:
        rng = self.rng
        steps = [rng.choice(self.steps) for _ in range(count)]
        qualities = [rng.choice(QUALITIES) for _ in range(count)]
        if rng.random() < 0.7:  # mostly, more steps look better
            steps, qualities = sorted(steps), sorted(qualities)
        return tuple(Option(steps=s, quality=q) for s, q in zip(steps, qualities, strict=True))

    def _switching(self, adapters: Sequence[str]) -> Switching:
        rng, wanted = self.rng, self.wanted
        resident = rng.randint(2, 3) if Feature.RESIDENT in wanted else 1
        pairs: list[Transition] = []
        if Feature.PAIRS in wanted:
            routes = [(a, b) for a in (None, *adapters) for b in adapters if a != b]
            for source, target in rng.sample(routes, rng.randint(1, len(routes))):
                load_s = self._seconds((0.0, 0.5, 1.0, 2.0))
                pairs.append(Transition(source=source, target=target, load_s=load_s))
        activate = Feature.ACTIVATE in wanted
        return Switching(
            max_resident=resident,
            max_per_batch=rng.randint(2, 3) if Feature.MIXED_BATCH in wanted else 1,
            activate_s=self._seconds((0.2, 1.0)) if activate else 0.0,
            price_per_s=rng.choice(PRICES) / self.tick_s,
            pairs=tuple(pairs),
            overlap=Overlap(channels=rng.randint(1, 2))
            if Feature.OVERLAP in wanted
            else msgspec.UNSET,
        )

    def _gpus(
        self, base: float, adapters: Sequence[Adapter], requests: Sequence[Request], most: int
    ) -> tuple[Gpu, ...]:
        """Draw GPUs, the first of which holds every request alone; a second one may be smaller."""
        rng, wanted = self.rng, self.wanted
        least = max(a.vram_gib for a in adapters) + max(r.demand["vram_gib"] for r in requests)
        gpus = []
        for g in range(2 if Feature.GPUS in wanted else 1):
            spare = rng.choice((0.0, 0.5, 4.0, 4.0 + 1 / 3, 8.2, 30.0))
            capacity = {"vram_gib": base + least + spare}
            if g and rng.random() < 0.5:  # holds some requests, or not even the base model
                capacity = {"vram_gib": rng.choice((0.5 * base, base + 0.5 * least))}
            if Feature.RESOURCES in wanted:
                if rng.random() < 0.8:  # a resource that a GPU does not name is unlimited
                    capacity["batch"] = rng.choice((1.0, 2.0, 3.0))
                if rng.random() < 0.5:
                    capacity["host_gib"] = rng.choice((2.5, 2.6, 5.0))
            first = Feature.INITIAL in wanted and (g == 0 or rng.random() < 0.5)
            resident = self._residents(base, capacity["vram_gib"], adapters, most) if first else ()
            gpus.append(Gpu(id=f"gpu-{g}", capacity=capacity, resident=resident))
        return tuple(gpus)

    def _residents(
        self, base: float, vram: float, adapters: Sequence[Adapter], most: int
    ) -> tuple[str, ...]:
        held = quanta(base)
        names: list[str] = []
        for adapter in self.rng.sample(adapters, len(adapters)):
            if len(names) < most and held + quanta(adapter.vram_gib) <= quanta(vram):
                held += quanta(adapter.vram_gib)
                names.append(adapter.id)
        return tuple(names[: self.rng.randint(1, most)])

    def _service(self) -> StepsService | SlotService:
        rng, wanted = self.rng, self.wanted
        step = self.step_s * self.tick_s
        step_s = StepTime(base=step, per_sample=rng.choice((0.0, 0.0, 0.3 * step, step)))
        if Feature.TABLE in wanted:  # longer batches mostly take longer, but need not
            sizes = rng.randint(1, 4)
            step_s = StepTime(table=tuple(rng.choice((1.0, 1.4, 0.9)) * step for _ in range(sizes)))
        if Feature.SLOT in wanted:
            return SlotService(step_s=step_s if Feature.TABLE in wanted else None)
        overhead_s: float | Overhead = 0.0
        if Feature.OVERHEAD in wanted:
            some = self._seconds((0.1, 0.5, 1.0))
            overhead_s = rng.choice((some, Overhead(base=some, per_sample=0.3 * some)))
        return StepsService(step_s=step_s, overhead_s=overhead_s)


def _horizon(problem: Problem, tight: bool) -> int:
    """Horizon that one job after another meets, each with its longest option after any switch.

    A tight one suffices for the jobs that must be served, on their first hosts, at their quickest.
    """
    site = problem.site
    resident = [gpu.resident for gpu in site.gpus]
    active: list[frozenset[int] | None] = [None] * len(site.gpus)
    now = 0
    for job in problem.jobs:
        hosts = problem.hosts(job)
        if not hosts or (tight and job.reject_loss is not None):
            continue
        after, g = frozenset((job.adapter,)), hosts[0]
        if tight:
            switch = site.switch(resident[g], after, after, active[g]).ticks
            resident[g] = active[g] = after
            length = min(site.clock.duration(((o.steps, 1),)) for o in job.options)
        else:
            loads = (*site.load_s, *site.pairs.values(), site.activate_s)
            switch = site.max_resident * (round(max(loads) / site.tick_s) + 1)
            length = _longest(problem, job)
        now = max(now, job.arrival) + switch + length
    return now


def _longest(problem: Problem, job: Job) -> int:
    """Upper bound, in ticks, on any batch whose members run at most the steps of ``job``."""
    site, clock = problem.site, problem.site.clock
    most = clock.largest or len(problem.jobs)
    step_s = max(clock.step_s(n) for n in range(1, most + 1))
    steps = max(o.steps for o in job.options)
    return 1 if clock.slotted else to_ticks(clock.overhead_s(most) + steps * step_s, site.tick_s)


def _infeasible(rng: random.Random, made: Instance) -> Instance:
    """Change one request so that it must be served and cannot be."""
    requests = list(made.requests)
    r = rng.randrange(len(requests))
    requests[r] = msgspec.structs.replace(requests[r], reject_loss=None)
    if made.horizon_ticks is not None and rng.random() < 0.5:
        whole = Problem(msgspec.structs.replace(made, requests=tuple(requests)))
        job = next(job for job in whole.jobs if job.position == r)
        end = job.arrival + min(whole.site.clock.quickest(o.steps) for o in job.options) - 1
        return msgspec.structs.replace(made, requests=tuple(requests), horizon_ticks=end)
    demand = {**requests[r].demand, "vram_gib": 500.0}
    requests[r] = msgspec.structs.replace(requests[r], demand=demand)
    return msgspec.structs.replace(made, requests=tuple(requests))
