"""Result of a plan: every cell, the answer, what a step more buys, what is lost anyway."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from pats_opt.model.loss import gap
from pats_opt.planning.config import ServiceObjective
from pats_opt.planning.grid import PlanGrid, PlanLine
from pats_opt.planning.search import (
    CellOutcome,
    PlanCell,
    cheapest,
    frontier,
    is_monotone,
    nearest_miss,
    neighbours,
    shares,
)
from pats_opt.runs.record import Record, RunOutcome
from pats_opt.runs.statistics import Interval, mean_interval

HOUR_S = 3600.0


class CellFigures(Struct, frozen=True, kw_only=True):
    """Figures of a cell. Requests are those of users: a group of images is one.

    Attributes:
        gpus: Number of GPUs; then the rest of the cell, None where it is the instance's own.
        end: How its run ended.
        meets: Whether it meets the objective; None without one.
        in_time: Share of all requests served within the objective's seconds; without an
            objective the share served at all. 0 without a schedule.
        in_time_interval: 95 % interval of it over windows; None of fewer than two.
        latency_mean_s: Mean latency of the requests served.
        latency_mean_interval: Its interval over windows.
        latency_p95_s: Their p95, the mean over windows; then their p99.
        loss: Loss.
        busy_share: Share of GPU time spent serving, and switching.
        hit_share: Share of images whose adapter was resident.
        gpu_hours: GPUs times the hours to the last image.
        gpu_hours_per_1000: GPU hours for a thousand images.
        cost_per_1000: Their price; None without a price.
        seconds: Seconds of the simulation.
        error: Why there is no schedule, or None.
    """

    gpus: int
    residents: int | None
    tier: str | None
    channels: int | None
    batch: int | None
    dispatch: str | None
    policy: str
    end: str
    meets: bool | None = None
    in_time: float = 0.0
    in_time_interval: Interval | None = None
    latency_mean_s: float | None = None
    latency_mean_interval: Interval | None = None
    latency_p95_s: float | None = None
    latency_p99_s: float | None = None
    loss: float | None = None
    busy_share: float | None = None
    switching_share: float | None = None
    hit_share: float | None = None
    gpu_hours: float | None = None
    gpu_hours_per_1000: float | None = None
    cost_per_1000: float | None = None
    seconds: float = 0.0
    error: str | None = None

    @property
    def cell(self) -> PlanCell:
        """The cell that they are of."""
        names = PlanLine._fields
        return PlanCell(PlanLine(*(getattr(self, name) for name in names)), self.gpus)

    @property
    def cost(self) -> float:
        """Cost of a thousand images, in money or hours; infinite without a schedule."""
        hours = self.gpu_hours_per_1000
        found = hours if self.cost_per_1000 is None else self.cost_per_1000
        return math.inf if found is None else found


class PolicyLoss(Struct, frozen=True, kw_only=True):
    """Loss of a policy over the short windows, and its gap to the bound."""

    policy: str
    loss: float
    gap: float


class LossBound(Struct, frozen=True, kw_only=True):
    """Part of the loss that no policy could save, on short windows of the answer's fleet.

    Attributes:
        windows: Short windows with a bound and a schedule of every policy counted.
        requests: Images in them.
        seconds: Time limit of each bound.
        bound: Sum of the proven lower bounds.
        unavoidable_share: ``bound`` by the loss of the best policy.
        policies: The policies, the best first.
        problems: Why bounds are missing, a line each.
    """

    windows: int
    requests: int
    seconds: float
    bound: float
    unavoidable_share: float | None
    policies: tuple[PolicyLoss, ...]
    problems: tuple[str, ...] = ()


class PlanResult(Struct, frozen=True, kw_only=True):
    """Result of a plan.

    Attributes:
        objective: The objective; None without one.
        gpu_hour: Price of a GPU hour; None without one.
        requests: Requests of users; then images, adapters, and hours to the last arrival.
        answer: The cheapest cell that meets the objective; None where none does, or without one.
        nearest: Where none does, the cell that comes nearest.
        reference: The cell whose neighbours and bound are given: the answer, else the nearest,
            else the one of least loss.
        cells: Every cell simulated.
        frontier: Those that no other beats in cost and service at once, by rising cost.
        steps: Those that differ from the reference in one thing.
        bound: What no policy could save; None without bounds.
        not_monotone: Lines in which more GPUs served fewer requests in time.
        total: Cells of the whole grid.
        missing: Cells that an interrupt left out.
    """

    objective: ServiceObjective | None
    gpu_hour: float | None
    requests: int
    images: int
    adapters: int
    hours: float
    answer: CellFigures | None
    nearest: CellFigures | None
    reference: CellFigures | None
    cells: tuple[CellFigures, ...]
    frontier: tuple[CellFigures, ...]
    steps: tuple[CellFigures, ...]
    bound: LossBound | None
    not_monotone: tuple[str, ...]
    total: int
    missing: int = 0


def score(record: Record) -> CellOutcome:
    """The outcome of a run, for the search."""
    share = in_time(record)
    return CellOutcome() if record.loss is None else CellOutcome(share, record.loss)


def in_time(record: Record) -> float:
    """Share of all users' requests served in time, or at all where no seconds are given."""
    windows = record.windows
    good = sum(w.served if w.within is None else w.within for w in windows)
    return good / max(1, sum(w.requests for w in windows))


