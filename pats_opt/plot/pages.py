"""Writes a schedule's picture: a page with an interactive figure (HTML), or a still one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pats_opt.checker import Replayed, Verdict, check, examine
from pats_opt.errors import InputError
from pats_opt.files import StrPath, write_bytes
from pats_opt.instance import Instance
from pats_opt.loss import LossTerms, best_utility, gap
from pats_opt.metrics import AdapterMetrics, Metrics, adapter_table, bound_on_waiting, measure
from pats_opt.plot import style, summary
from pats_opt.plot.assets import script, script_url
from pats_opt.plot.columns import Columns, columns_of, lost
from pats_opt.plot.interactive import Shown, item
from pats_opt.plot.lines import memory_lines
from pats_opt.plot.page import environment
from pats_opt.plot.schedule import Named, draw_columns, tooltips
from pats_opt.problem import Problem
from pats_opt.schedule import Schedule
from pats_opt.wording import figure, percent, words

SUFFIXES = (".html", ".svg", ".png")

#: Adapters that a page lists, those with most requests first.
MOST_ADAPTERS = 50

#: Violations that a page lists.
MOST_VIOLATIONS = 50


@dataclass(frozen=True)
class Seen:
    """A schedule as it is looked at: checked, replayed, measured."""

    problem: Problem
    schedule: Schedule
    verdict: Verdict
    batches: Sequence[Replayed]

    @classmethod
    def of(cls, problem: Problem, schedule: Schedule) -> Seen:
        """Check and replay a schedule; one of another instance is refused."""
        return cls(problem, schedule, check(problem, schedule), examine(problem, schedule)[1])

    @cached_property
    def columns(self) -> Columns:
        """What is drawn."""
        return columns_of(self.problem, self.batches, self.schedule)

    @cached_property
    def metrics(self) -> Metrics:
        """Its figures."""
        bound = bound_on_waiting(self.schedule.solver.params)
        return measure(self.problem, self.batches, max_wait_s=bound)

    @property
    def heading(self) -> str:
        """One line that says whose schedule it is, its loss, and that it is wrong where it is."""
        schedule, verdict = self.schedule, self.verdict
        text = f"{style.label(schedule.instance.name, 60)}, {style.label(schedule.solver.name)}"
        wrong = "" if verdict.ok else f", NOT VALID ({len(verdict.violations)} violations)"
        return f"{text}: loss {verdict.loss:.6g}{wrong}"


def show(
    instance: Instance, schedule: Schedule, path: StrPath, *, assets: str | None = None
) -> Verdict:
    """Draw a schedule, valid or not, into a file; its suffix says as what.

    Args:
        instance: The schedule's instance.
        schedule: The schedule.
        path: The file, ending in one of :data:`SUFFIXES`.
        assets: Of a page, the folder that :func:`pats_opt.plot.assets.write_assets` filled, as the
            page sees it (``"../assets"``); None for a page that holds its script itself.

    Returns:
        What the check found; a picture of an invalid schedule says so.

    Raises:
        InputError: for another suffix, a schedule of another instance, or a file that cannot be
            written.
    """
    suffix = suffix_of(path)
    seen = Seen.of(Problem(instance), schedule)
    if suffix == ".html":
        write_bytes(path, _page(seen, assets).encode())
        return seen.verdict
    drawn = draw_columns([Named("", seen.columns)], seen.heading)
    if suffix == ".png":
        write_bytes(path, style.png(drawn))
    else:
        picture = style.svg(drawn, "schedule", seen.heading, tooltips(seen.columns))
        write_bytes(path, style.document(picture).encode())
    return seen.verdict


def suffix_of(path: StrPath) -> str:
    """The suffix of a picture's file, in small letters; an :class:`InputError` for any other."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"there are no pictures of kind {suffix or 'none'!r}",
            file=str(path),
            mend=f"end the name in one of: {', '.join(SUFFIXES)}",
        )
    return suffix


def _page(seen: Seen, assets: str | None) -> str:
    from markupsafe import Markup

    problem, schedule, columns = seen.problem, seen.schedule, seen.columns
    violations, loss = seen.verdict.violations, seen.verdict.loss
    by_requests = sorted(adapter_table(problem, seen.batches), key=lambda a: -a.requests)
    name = style.label(schedule.solver.name)
    shown = [Shown(name, "GPUs" if columns.end else "GPUs (nothing is served)", columns)]
    return (
        environment("pats_opt.plot")
        .get_template("schedule.html.j2")
        .render(
            schedule=schedule,
            words=list(summary.in_words(schedule, columns, seen.metrics, seen.verdict.terms)),
            parameters=", ".join(f"{k}={v}" for k, v in schedule.solver.params.items()),
            violations=violations[:MOST_VIOLATIONS],
            more=max(0, len(violations) - MOST_VIOLATIONS),
            legend=summary.legend(problem),
            lines=memory_lines(columns),
            loss=summary.parts(seen.verdict.terms),
            result=[
                ("loss", figure(loss)),
                ("bound", figure(schedule.bound)),
                ("gap", percent(gap(loss, schedule.bound))),
                ("utility", figure(best_utility(problem) - loss)),
            ],
            losing=summary.losing(lost(columns), problem),
            metrics=_rows(seen.metrics),
            adapters=[_cells(a) for a in by_requests[:MOST_ADAPTERS]],
            headings=[words(field) for field in AdapterMetrics.__struct_fields__],
            more_adapters=max(0, len(by_requests) - MOST_ADAPTERS),
            batches=summary.batch_rows(columns),
            batch_count=len(seen.batches),
            item=Markup(item(shown, summary.colour_list(problem))),  # noqa: S704 (has no "<")
            script=Markup("" if assets else script()),  # noqa: S704 (Bokeh's own)
            script_url="" if assets is None else script_url(assets),
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
