"""Writes pictures of schedules: pages with an interactive figure (HTML), or still ones (SVG, PNG).

One schedule, or two of one instance side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pats_opt.errors import InputError
from pats_opt.model.checker import Verdict
from pats_opt.model.files import StrPath, write_bytes
from pats_opt.model.instance import Instance
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule
from pats_opt.views import style
from pats_opt.views.assets import write_assets
from pats_opt.views.comparison import names_of
from pats_opt.views.schedule import Named, draw_columns, tooltips
from pats_opt.views.schedule_page import comparison_page, schedule_page
from pats_opt.views.seen import Seen

__all__ = ["SUFFIXES", "show", "show_both", "suffix_of", "write", "write_assets"]

SUFFIXES = (".html", ".svg", ".png")


def show(
    instance: Instance, schedule: Schedule, path: StrPath, *, assets: str | None = None
) -> Verdict:
    """Draw a schedule, valid or not, into a file; its suffix says as what.

    Args:
        instance: The schedule's instance.
        schedule: The schedule.
        path: The file, ending in one of :data:`SUFFIXES`.
        assets: Of a page, the folder that :func:`write_assets` filled, as the page sees it
            (``"../assets"``); None for a page that holds its script itself.

    Returns:
        What the check found; a picture of an invalid schedule says so.

    Raises:
        InputError: for another suffix, a schedule of another instance, or a file that cannot be
            written.
    """
    suffix_of(path)
    seen = Seen.of(Problem(instance), schedule)
    write([seen], path, assets=assets)
    return seen.verdict


def show_both(
    instance: Instance,
    first: Schedule,
    second: Schedule,
    path: StrPath,
    *,
    assets: str | None = None,
) -> tuple[Verdict, Verdict]:
    """Draw two schedules of one instance side by side, with what differs; see :func:`show`."""
    suffix_of(path)
    problem = Problem(instance)
    a, b = Seen.of(problem, first), Seen.of(problem, second)
    write([a, b], path, assets=assets)
    return a.verdict, b.verdict


def write(seen: Sequence[Seen], path: StrPath, *, assets: str | None = None) -> None:
    """Write the picture of one schedule, or of two of one instance; see :func:`show`."""
    suffix = suffix_of(path)
    if suffix == ".html":
        one = len(seen) == 1
        page = schedule_page(seen[0], assets) if one else comparison_page(seen[0], seen[1], assets)
        write_bytes(path, page.encode())
        return
    heading = "; ".join([seen[0].heading, *(one.told for one in seen[1:])])
    names = [""] if len(seen) == 1 else names_of(seen[0], seen[1])
    named = [Named(name, one.columns) for name, one in zip(names, seen, strict=True)]
    drawn = draw_columns(named, heading)
    if suffix == ".png":
        write_bytes(path, style.png(drawn))
        return
    told = tooltips(seen[0].columns) if len(seen) == 1 else {}
    write_bytes(path, style.document(style.svg(drawn, "schedule", heading, told)).encode())


def suffix_of(path: StrPath) -> str:
    """The suffix of a picture's file, in small letters; an :class:`InputError` for any other."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"there are no pictures of kind {suffix or 'none'!r}",
            file=str(path),
            hint=f"end the name in one of: {', '.join(SUFFIXES)}",
        )
    return suffix
