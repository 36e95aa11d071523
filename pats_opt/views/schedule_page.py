"""The pages of one schedule and of two side by side, as HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pats_opt.model.loss import best_utility, gap
from pats_opt.tables import METRICS, AdapterMetrics, Metrics, adapter_table
from pats_opt.views import comparison, summary
from pats_opt.views.assets import script, script_url
from pats_opt.views.interactive import Shown, item
from pats_opt.views.lines import memory_lines
from pats_opt.views.page import environment
from pats_opt.views.seen import Seen
from pats_opt.wording import figure, label, percent

#: Adapters that a page lists, those with most requests first.
MOST_ADAPTERS = 50

#: Violations that a page lists.
MOST_VIOLATIONS = 50


def schedule_page(seen: Seen, assets: str | None = None) -> str:
    """The page of a schedule; see :func:`pats_opt.views.pages.show`."""
    problem, schedule, columns = seen.problem, seen.schedule, seen.columns
    by_requests = sorted(adapter_table(problem, seen.batches), key=lambda a: -a.requests)
    loss = seen.verdict.loss
    title = "GPUs" if seen.batches else "GPUs (nothing is served)"
    return _render(
        "schedule.html.j2",
        [Shown(label(schedule.solver.name), title, columns)],
        assets,
        schedule=schedule,
        words=_unbroken(summary.in_words(schedule, columns, seen.metrics, seen.verdict)),
        parameters=", ".join(f"{k}={v}" for k, v in schedule.solver.params.items()),
        **_broken(seen),
        loss=summary.parts(seen.verdict.terms),
        result=[
            ("loss", figure(loss)),
            ("bound", figure(schedule.bound)),
            ("gap", percent(gap(loss, schedule.bound) if seen.verdict.ok else None)),
            ("utility", figure(best_utility(problem) - loss)),
        ],
        losing=summary.losing(columns.lost, problem),
        metrics=[(METRICS[name].heading, text) for name, text in _texts(seen.metrics)],
        adapters=[[text for _, text in _texts(a)] for a in by_requests[:MOST_ADAPTERS]],
        headings=[METRICS[field].heading for field in AdapterMetrics.__struct_fields__],
        more_adapters=max(0, len(by_requests) - MOST_ADAPTERS),
        batches=summary.batch_rows(columns),
        batch_count=len(seen.batches),
    )


def comparison_page(first: Seen, second: Seen, assets: str | None = None) -> str:
    """The page of two schedules of one instance; see :func:`pats_opt.views.pages.show_both`."""
    of = comparison.compared(first, second)
    both = (first, second)
    return _render(
        "comparison.html.j2",
        [
            Shown(name, f"{name}, loss {seen.verdict.loss:.6g}", seen.columns)
            for name, seen in zip(of.names, both, strict=True)
        ],
        assets,
        instance=first.schedule.instance.name,
        sha256=first.schedule.instance.sha256,
        compared=of,
        words=_unbroken(comparison.in_words(of, first, second)),
        broken=[_broken(seen) for seen in both],
        batches=[(summary.batch_rows(seen.columns), len(seen.batches)) for seen in both],
    )


def _render(template: str, shown: Sequence[Shown], assets: str | None, **values: Any) -> str:
    """A page with its figure and the script that draws it."""
    from markupsafe import Markup

    problem = shown[0].columns.problem
    return (
        environment("pats_opt.views")
        .get_template(template)
        .render(
            **values,
            legend=summary.legend(problem),
            lines=memory_lines(shown[0].columns),
            item=Markup(item(shown, summary.colour_list(problem))),  # noqa: S704 (has no "<")
            script=Markup("" if assets else script()),  # noqa: S704 (Bokeh's own)
            script_url="" if assets is None else script_url(assets),
        )
    )


def _broken(seen: Seen) -> dict[str, Any]:
    """The violations that a page lists, and how many more there are."""
    violations = seen.verdict.violations
    return {
        "violations": violations[:MOST_VIOLATIONS],
        "more": max(0, len(violations) - MOST_VIOLATIONS),
    }


def _unbroken(sentences: Iterator[str]) -> list[str]:
    """Sentences in which no line ends between a number and its unit."""
    return [re.sub(r"(?<=\d) (?=%|s\b)", "\N{NO-BREAK SPACE}", said) for said in sentences]


def _texts(values: Metrics | AdapterMetrics) -> Iterator[tuple[str, str]]:
    for name in values.__struct_fields__:
        yield name, METRICS[name].text(getattr(values, name))
