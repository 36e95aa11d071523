"""Pictures of schedules as files: pages with an interactive figure, or still ones (SVG, PNG).

One schedule, or two of one instance side by side. A page is one file that fetches nothing, unless
its script lies in a folder of assets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pats_opt.errors import InputError
from pats_opt.memory import DRAWING_GIB, require_address_space
from pats_opt.model.checker import Verdict
from pats_opt.model.files import StrPath, write_bytes
from pats_opt.model.instance import Instance
from pats_opt.model.loss import best_utility, gap
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule
from pats_opt.tables import METRICS, AdapterMetrics, Metrics, adapter_table, shown
from pats_opt.views import compare, style, text
from pats_opt.views.bars import bar_legend
from pats_opt.views.interactive import figure_json
from pats_opt.views.page import environment, script, script_url
from pats_opt.views.still import draw
from pats_opt.views.tooltips import tooltips
from pats_opt.views.view import Chart, NamedChart, ScheduleView
from pats_opt.wording import figure, label, number, percent

#: Kinds of files that a picture is written as.
SUFFIXES = (".html", ".svg", ".png")

#: Adapters that a page lists, those with most requests first.
MOST_ADAPTERS = 50

#: Violations that a page lists.
MOST_VIOLATIONS = 50


def show(
    instance: Instance, schedule: Schedule, path: StrPath, *, assets: str | None = None
) -> Verdict:
    """Draw a schedule, valid or not, into a file that ends in one of :data:`SUFFIXES`.

    A page holds its script, or takes it from ``assets``: the folder that :func:`write_assets`
    filled, as the page sees it (``"../assets"``).

    Returns:
        The verdict of the check; a picture of an invalid schedule says so.

    Raises:
        InputError: for another suffix, a schedule of another instance, or a file that cannot be
            written.
    """
    suffix_of(path)
    view = ScheduleView.of(Problem(instance), schedule)
    write([view], path, assets=assets)
    return view.verdict


def write(views: Sequence[ScheduleView], path: StrPath, *, assets: str | None = None) -> None:
    """Write the picture of one schedule, or of two of one instance; see :func:`show`."""
    suffix = suffix_of(path)
    if suffix == ".html":
        one = len(views) == 1
        page = (
            schedule_page(views[0], assets) if one else comparison_page(views[0], views[1], assets)
        )
        write_bytes(path, page.encode())
        return
    require_address_space("drawing a schedule", DRAWING_GIB)
    heading = "; ".join([views[0].heading, *(view.title for view in views[1:])])
    names = [""] if len(views) == 1 else compare.names_of(views[0], views[1])
    charts = [NamedChart(name, view.chart) for name, view in zip(names, views, strict=True)]
    drawn = draw(charts, heading)
    if suffix == ".png":
        write_bytes(path, style.png(drawn))
        return
    titles = tooltips(charts[0].chart) if len(charts) == 1 else {}
    write_bytes(path, style.document(style.svg(drawn, "schedule", heading, titles)).encode())


def suffix_of(path: StrPath) -> str:
    """Return the suffix of a picture's file in small letters; an :class:`InputError` for others."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"there are no pictures of kind {suffix or 'none'!r}",
            file=str(path),
            hint=f"end the name in one of: {', '.join(SUFFIXES)}",
        )
    return suffix


