"""HTML representations of results, verdicts, reports and instances for Jupyter.

Each is a piece of HTML that needs nothing else: its own styles, text in the
notebook's colour, the schedule as SVG, or as PNG where it has many requests. Every piece has ids of
its own, so one result may be shown twice. All text is escaped. Nothing is drawn, and matplotlib is
not imported, before it is shown.
"""

from __future__ import annotations

import base64
import secrets
from collections import Counter
from functools import singledispatch
from typing import TYPE_CHECKING, Any

from pats_opt.errors import InputError
from pats_opt.model.checker import Verdict
from pats_opt.model.files import StrPath
from pats_opt.model.instance import Instance
from pats_opt.model.loss import LossTerms
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule
from pats_opt.solving.result import BudgetResult, Result
from pats_opt.tables import METRICS, ScheduleTable, shown
from pats_opt.views import style
from pats_opt.views.gantt import gantt
from pats_opt.views.page import environment
from pats_opt.views.still import draw
from pats_opt.views.text import term_shares
from pats_opt.views.view import Chart, NamedChart
from pats_opt.wording import DASH, counted, label, number, percent

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Served requests up to which a picture is SVG; with more it is PNG, which stays small.
MOST_VECTOR = 400

#: Served requests beyond which there is no picture; ``result.show`` still draws one into a file.
MOST_DRAWN = 20_000

#: Metrics of a result that are shown.
SHOWN = (
    "served",
    "rejected",
    "batches",
    "switches",
    "latency_mean_s",
    "latency_p95_s",
    "group_latency_mean_s",
    "hidden_load_share",
    "load_wait_s",
)

#: Violations and rows of a table that are shown.
MOST_LISTED = 10


@singledispatch
def html(thing: object) -> str:
    """Return the HTML representation of a result, a verdict or an instance."""
    raise TypeError(f"{type(thing).__name__} has no picture")


@html.register
def _result_html(result: Result) -> str:
    """A result: its figures, the loss by term, and the schedule as a picture."""
    status, metrics = result.status, result.metrics
    proven = status.point.value == "optimal"
    figures = [
        ("loss", number(result.loss)),
        ("bound", number(result.bound)),
        ("gap", percent(result.gap)),
        ("utility", number(result.utility)),
    ]
    if metrics is not None:
        known = [name for name in SHOWN if name in shown(metrics)]
        specs = ((METRICS[name], getattr(metrics, name)) for name in known)
        figures += [(spec.heading, spec.text(value)) for spec, value in specs]
    chip = ("good" if proven else "" if result.loss is not None else "bad", status.point.value)
    name = result.schedule.instance.name
    head, rows, notes = _budget(result)
    return piece(
        chips=[chip],
        heading=f"{result.solver} on {name}, {number(result.runtime_s, 3)} s, stopped: "
        f"{status.stop.value}",
        figures=figures,
        notes=notes,
        terms=_terms(result.terms),
        head=head,
        rows=rows,
        drawn=_drawn(result, result.schedule),
    )


@html.register
def _verdict_html(verdict: Verdict) -> str:
    """A verdict: whether the schedule is valid, what is wrong, its loss, and its picture."""
    wrong = verdict.violations
    notes = [f"rule {v.rule}: {v.place}: {v.message}" for v in wrong[:MOST_LISTED]]
    if len(wrong) > MOST_LISTED:
        notes.append(f"and {len(wrong) - MOST_LISTED} more")
    name = "" if verdict.problem is None else verdict.problem.instance.name
    return piece(
        chips=[("good", "valid") if verdict.ok else ("bad", "not valid")],
        heading=name if verdict.ok else f"{name}: {counted(len(wrong), 'violation')}",
        figures=[("loss", number(verdict.loss))],
        notes=notes,
        terms=_terms(verdict.terms),
        drawn=_drawn(verdict),
    )


@html.register
def _instance_html(instance: Instance) -> str:
    """An instance: its size, and how many requests ask for each adapter."""
    asked = Counter(request.adapter for request in instance.requests)
    arrivals = [request.arrival_s for request in instance.requests]
    last = f"{number(max(arrivals))} s" if arrivals else DASH
    return piece(
        chips=[("", "instance")],
        heading=instance.name,
        figures=[
            ("requests", str(len(instance.requests))),
            ("adapters", str(len(instance.adapters))),
            ("GPUs", str(len(instance.gpus))),
            ("tick", f"{number(instance.tick_s)} s"),
            ("last arrival", last),
        ],
        head=["adapter", "requests"] if asked else [],
        rows=[[name, str(count)] for name, count in asked.most_common(MOST_LISTED)],
        foot=f"and {len(asked) - MOST_LISTED} more adapters" if len(asked) > MOST_LISTED else "",
    )


