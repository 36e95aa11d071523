"""The pictures of the page: lines over an axis, and dots by category, both with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.questions.statistics import Interval
from experiments.questions.words import Picture
from pats_opt.views import style
from pats_opt.wording import label

MARKERS = "osD^vP*X<>hd"

#: Ticks between powers of ten that a logarithmic axis labels.
TOLD = (0.2, 0.3, 0.5, 0.7, 1.5, 2.0, 3.0, 5.0)

#: A series' points: place on the axis, and the mean there with its interval.
Points = Sequence[tuple[float, Interval]]


def lines(
    name: str,
    panels: Mapping[str, Mapping[str, Points]],
    *,
    x: str,
    y: str,
    caption: str,
    log: str = "",
    reference: float = 1.0,
) -> Picture:
    """A line a series, a panel each of ``panels``; ``log`` names the logarithmic axes."""

    def draw() -> str:
        names = list(dict.fromkeys(label for series in panels.values() for label in series))
        with style.drawing(name):
            drawn = style.figure(0.6 + 3.2 * len(panels), 3.4 + 0.2 * ((len(names) + 3) // 4))
            axes = drawn.subplots(1, len(panels), sharey=True, squeeze=False)[0]
            shown: dict[str, Any] = {}
            for ax, (title, series) in zip(axes, panels.items(), strict=True):
                for label, points in series.items():
                    shown[label] = _line(ax, points, *_mark(names, label))
                ax.axhline(reference, color=style.FAINT, linewidth=0.8, zorder=0)
                _x_axis(ax, "x" in log, {at for points in series.values() for at, _ in points})
                ax.set_title(title)
                ax.set_xlabel(x)
                ax.grid(True)
            if "y" in log:
                axes[0].set_yscale("log")
                _plain(axes[0].yaxis)
            axes[0].set_ylabel(y)
            _legend(drawn, shown, names)
            return style.document(style.svg(drawn, name, caption))

    return Picture(name=name, caption=caption, draw=draw)


def dots(
    name: str,
    panels: Mapping[str, Mapping[str, Mapping[str, Interval]]],
    *,
    x: str,
    caption: str,
) -> Picture:
    """A row a label, a dot with its interval a series: ``panels[title][series][label]``."""

    def draw() -> str:
        names = list(dict.fromkeys(series for panel in panels.values() for series in panel))
        labels = [row for panel in panels.values() for rows in panel.values() for row in rows]
        labels = list(dict.fromkeys(labels))
        with style.drawing(name):
            drawn = style.figure(2.2 + 2.6 * len(panels), 1.3 + 0.28 * len(labels))
            axes = drawn.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
            shown: dict[str, Any] = {}
            for ax, (title, panel) in zip(axes, panels.items(), strict=True):
                for series, rows in panel.items():
                    shift = 0.2 * (names.index(series) - (len(names) - 1) / 2)
                    at = [labels.index(label) + shift for label in rows]
                    shown[series] = _dots(ax, at, list(rows.values()), *_mark(names, series))
                ax.axvline(1.0, color=style.FAINT, linewidth=0.8, zorder=0)
                ax.set_xscale("log")
                _plain(ax.xaxis)
                ax.set_title(title)
                ax.set_xlabel(x)
                ax.grid(True, axis="x")
            axes[0].set_yticks(range(len(labels)), [label(text, 40) for text in labels])
            axes[0].set_ylim(len(labels) - 0.5, -0.5)
            if len(names) > 1:
                _legend(drawn, shown, names)
            return style.document(style.svg(drawn, name, caption))

    return Picture(name=name, caption=caption, draw=draw)


def _mark(names: Sequence[str], label: str) -> tuple[str, str]:
    at = names.index(label)
    return style.palette(len(names))[at], MARKERS[at % len(MARKERS)]


def _line(ax: Any, points: Points, colour: str, marker: str) -> Any:
    at = [place for place, _ in points]
    low, high = [found.low for _, found in points], [found.high for _, found in points]
    ax.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
    middle = [found.mean for _, found in points]
    (line,) = ax.plot(at, middle, color=colour, marker=marker, markersize=5, linewidth=1.6)
    return line


def _dots(ax: Any, at: Sequence[float], found: Sequence[Interval], colour: str, mark: str) -> Any:
    ax.hlines(at, [f.low for f in found], [f.high for f in found], color=colour)
    return ax.scatter([f.mean for f in found], at, s=26, color=colour, marker=mark, zorder=3)


def _x_axis(ax: Any, logarithmic: bool, places: set[float]) -> None:
    if logarithmic:
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(_no_ticks())
    ax.set_xticks(sorted(places), [f"{place:g}" for place in sorted(places)])


def _plain(axis: Any) -> None:
    """Numbers as they are written by hand, on a logarithmic axis."""
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(lambda value, _: f"{value:g}" if round(value, 9) in TOLD else "")


def _legend(drawn: Any, shown: Mapping[str, Any], names: Sequence[str]) -> None:
    made = drawn.legend(
        [shown[n] for n in names], ["·"] * len(names), loc="outside upper left", ncols=4
    )
    for text, name in zip(made.get_texts(), names, strict=True):
        text.set_text(label(name))


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()