def figures(cell: PlanCell, record: Record, grid: PlanGrid) -> CellFigures:
    """The figures of a cell's run."""
    objective, price = grid.config.objective, grid.config.gpu_hour
    known: dict[str, Any] = {}
    if (metrics := record.metrics) is not None:
        windows = record.windows
        served = sum(w.served for w in windows)
        hours = cell.gpus * metrics.makespan_s / HOUR_S
        per_1000 = 1000 * hours / metrics.served if metrics.served else None
        means = [w.latency_mean_s for w in windows if w.latency_mean_s is not None]
        share = in_time(record)
        by_window = [(w.served if w.within is None else w.within) / w.requests for w in windows]
        known = {
            "meets": None if objective is None else share >= objective.share,
            "in_time": share,
            "in_time_interval": mean_interval(by_window, seed=0),
            "latency_mean_s": _weighted([(w.latency_mean_s, w.served) for w in windows], served),
            "latency_mean_interval": mean_interval(means, seed=0),
            "latency_p95_s": _weighted([(w.latency_p95_s, w.served) for w in windows], served),
            "latency_p99_s": _weighted([(w.latency_p99_s, w.served) for w in windows], served),
            "busy_share": metrics.busy_share,
            "switching_share": metrics.switching_share,
            "hit_share": metrics.hit_share,
            "gpu_hours": hours,
            "gpu_hours_per_1000": per_1000,
            "cost_per_1000": None if price is None or per_1000 is None else price * per_1000,
        }
    elif objective is not None:
        known = {"meets": False}
    return CellFigures(
        gpus=cell.gpus,
        **cell.line._asdict(),
        end=str(record.end),
        loss=record.loss,
        seconds=record.seconds,
        error=None if record.error is None else record.error.message,
        **known,
    )


def _weighted(values: Sequence[tuple[float | None, int]], total: int) -> float | None:
    if not total:
        return None
    return sum(value * count for value, count in values if value is not None) / total


def loss_bound(windows: Sequence[Sequence[Record]], seconds: float) -> LossBound | None:
    """Sum up the short windows; the first record of each is the bound's. None without any."""
    if not windows:
        return None
    problems, bound, requests, used = [], 0.0, 0, 0
    losses: dict[str, float] = {}
    for first, *others in windows:
        reason = None if first.error is None else first.error.message
        if first.bound is None:
            problems.append(reason or "no bound within the time limit")
            continue
        used += 1
        bound += first.bound
        setting = first.config.setting
        assert setting is not None
        assert setting.span is not None
        requests += setting.span.count
        for record in others:
            name = record.config.solver.spec
            loss = math.inf if record.loss is None else record.loss
            losses[name] = losses.get(name, 0.0) + loss
    ranked = sorted((loss, name) for name, loss in losses.items() if math.isfinite(loss))
    best = ranked[0][0] if ranked else None
    return LossBound(
        windows=used,
        requests=requests,
        seconds=seconds,
        bound=bound,
        unavoidable_share=None if best is None else 1 - _gap(best, bound),
        policies=tuple(
            PolicyLoss(policy=name, loss=loss, gap=_gap(loss, bound)) for loss, name in ranked
        ),
        problems=tuple(dict.fromkeys(problems)),
    )