def plot(of: Result | Verdict, ax: Axes | None = None) -> Axes:
    """Draw a schedule's Gantt chart, in seconds.

    Args:
        of: A result with a schedule, or a verdict.
        ax: The axes to draw on; None for those of a new pyplot figure, which a notebook shows.

    Raises:
        InputError: It has no schedule, or does not know its problem.
    """
    problem = _problem(of)
    with style.drawing():
        if ax is None:
            from matplotlib import pyplot

            height = min(9.0, 1.2 + 0.75 * max(1, len(problem.site.gpus)))
            ax = pyplot.subplots(figsize=(10, height), layout="constrained")[1]
        chart = Chart.of(ScheduleTable.from_replay(problem, of.replayed, of.loads))
        gantt(ax, chart)
        ax.set_xlim(0, max(chart.end * 1.01, ax.get_xlim()[1]))  # axes that share it may go further
        ax.set_title("", loc="left")  # the panel's own: the title is the caller's
        ax.set_xlabel("seconds")
    return ax


def show(result: Result, path: StrPath) -> None:
    """Write a schedule's picture to a file, as ``pats-opt show`` does.

    Raises:
        InputError: There is no schedule, the suffix is none of those, or it cannot be written.
    """
    from pats_opt.views import html

    html.show(_problem(result).instance, result.schedule, path)


def _drawn(of: Result | Verdict, schedule: Schedule | None = None) -> Chart | None:
    """The chart of a schedule that serves anybody."""
    if of.problem is None or not of.replayed:
        return None
    return Chart.of(ScheduleTable.from_replay(of.problem, of.replayed, of.loads), schedule)


def _problem(of: Result | Verdict) -> Problem:
    if of.problem is None:
        raise InputError("this does not know its problem", hint="take it from solve() or check()")
    if getattr(of, "loss", None) is None:
        raise InputError("there is no schedule to draw", hint="give the solver more time")
    return of.problem


def _budget(result: Result) -> tuple[list[str], list[list[str]], list[str]]:
    """Headings and rows of a latency budget's curve, and its outcome; nothing without one."""
    if not isinstance(result, BudgetResult):
        return [], [], []
    budget = result.budget
    note = (
        f"{budget.measure.value} latency {number(budget.reached_s)} s of a budget of "
        f"{number(budget.budget_s)} s ({'kept' if budget.met else 'missed'}); loss without latency "
        f"{number(budget.loss)}"
    )
    if budget.bound is not None:
        note += f", bound {number(budget.bound)}, gap {percent(budget.gap)}"
    rows = [
        [
            ("\N{RIGHTWARDS ARROW} " if point.chosen else "")
            + ("latency alone" if point.price is None else number(point.price)),
            number(point.latency_mean_s),
            number(point.latency_p95_s),
            number(point.other),
            "yes" if point.proven else "no",
        ]
        for point in budget.curve
    ]
    return ["lambda", "mean, s", "p95, s", "other loss", "proven"], rows, [note]


def _terms(terms: LossTerms | None) -> list[tuple[str, str, float]]:
    """Each term that is not 0: its name, its loss and its share."""
    shares = [] if terms is None else term_shares(terms)
    return [(term.name, number(term.loss), term.share) for term in shares if term.loss]


def piece(
    *,
    drawn: Chart | None = None,
    **parts: Any,
) -> str:
    """Return a filled template, with a picture where there is something to draw."""
    name = f"pats-opt-{secrets.token_hex(6)}"
    picture, foot = None, parts.pop("foot", "")
    if drawn is not None:
        served = len(drawn.table.requests.job)
        if served <= MOST_DRAWN:
            drawing = draw([NamedChart("", drawn)])
            about = label(drawn.problem.instance.name, 60)
            picture = _picture(drawing, name, about, vector=served <= MOST_VECTOR)
        else:
            foot = f"{served} requests are too many to draw here: result.show('schedule.html')"
    blank = {"figures": (), "notes": (), "terms": (), "head": (), "rows": ()}
    return (
        environment("pats_opt.views")
        .get_template("notebook.html.j2")
        .render(blank | parts | {"name": name, "picture": picture, "foot": foot})
    )


def _picture(drawn: Figure, name: str, instance: str, *, vector: bool) -> Markup:
    """A figure as SVG, whose ids begin with ``name``, or as an image."""
    from markupsafe import Markup

    what = f"Schedule of {instance}: GPUs, memory and queue over time"
    if vector:
        return Markup(style.svg(drawn, name, what))  # noqa: S704 (escaped by ElementTree)
    data = base64.b64encode(style.png(drawn)).decode()
    return Markup('<img alt="{}" src="data:image/png;base64,{}">').format(what, data)
