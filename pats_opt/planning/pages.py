"""The page of a plan, and its lines on the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from pats_opt import __version__
from pats_opt.planning import columns
from pats_opt.planning.columns import cells_csv
from pats_opt.planning.figures import figures
from pats_opt.planning.grid import PlanGrid
from pats_opt.planning.result import CellFigures, PlanResult, describe
from pats_opt.views.page import environment
from pats_opt.wording import counted, number, percent

__all__ = ["cells_csv", "page", "sentences", "table"]

#: Changes below this share of the value before are shown as none.
SAME = 5e-4


def page(grid: PlanGrid, result: PlanResult) -> str:
    """Make the page ``plan.html``."""
    cells = result.cells
    chosen = [*columns.parts(cells), columns.gpus()]
    service = columns.service(result.objective)
    return (
        environment("pats_opt.planning")
        .get_template("plan.html.j2")
        .render(
            result=result,
            config=grid.config,
            name=grid.instance.name,
            sentences=sentences(result),
            figures=figures(result),
            best=best_by_line(result),
            chosen=chosen,
            service=service,
            use=columns.use(result.gpu_hour),
            steps=[(f, _change(result.reference, f)) for f in result.steps]
            if result.reference
            else [],
            version=__version__,
        )
    )


def table(result: PlanResult) -> tuple[list[str], list[list[str]], int]:
    """Headings and rows of the terminal's table, a row for each line; and its columns of words."""
    cells = best_by_line(result)
    shown = [*columns.parts(result.cells), columns.gpus(), *columns.service(result.objective)]
    shown += columns.use(result.gpu_hour)[:1]
    head = [column.heading for column in shown]
    rows = [[column.text(f) for column in shown] for f in cells]
    if result.objective is not None:
        head.append("objective")
        rows = [[*row, "met" if f.meets else "missed"] for row, f in zip(rows, cells, strict=True)]
    return head, rows, 1


def best_by_line(result: PlanResult) -> list[CellFigures]:
    """Of each line the fewest GPUs that meet the objective, else its best cell; the best first."""

    def rank(f: CellFigures) -> tuple[bool, float, float, float]:
        late = f.latency_mean_s
        if result.objective is None:
            return (f.loss is None, 0.0 if late is None else late, f.gpus, 0.0)
        return (not f.meets, f.gpus if f.meets else -f.in_time, -f.in_time, f.loss or 0.0)

    best: dict[object, CellFigures] = {}
    for found in result.cells:
        line = found.cell.line
        if line not in best or rank(found) < rank(best[line]):
            best[line] = found
    return sorted(best.values(), key=rank)


def sentences(result: PlanResult) -> list[str]:
    """The answer first, then what else the plan found."""
    return list(_sentences(result))


def _sentences(result: PlanResult) -> Iterator[str]:
    answer, objective = result.answer, result.objective
    if not result.cells:
        yield "No cell was simulated."
        return
    if answer is not None:
        yield (
            f"{_named(answer)} is the cheapest of the grid that serves {objective}: "
            f"{columns.share(answer.in_time)} of the requests{_within(answer)}, for "
            f"{_cost(answer)}."
        )
    elif objective is not None and result.nearest is not None:
        near = result.nearest
        yield (
            f"No cell of the grid serves {objective}. {_named(near)} comes nearest: it serves "
            f"{columns.share(near.in_time)}{_within(near)} and lacks "
            f"{percent(objective.share - near.in_time)} of the requests; "
            "extend the grid, such as by more GPUs, or relax the objective."
        )
    elif result.reference is not None:
        yield f"{_named(result.reference)} has the least loss of the grid."
    yield from _unsure(result)
    yield from _lower(result)
    yield from _unavoidable(result)
    if result.not_monotone:
        yield (
            "More GPUs did not always serve more in time, so that all GPU numbers were simulated "
            f"of: {'; '.join(result.not_monotone)}."
        )
    lost = [f for f in result.cells if f.loss is None]
    if lost:
        yield (
            f"{counted(len(lost), 'cell')} of {len(result.cells)} has no schedule, such as "
            f"{_named(lost[0])}: {lost[0].error or lost[0].end}."
        )
    if result.missing:
        yield (
            f"An interrupt left out cells: {len(result.cells)} of {result.total} are simulated; "
            "the others may change the answer."
        )
    elif len(result.cells) < result.total and objective is not None:
        yield (
            f"{len(result.cells)} of {counted(result.total, 'cell')} were simulated; the search "
            "left out those that decide nothing (--every-cell simulates them too)."
        )