def _gap(loss: float, bound: float) -> float:
    found = gap(loss, bound)
    assert found is not None
    return found


def reference(grid: PlanGrid, scores: Mapping[PlanCell, CellOutcome]) -> PlanCell | None:
    """The cell whose neighbours and bound are looked at; see :class:`PlanResult`."""
    objective = grid.config.objective
    if objective is None:
        return min(scores, key=lambda c: (scores[c].loss, c.gpus), default=None)
    return cheapest(scores, objective) or nearest_miss(scores)


def result_of(
    grid: PlanGrid,
    records: Mapping[PlanCell, Record],
    bounds: Sequence[Sequence[Record]],
    *,
    missing: int = 0,
) -> PlanResult:
    """Make the result of all that was run."""
    objective, instance = grid.config.objective, grid.instance
    order = [PlanCell(line, g) for line in grid.lines for g in grid.gpus]
    known = {c: figures(c, records[c], grid) for c in order if c in records}
    scores = {c: score(records[c]) for c in known}
    chosen = reference(grid, scores)
    met = None if objective is None else cheapest(scores, objective)
    users = {request.group or (k,) for k, request in enumerate(instance.requests)}
    costs = {c: float(f"{f.cost:.3g}") for c, f in known.items() if math.isfinite(f.cost)}
    worth = {c: _worth(known[c], objective) for c in costs}
    return PlanResult(
        objective=objective,
        gpu_hour=grid.config.gpu_hour,
        requests=len(users),
        images=len(instance.requests),
        adapters=len({request.adapter for request in instance.requests}),
        hours=max(request.arrival_s for request in instance.requests) / HOUR_S,
        answer=None if met is None else known[met],
        nearest=None if objective is None or met or not chosen else known[chosen],
        reference=None if chosen is None else known[chosen],
        cells=tuple(known.values()),
        frontier=tuple(known[c] for c in frontier(costs, worth)),
        steps=tuple(_steps(chosen, grid, known)) if chosen else (),
        bound=loss_bound(bounds, grid.config.bound_s),
        not_monotone=tuple(_falls(grid, scores, objective)),
        total=len(order),
        missing=missing,
    )


def _worth(found: CellFigures, objective: ServiceObjective | None) -> float:
    """Service of a cell: its share in time, or without an objective the least mean latency."""
    if objective is not None:
        return found.in_time
    return -math.inf if found.latency_mean_s is None else -found.latency_mean_s


def _steps(
    cell: PlanCell, grid: PlanGrid, known: Mapping[PlanCell, CellFigures]
) -> Iterator[CellFigures]:
    names = ("gpus", *PlanLine._fields)

    def place(f: CellFigures) -> tuple[int, int]:
        mine, place_of = known[cell], order.index(f.cell)
        changed = next(i for i, n in enumerate(names) if getattr(f, n) != getattr(mine, n))
        return changed, place_of

    order = [PlanCell(line, g) for line in grid.lines for g in grid.gpus]
    near = dict.fromkeys(neighbours(cell, grid.lines, grid.gpus))
    yield from sorted((known[other] for other in near if other in known), key=place)


def _falls(
    grid: PlanGrid, scores: Mapping[PlanCell, CellOutcome], objective: ServiceObjective | None
) -> Iterator[str]:
    if objective is None:
        return
    for line in grid.lines:
        if not is_monotone(shares(line, grid.gpus, scores), objective):
            yield describe(line)


def describe(line: PlanLine) -> str:
    """A line in words; what the instance decides is left out."""
    parts = [line.spec]
    if line.residents is not None:
        parts.append(f"{line.residents} resident")
    if line.tier is not None:
        parts.append(f"adapters on {line.tier}")
    if line.channels is not None:
        parts.append(f"{line.channels} load channels" if line.channels else "loads block")
    if line.batch is not None:
        parts.append(f"batches of {line.batch}")
    return ", ".join(parts)


def failed(record: Record) -> bool:
    """Whether a run has no schedule."""
    return record.end is not RunOutcome.SOLVED
