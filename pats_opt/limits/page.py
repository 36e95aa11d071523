"""The page of a limit: three bars, and how each policy compares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pats_opt.limits.limit import LimitReport, PricedEstimate
from pats_opt.limits.sampling import PolicyEstimate
from pats_opt.model.loss import gap
from pats_opt.views import style
from pats_opt.views.page import environment
from pats_opt.wording import counted, label, number, percent


class LimitBar(NamedTuple):
    """A bar: a loss per request with its interval."""

    name: str
    loss: float
    interval: tuple[float, float] | None


def bars(report: LimitReport) -> Iterator[LimitBar]:
    """Yield the bars: the offline optimum, the online optimum and the policies."""
    if report.offline is not None:
        middle = (report.offline.low + report.offline.high) / 2.0
        yield LimitBar("offline optimum", middle, report.offline.interval)
    online = report.online
    upper = online.loss if online.upper is None else online.upper
    yield LimitBar("online optimum", online.loss, (online.lower, upper))
    for mean in sorted(report.policies[1:], key=lambda mean: mean.mean):
        if not mean.growing:
            yield LimitBar(mean.policy, mean.mean, mean.interval)


def picture(report: LimitReport) -> str:
    """Return the bars as inline SVG."""
    shown = list(bars(report))
    with style.drawing("limit"):
        drawn = style.figure(style.PAGE, 0.9 + 0.32 * len(shown))
        axes = drawn.add_subplot()
        colours = [style.BASE_COLOURS[0 if "optimum" in bar.name else 1] for bar in shown]
        places = range(len(shown))
        axes.barh(places, [bar.loss for bar in shown], color=colours, height=0.6)
        for place, bar in zip(places, shown, strict=True):
            if bar.interval is not None:
                axes.plot(bar.interval, (place, place), color=style.INK, linewidth=1.2)
        axes.set_yticks(places, [label(bar.name, 40) for bar in shown])
        axes.invert_yaxis()
        axes.set_xlabel("loss per request")
        described = "Loss per request of the offline optimum, the online optimum and each policy"
        return style.svg(drawn, "limit", described)


def sentences(report: LimitReport) -> Iterator[str]:
    """Yield what was found, a sentence each."""
    online = report.online
    if online.upper is None:
        yield (
            f"No online policy loses less than {number(online.lower, 6)} per request. Queues of "
            f"about {report.queue} are too short for an upper bound at this load: the policy found "
            f"loses {number(online.loss, 6)} if more may not wait. Give a longer --queue."
        )
    else:
        yield (
            f"The best online policy loses {number(online.loss, 6)} per request: none loses less "
            f"than {number(online.lower, 6)}, and the best loses at most "
            f"{number(online.upper, 6)}."
        )
    if report.priced is not None:
        yield priced_sentence(report.priced)
    if report.future is not None and report.offline is not None:
        share = percent(gap(online.loss, online.loss - report.future))
        yield (
            f"To know the future is worth {number(report.future)} per request, a gap of {share} "
            "to the offline optimum. "
            f"The offline optimum is sampled: {counted(report.offline.paths, 'path')}, "
            f"{report.offline.proven} of {2 * report.offline.paths} optima proven."
        )
    best = min(report.policies[1:], key=lambda mean: mean.mean, default=None)
    if best is not None and not best.growing:
        more = best.gives_away
        yield (
            f"The best policy measured, {label(best.policy, 60)}, gives away {number(more)} per "
            f"request, a gap of {_gap(best)} to the online optimum."
        )


def priced_sentence(bound: PricedEstimate) -> str:
    """Return the bound by a price of the GPU as a sentence."""
    return (
        "By a price of the GPU, adapter by adapter, no online policy loses less than "
        f"{number(bound.loss, 6)} per request."
    )


class PolicyRow(NamedTuple):
    """Cells of a policy's row."""

    policy: str
    loss: str
    gives_away: str
    gap: str


def rows(report: LimitReport) -> list[PolicyRow]:
    """Return a row for each policy, that of the online optimum first."""
    first, *others = report.policies
    found = []
    for mean in (first, *sorted(others, key=lambda mean: (mean.growing, mean.mean))):
        if mean.growing:
            found.append(PolicyRow(mean.policy, "grows", "", ""))
            continue
        more = mean.gives_away
        away = f"{number(more, 3)}{_span(mean.gives_away_interval, 3)}"
        loss = f"{number(mean.mean)}{_span(mean.interval, 4)}"
        found.append(PolicyRow(mean.policy, loss, away, _gap(mean)))
    return found


def _gap(mean: PolicyEstimate) -> str:
    """A policy's gap to the online optimum on the same paths."""
    return percent(gap(mean.mean, mean.mean - mean.gives_away))


def _span(interval: tuple[float, float] | None, digits: int) -> str:
    return "" if interval is None else f" ({' to '.join(number(x, digits) for x in interval)})"


def page(report: LimitReport, title: str) -> str:
    """Return the page: one file, nothing fetched, no script."""
    return (
        environment("pats_opt.limits")
        .get_template("limit.html.j2")
        .render(
            title=title,
            report=report,
            sentences=list(sentences(report)),
            svg=picture(report),
            rows=rows(report),
        )
    )
