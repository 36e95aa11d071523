"""Search over the grid: which cells are simulated next, and the cheapest that meets the objective.

Along the GPUs of a line, all else equal, the search bisects. That is right where more GPUs never
turn a met objective into a missed one. A line that shows otherwise has all its cells simulated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pats_opt.planning.config import ServiceObjective
from pats_opt.planning.grid import PlanLine

#: A fall of the share in time by more than this, with more GPUs, ends the bisection of a line.
FALL = 0.005


class PlanCell(NamedTuple):
    """A cell of the grid: a line and its GPUs."""

    line: PlanLine
    gpus: int


class CellOutcome(NamedTuple):
    """Outcome of a cell: the share in time, and the loss; worst where it has no schedule."""

    share: float = 0.0
    loss: float = float("inf")


#: Scores of the cells simulated so far.
Scores = Mapping[PlanCell, CellOutcome]


def next_cells(
    lines: Sequence[PlanLine],
    gpus: Sequence[int],
    scores: Scores,
    objective: ServiceObjective | None,
    *,
    every: bool = False,
) -> list[PlanCell]:
    """The cells to simulate next; none where the search is over.

    Args:
        lines: The lines.
        gpus: Numbers of GPUs, rising.
        scores: What is known.
        objective: The objective; without one, every cell is simulated.
        every: Whether every cell is simulated anyway.
    """
    found: list[PlanCell] = []
    for line in lines:
        wanted = gpus if objective is None or every else _wanted(line, gpus, scores, objective)
        found += [c for g in wanted if (c := PlanCell(line, g)) not in scores]
    if not found and objective is not None and (best := cheapest(scores, objective)) is not None:
        found = [cell for cell in neighbours(best, lines, gpus) if cell not in scores]
    return found


def _wanted(
    line: PlanLine, gpus: Sequence[int], scores: Scores, objective: ServiceObjective
) -> Sequence[int]:
    """Ends first, then the middle between the most GPUs that miss and the fewest that meet."""
    known = shares(line, gpus, scores)
    if gpus[0] not in known or gpus[-1] not in known:
        return (gpus[0], gpus[-1])
    if not is_monotone(known, objective):
        return gpus
    met = [i for i, g in enumerate(gpus) if known.get(g, -1.0) >= objective.share]
    missed = [i for i, g in enumerate(gpus) if g in known and known[g] < objective.share]
    if not met or not missed or met[0] - missed[-1] <= 1:
        return ()
    return (gpus[(met[0] + missed[-1]) // 2],)


def shares(line: PlanLine, gpus: Sequence[int], scores: Scores) -> dict[int, float]:
    """Known shares in time of a line, by rising GPUs."""
    return {g: scores[c].share for g in gpus if (c := PlanCell(line, g)) in scores}


def is_monotone(known: Mapping[int, float], objective: ServiceObjective | None) -> bool:
    """Whether more GPUs never serve fewer in time, by more than a little or below the objective.

    Args:
        known: Share in time by rising GPUs.
        objective: The objective.
    """
    best = 0.0
    for share in known.values():
        if share < best - FALL or (objective and share < objective.share <= best):
            return False
        best = max(best, share)
    return True


def cheapest(scores: Scores, objective: ServiceObjective) -> PlanCell | None:
    """The cell with the fewest GPUs that meets the objective; None where none does.

    Of several, the one with the largest share in time, then the least loss.
    """
    met = [cell for cell, score in scores.items() if score.share >= objective.share]
    return min(met, key=lambda c: (c.gpus, -scores[c].share, scores[c].loss), default=None)


def nearest_miss(scores: Scores) -> PlanCell | None:
    """The cell with the largest share in time; of several, the one with the fewest GPUs."""
    return min(scores, key=lambda c: (-scores[c].share, c.gpus, scores[c].loss), default=None)


def neighbours(
    cell: PlanCell, lines: Sequence[PlanLine], gpus: Sequence[int]
) -> Iterator[PlanCell]:
    """The cells that differ from this one in one thing: GPUs by one step, all else by any."""
    at = gpus.index(cell.gpus)
    for i in (at - 1, at + 1):
        if 0 <= i < len(gpus):
            yield PlanCell(cell.line, gpus[i])
    for line in lines:
        if sum(a != b for a, b in zip(line, cell.line, strict=True)) == 1:
            yield PlanCell(line, cell.gpus)


def frontier(costs: Mapping[PlanCell, float], worth: Mapping[PlanCell, float]) -> list[PlanCell]:
    """The cells that no other beats in cost and worth at once, by rising cost.

    Args:
        costs: Cost of each cell; less is better.
        worth: Worth of each cell; more is better.
    """
    found: list[PlanCell] = []
    for cell in sorted(costs, key=lambda c: (costs[c], -worth[c])):
        if not found or worth[cell] > worth[found[-1]]:
            found.append(cell)
    return found
