"""Writes a schedule's picture: a page with its figures (HTML), or the picture alone (SVG, PNG)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pats_opt.checker import Replayed, Verdict, check, examine
from pats_opt.errors import InputError
from pats_opt.files import StrPath, write_bytes
from pats_opt.instance import Instance
from pats_opt.loss import LossTerms, best_utility, gap
from pats_opt.metrics import AdapterMetrics, Metrics, adapter_table, bound_on_waiting, measure
from pats_opt.plot import style
from pats_opt.plot.page import environment
from pats_opt.plot.schedule import caption, draw, tooltips
from pats_opt.problem import Problem
from pats_opt.schedule import Schedule
from pats_opt.wording import figure, percent, words

SUFFIXES = (".html", ".svg", ".png")

#: Adapters that a page lists, those with most requests first.
MOST_ADAPTERS = 50

#: Violations that a page lists.
MOST_VIOLATIONS = 50


def show(instance: Instance, schedule: Schedule, path: StrPath) -> Verdict:
    """Draw a schedule, valid or not, into a file; its suffix says as what.

    Returns:
        What the check found; a picture of an invalid schedule says so.

    Raises:
        InputError: for another suffix, a schedule of another instance, or a file that cannot be
            written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"there are no pictures of kind {suffix or 'none'!r}",
            file=str(path),
            mend=f"end the name in one of: {', '.join(SUFFIXES)}",
        )
    problem = Problem(instance)
    verdict = check(problem, schedule)  # this one refuses a schedule of another instance
    batches = examine(problem, schedule)[1]
    heading = "" if suffix == ".html" else _heading(schedule, verdict)
    drawn = draw(problem, batches, heading)
    if suffix == ".png":
        write_bytes(path, style.png(drawn))
        return verdict
    picture = style.svg(drawn, "schedule", _heading(schedule, verdict), tooltips(problem, batches))
    if suffix == ".svg":
        write_bytes(path, style.document(picture).encode())
        return verdict
    page = _page(schedule, verdict, problem, batches, picture)
    write_bytes(path, page.encode())
    return verdict


def _heading(schedule: Schedule, verdict: Verdict) -> str:
    """One line that says whose schedule it is, its loss, and that it is wrong where it is."""
    text = f"{style.label(schedule.instance.name, 60)}, {style.label(schedule.solver.name)}"
    wrong = "" if verdict.ok else f", NOT VALID ({len(verdict.violations)} violations)"
    return f"{text}: loss {verdict.loss:.6g}{wrong}"


def _page(
    schedule: Schedule,
    verdict: Verdict,
    problem: Problem,
    batches: Sequence[Replayed],
    picture: str,
) -> str:
    from markupsafe import Markup

    violations = verdict.violations
    bound = bound_on_waiting(schedule.solver.params)
    by_requests = sorted(adapter_table(problem, batches), key=lambda a: -a.requests)
    return (
        environment("pats_opt.plot")
        .get_template("schedule.html.j2")
        .render(
            schedule=schedule,
            parameters=", ".join(f"{k}={v}" for k, v in schedule.solver.params.items()),
            violations=violations[:MOST_VIOLATIONS],
            more=max(0, len(violations) - MOST_VIOLATIONS),
            picture=Markup(picture),  # noqa: S704 (our own)
            loss=[*_rows(verdict.terms), ("loss", figure(verdict.loss))],
            result=[
                ("bound", figure(schedule.bound)),
                ("gap", figure(gap(verdict.loss, schedule.bound))),
                ("utility", figure(best_utility(problem) - verdict.loss)),
            ],
            metrics=_rows(measure(problem, batches, max_wait_s=bound)),
            adapters=[_cells(a) for a in by_requests[:MOST_ADAPTERS]],
            headings=[words(name) for name in AdapterMetrics.__struct_fields__],
            more_adapters=max(0, len(by_requests) - MOST_ADAPTERS),
            caption=caption(batches),
        )
    )


def _rows(values: LossTerms | Metrics) -> list[tuple[str, str]]:
    """Names and figures of a struct, in words."""
    return [(words(name), text) for name, text in _texts(values)]


def _cells(values: AdapterMetrics) -> list[str]:
    """The figures of an adapter."""
    return [text for _, text in _texts(values)]


def _texts(values: LossTerms | Metrics | AdapterMetrics) -> Iterator[tuple[str, str]]:
    for name in values.__struct_fields__:
        value = getattr(values, name)
        yield name, percent(value) if name.endswith("_share") else figure(value)
