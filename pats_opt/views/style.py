"""Style of all pictures, colours of adapters, and figures as SVG that a page can hold.

Colours are Okabe and Ito's palette, distinct for people with any colour vision (M. Okabe, K. Ito,
"Color Universal Design", 2008), with paler tints of the same hues after them.
"""

from __future__ import annotations

import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree

from pats_opt.errors import one_line
from pats_opt.model.problem import Problem
from pats_opt.wording import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

BASE_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")

#: Adapters beyond which colours would repeat, as each base colour has one tint.
MOST_COLOURS = 2 * len(BASE_COLOURS)

#: Colour of everything that has no colour of its own.
OTHER = "#B8BCC2"

#: Adapters with a colour of their own in an overview, namely those served longest over all.
MOST_APART = 6

#: Adapters that a legend names, those with most requests first.
MOST_KEYS = 24

#: Inches that a figure of a page is wide; its letters can be read on a telephone.
PAGE = 4.8

INK, FAINT, GRID = "#22262B", "#5F6771", "#DDE1E6"

SVG = "http://www.w3.org/2000/svg"

SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica", "sans-serif"],
    "font.size": 9.0,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "hatch.linewidth": 0.7,
    "legend.frameon": False,
    "text.parse_math": False,  # an id such as "$x$" is text
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "svg.fonttype": "none",  # text stays text: small files that can be searched
}


def palette(count: int) -> list[str]:
    """``count`` colours: the base colours, their tints half way to white, then grey."""
    tints = ["#" + "".join(f"{(p + 255) // 2:02X}" for p in _rgb(c)) for c in BASE_COLOURS]
    known = [*BASE_COLOURS, *tints]
    return (known + [OTHER] * max(0, count - len(known)))[:count]


def cycled(count: int) -> list[str]:
    """``count`` colours: the base colours and their tints, and then the same again."""
    known = palette(MOST_COLOURS)
    return [known[k % len(known)] for k in range(count)]


def level_colours(levels: Sequence[int]) -> list[str]:
    """A colour per level of approximate caching, by its place."""
    return cycled(len(levels))


def _rgb(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def on(colour: str) -> str:
    """Black or white, whichever reads better on a colour."""
    red, green, blue = _rgb(colour)
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 125 else "white"


class LegendEntry(NamedTuple):
    """An entry of the legend: a colour, a name, and how many requests it is for, if that is said.

    Requests ask for an adapter, and are served at a level or in a batch.
    """

    colour: str
    name: str
    requests: int | None


class BarLegend(NamedTuple):
    """Meaning of the colours of bars.

    Attributes:
        keys: The entries that are named.
        more: How many adapters or levels are not.
        repeat: Whether a colour means several of them.
        others: Whether the far view takes some of them together, in grey.
        of: Name of all of them.
    """

    keys: tuple[LegendEntry, ...]
    more: int
    repeat: bool
    others: bool
    of: str = "adapters"


def adapter_colours(problem: Problem) -> dict[int, str]:
    """A colour per adapter in use, those with most requests first; they repeat at last."""
    wanted = Counter([job.adapter for job in problem.jobs])
    order = [adapter for adapter, _ in wanted.most_common()]
    return dict(zip(order, cycled(len(order)), strict=True))


def colour_list(problem: Problem) -> list[str]:
    """The colour of every adapter by its index, grey where no request uses it."""
    colours = adapter_colours(problem)
    return [colours.get(a, OTHER) for a in range(len(problem.site.adapter_ids))]


def adapter_legend(problem: Problem, most: int = MOST_KEYS) -> BarLegend:
    """Meaning of the colours, the adapters with most requests first."""
    colours = adapter_colours(problem)
    wanted = Counter([job.adapter for job in problem.jobs])
    keys = tuple(
        LegendEntry(colour, label(problem.site.adapter_ids[adapter]), wanted[adapter])
        for adapter, colour in list(colours.items())[:most]
    )
    many = len(colours)
    return BarLegend(keys, many - len(keys), len({*colours.values()}) < many, many > MOST_APART)


def level_name(level: int) -> str:
    """Name of a level of approximate caching, in legends and on bars."""
    return f"{level} skipped"


def level_legend(counts: Mapping[int, int | None], most: int = MOST_KEYS) -> BarLegend:
    """Meaning of the colours of levels, shallowest first, with the requests served at each."""
    levels, colours = list(counts), level_colours([*counts])
    keys = tuple(
        LegendEntry(colour, level_name(level), counts[level])
        for colour, level in list(zip(colours, levels, strict=True))[:most]
    )
    many = len(levels)
    return BarLegend(keys, many - len(keys), len({*colours}) < many, many > MOST_APART, "levels")


@contextmanager
def drawing(name: str = "pats-opt") -> Iterator[None]:
    """Apply the style while something is drawn or saved; ``name`` makes ids in SVG repeatable."""
    import matplotlib as mpl

    with mpl.rc_context({**SETTINGS, "svg.hashsalt": name}), warnings.catch_warnings():
        # A browser has other fonts for what this one lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def figure(width: float, height: float) -> Figure:
    """An empty figure of this many inches, without any global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def legend(
    on: Axes | Figure, handles: Sequence[Any], labels: Sequence[str], **place: Any
) -> Legend:
    """A legend whose labels may be any text (matplotlib hides those that start with ``_``)."""
    made = on.legend(handles, ["·"] * len(labels), **place)
    for text, shown in zip(made.get_texts(), labels, strict=True):
        text.set_text(label(shown))
    return made


def svg(drawn: Figure, name: str, description: str, titles: Mapping[str, str] | None = None) -> str:
    """Return a figure as an SVG element for a page with others.

    Args:
        drawn: The figure.
        name: Prefix of every id in it; unique in the page.
        description: Text for those who do not see it.
        titles: Tooltip of each element, by its gid.
    """
    with drawing(name):
        buffer = io.BytesIO()
        drawn.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(buffer.getvalue())  # noqa: S314 (written by matplotlib just now)
    for parent in root.iter():
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        _own(element, name)
        title = (titles or {}).get(element.get("id", "").removeprefix(f"{name}-"))
        if title is not None:
            made = ElementTree.Element("title")
            made.text = "\n".join(one_line(line) for line in title.split("\n"))
            element.insert(0, made)
    root.attrib |= {"role": "img", "aria-label": one_line(description)}
    root.attrib["style"] = "stroke-linejoin:round;stroke-linecap:butt"
    return ElementTree.tostring(root, encoding="unicode")


def _own(element: ElementTree.Element, name: str) -> None:
    """Drop name spaces, and put ``name`` before an element's id and the ids it refers to."""
    element.tag = element.tag.rpartition("}")[2]
    for key, value in list(element.attrib.items()):
        plain = key.rpartition("}")[2]
        del element.attrib[key]
        if plain == "id":
            element.attrib[plain] = f"{name}-{value}"
        elif plain == "href":
            element.attrib[plain] = re.sub("^#", f"#{name}-", value)
        else:
            element.attrib[plain] = value.replace("url(#", f"url(#{name}-")


def document(inline: str) -> str:
    """An inline SVG as a file of its own."""
    return '<?xml version="1.0" encoding="utf-8"?>\n' + inline.replace(
        "<svg ", f'<svg xmlns="{SVG}" ', 1
    )


def png(drawn: Figure) -> bytes:
    """A figure as PNG."""
    with drawing():
        buffer = io.BytesIO()
        drawn.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