def _unsure(result: PlanResult) -> Iterator[str]:
    """Whether the answer's interval holds the objective."""
    answer, objective = result.answer, result.objective
    if answer is None or objective is None or answer.in_time_interval is None:
        return
    low, _ = answer.in_time_interval
    if low < objective.share:
        yield (
            "The interval reaches below the objective: another stretch of the same load may miss "
            "it, so plan for one step more or look at longer logs."
        )


def _lower(result: PlanResult) -> Iterator[str]:
    """The cheapest cell of every other policy, where it needs more GPUs or misses."""
    answer = result.answer
    if answer is None:
        return
    best: dict[str, CellFigures] = {}
    for found in best_by_line(result):
        best.setdefault(found.policy, found)
    for name, found in best.items():
        if name == answer.policy:
            continue
        if not found.meets:
            yield f"{name} misses the objective everywhere: at best {percent(found.in_time)}."
        elif found.gpus > answer.gpus:
            yield f"{name} needs {counted(found.gpus, 'GPU')} for it."


def _unavoidable(result: PlanResult) -> Iterator[str]:
    """The part of the loss that no policy could save."""
    bound = result.bound
    if bound is None:
        return
    if bound.unavoidable_share is not None and bound.windows and bound.policies:
        best = bound.policies[0]
        yield (
            f"On {counted(bound.windows, 'short window')} of the busiest requests "
            f"({bound.requests} images), at least {percent(bound.unavoidable_share)} of "
            f"{best.policy}'s loss is beyond any policy (certified bound, at most "
            f"{bound.seconds:g} s each): its gap to the bound, all that better scheduling of this "
            f"fleet can save, is {percent(best.gap)}."
        )
    for problem in bound.problems:
        yield f"A bound is missing: {problem}."


def _named(found: CellFigures) -> str:
    return f"{counted(found.gpus, 'GPU')} with {describe(found.cell.line)}"


def _within(found: CellFigures) -> str:
    if found.in_time_interval is None:
        return ""
    low, high = found.in_time_interval
    return f" (windows: {columns.share(low)} to {columns.share(high)})"


def _cost(found: CellFigures) -> str:
    hours = f"{number(found.gpu_hours_per_1000, 3)} GPU hours per 1000 images"
    price = found.cost_per_1000
    return hours if price is None else f"{number(price, 3)} per 1000 images ({hours})"


def _change(reference: CellFigures | None, found: CellFigures) -> dict[str, str]:
    """The difference of a cell from the reference, and of its figures."""
    assert reference is not None
    names = {"gpus": "GPUs", **{name: heading for heading, name in columns.PARTS}}
    changed = [
        f"{heading} {getattr(reference, name)} → {getattr(found, name)}"
        for name, heading in names.items()
        if getattr(reference, name) != getattr(found, name)
    ]
    return {
        "changed": ", ".join(changed),
        "in_time": _points(found.in_time, reference.in_time, 100, " points"),
        "latency": _points(found.latency_mean_s, reference.latency_mean_s, 1, " s"),
        "cost": _points(found.cost, reference.cost, 1, ""),
    }


def _points(value: float | None, before: float | None, factor: float, unit: str) -> str:
    if value is None or before is None or value in (float("inf"),):
        return number(None)
    change = factor * (value - before)
    if abs(change) < SAME * factor * abs(before):
        return "0"
    sign = "+" if change > 0 else "\N{MINUS SIGN}" if change < 0 else ""
    return f"{sign}{number(abs(change), 3)}{unit}"