def schedule_page(view: ScheduleView, assets: str | None = None) -> str:
    """Return the page of a schedule; see :func:`show`."""
    schedule, loss = view.schedule, view.verdict.loss
    by_requests = sorted(adapter_table(view.table), key=lambda a: -a.requests)
    title = "GPUs" if view.verdict.replayed else "GPUs (nothing is served)"
    return _render(
        "schedule.html.j2",
        [NamedChart(label(schedule.solver.name), view.chart, title)],
        assets,
        schedule=schedule,
        words=_unbroken(text.sentences(view)),
        parameters=", ".join(f"{k}={v}" for k, v in schedule.solver.params.items()),
        **_broken(view),
        loss=text.term_shares(view.verdict.terms),
        result=[
            ("loss", figure(loss)),
            ("bound", figure(schedule.bound)),
            ("gap", percent(gap(loss, schedule.bound) if view.verdict.ok else None)),
            ("utility", figure(best_utility(view.problem) - loss)),
        ],
        losing=text.losing(view.chart),
        attained=text.attainment_shares(view),
        by_level=text.level_shares(view),
        metrics=[(METRICS[name].heading, value) for name, value in _texts(view.metrics)],
        adapters=[[value for _, value in _texts(a)] for a in by_requests[:MOST_ADAPTERS]],
        headings=[METRICS[field].heading for field in AdapterMetrics.__struct_fields__],
        more_adapters=max(0, len(by_requests) - MOST_ADAPTERS),
        batches=text.batch_rows(view.chart),
        batch_count=len(view.verdict.replayed),
        loads=text.load_rows(view.chart),
        load_count=len(view.verdict.loads),
    )


def comparison_page(first: ScheduleView, second: ScheduleView, assets: str | None = None) -> str:
    """Return the page of two schedules of one instance; see :func:`show`."""
    of, both = compare.compared(first, second), (first, second)
    return _render(
        "comparison.html.j2",
        [
            NamedChart(name, view.chart, f"{name}, loss {number(view.verdict.loss)}")
            for name, view in zip(of.names, both, strict=True)
        ],
        assets,
        instance=first.schedule.instance.name,
        sha256=first.schedule.instance.sha256,
        compared=of,
        words=_unbroken(compare.sentences(of, first, second)),
        broken=[_broken(view) for view in both],
        batches=[(text.batch_rows(view.chart), len(view.verdict.replayed)) for view in both],
        loads=[(text.load_rows(view.chart), len(view.verdict.loads)) for view in both],
    )


def _render(template: str, shown: Sequence[NamedChart], assets: str | None, **values: Any) -> str:
    """A page with its figure and the script that draws it."""
    from markupsafe import Markup

    chart = shown[0].chart
    return (
        environment("pats_opt.views")
        .get_template(template)
        .render(
            **values,
            legend=_legend(shown),
            levels=_strip_legend(chart),
            item=Markup(figure_json(shown)),  # noqa: S704 (has no "<")
            script=Markup("" if assets else script()),  # noqa: S704 (Bokeh's own)
            script_url="" if assets is None else script_url(assets),
        )
    )


def _legend(shown: Sequence[NamedChart]) -> style.BarLegend:
    """Meaning of the colours of bars; of two schedules, whose counts differ, without them."""
    chart = shown[0].chart
    known = bar_legend(chart.table)
    if len(shown) == 1 or chart.style.by_adapter:
        return known
    return known._replace(keys=tuple(key._replace(requests=None) for key in known.keys))


def _strip_legend(chart: Chart) -> style.BarLegend | None:
    """Meaning of the colours of GPUs by level, where they are not those of bars."""
    if not chart.levels or chart.style.by_level:
        return None
    return style.level_legend(dict.fromkeys(chart.levels))


def _broken(view: ScheduleView) -> dict[str, Any]:
    """The violations that a page lists, and how many more there are."""
    violations = view.verdict.violations
    return {
        "violations": violations[:MOST_VIOLATIONS],
        "more": max(0, len(violations) - MOST_VIOLATIONS),
    }


def _unbroken(sentences: Iterator[str]) -> list[str]:
    """Sentences in which no line ends between a number and its unit."""
    return [re.sub(r"(?<=\d) (?=%|s\b)", "\N{NO-BREAK SPACE}", said) for said in sentences]


def _texts(values: Metrics | AdapterMetrics) -> Iterator[tuple[str, str]]:
    for name in shown(values) if isinstance(values, Metrics) else values.__struct_fields__:
        yield name, METRICS[name].text(getattr(values, name))
