"""What a terminal is shown and a pipe is not: colours, live progress, tables that fit.

Standard output that is no terminal gets plain lines, standard error that is none gets no progress.
``NO_COLOR`` takes the colours away, ``TERM=dumb`` all control codes.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import click

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console, ConsoleRenderable
    from rich.live import Live

T = TypeVar("T")

#: Columns where the output is no terminal, so that a file's lines are never folded.
PLAIN_WIDTH = 240

#: Seconds after which getting ready is taken for compiling.
COMPILING_S = 2.0

#: Columns of a bar at most.
BAR = 36


class Fact(NamedTuple):
    """A line of a result: what it is, its value, and how a terminal shows it.

    ``drawn`` makes what a terminal shows instead of the text.
    """

    name: str
    text: str
    style: str = ""
    drawn: Callable[[], ConsoleRenderable] | None = None


def console(*, stderr: bool = False) -> Console:
    """Rich's console of standard output or standard error; all it prints is text, not markup."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    shown = stream.isatty() and not _dumb()
    return Console(
        stderr=stderr,
        force_terminal=shown,  # whatever FORCE_COLOR says: a pipe is a pipe
        highlight=False,
        markup=False,
        emoji=False,
        width=None if stream.isatty() else PLAIN_WIDTH,
    )


def _dumb() -> bool:
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def styled() -> bool:
    """Whether standard output is a terminal that can show more than plain lines."""
    return sys.stdout.isatty() and not _dumb()


def watched(*, quiet: bool) -> bool:
    """Whether somebody watches standard error."""
    return not quiet and sys.stderr.isatty() and not _dumb()


def print_facts(facts: Sequence[Fact], width: int, heading: str = "") -> None:
    """Print lines of names and values; on a terminal long ones are folded below their value.

    Args:
        facts: The lines.
        width: Columns of the names, the blank behind them included.
        heading: A line before them; they are indented then.
    """
    indent = "  " if heading else ""
    if not styled():
        lines = [heading] if heading else []
        lines += [f"{indent}{fact.name:<{width}}{fact.text}" for fact in facts]
        click.echo("\n".join(lines))
        return
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 0))
    table.add_column(width=width, no_wrap=True, style="cyan")
    table.add_column(overflow="fold")
    for fact in facts:
        shown = fact.drawn() if fact.drawn is not None else Text(fact.text, style=fact.style)
        table.add_row(fact.name, shown)
    out = console()
    if heading:
        out.print(Text(heading, style="bold"))
    out.print(Padding(table, (0, 0, 0, len(indent))))


def shares(values: Mapping[str, float], written: Callable[[float], str]) -> ConsoleRenderable:
    """Values that add up to a whole, each with its share as a bar."""
    from rich.bar import Bar
    from rich.table import Table

    from pats_opt.wording import percent

    total = sum(values.values())
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(justify="right")
    table.add_column(width=BAR // 2)
    for name, value in values.items():
        share = value / total if total else 0.0
        bar = Bar(1.0, 0.0, share, width=BAR // 2, color="blue")
        table.add_row(name, written(value), percent(share) if value else "", bar)
    return table


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, bold: int | None) -> None:
    """Print a table of figures: right-aligned, no frame; the row ``bold`` stands out."""
    if not styled():
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        for row in (head, *rows):
            click.echo("  ".join(map(str.rjust, row, widths)))
        return
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="cyan")
    for name in head:
        table.add_column(name, justify="right")
    for i, row in enumerate(rows):
        table.add_row(*row, style="bold" if i == bold else "")
    console().print(table)


class Watch:
    """Two live lines on a terminal's standard error while something is solved; else nothing.

    They tell who is at work, the time and the time limit, the best loss, the bound, the gap between
    them and how often a better schedule was found. They are gone once it is done.

    Args:
        limit: Seconds it may take, or None.
        quiet: Whether there are none on a terminal either.

    Attributes:
        bound: The best bound so far, or None; and ``loss`` the best loss.
        better: How often a loss was better than the best before.
    """

    def __init__(self, limit: float | None, *, quiet: bool) -> None:
        self._limit, self._shown = limit, watched(quiet=quiet)
        self._who, self._ready = "", False
        self._share: float | None = None
        self.bound: float | None = None
        self.loss: float | None = None
        self.better = 0
        self._began = self._found = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Watch:
        if self._shown:
            from rich.live import Live
            from rich.spinner import Spinner

            self._spinner = Spinner("dots", style="cyan")
            self._live = Live(
                get_renderable=self._lines,
                console=console(stderr=True),
                transient=True,
                refresh_per_second=8,
                redirect_stdout=False,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def found(self, bound: float | None, loss: float | None) -> None:
        """Take a bound or a loss; what is worse than before is no news."""
        if bound is not None and (self.bound is None or bound > self.bound):
            self.bound = bound
        if loss is not None and (self.loss is None or loss < self.loss):
            self.better += self.loss is not None
            self.loss, self._found = loss, time.monotonic()

    def phase(self, who: str, share: float | None) -> None:
        """Take who is at work, and how much of it is done."""
        from pats_opt.solving.solve import PREPARING

        ready = who != PREPARING
        if ready and not self._ready:
            self._began = time.monotonic()  # the clock of the run starts after getting ready
        self._who, self._share, self._ready = who, share, ready

    def _lines(self) -> ConsoleRenderable:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        from pats_opt.wording import label

        now = time.monotonic()
        spent = now - self._began
        if self._ready:
            who = label(self._who, 36)
        elif spent > COMPILING_S:
            who = "compiling kernels (first use on this machine)"
        else:
            who = "getting ready"
        first = Table.grid(padding=(0, 1))
        cells: list[ConsoleRenderable] = [
            self._spinner,
            Text(f"{who:<14}", style="bold", no_wrap=True),
        ]
        done = self._done(spent)
        if done is not None:
            cells.append(ProgressBar(total=1.0, completed=done, width=BAR // 2))
        limit = "" if self._limit is None or not self._ready else f" of {_clock(self._limit)}"
        cells.append(Text(_clock(spent) + limit, no_wrap=True))
        first.add_row(*cells)
        if self.bound is None and self.loss is None:
            return first
        return Group(first, self._figures(now))

    def _done(self, spent: float) -> float | None:
        """How much is done, of the work where somebody can tell, else of the time limit."""
        if not self._ready or self._share is not None:
            return self._share
        return None if self._limit is None else min(1.0, spent / self._limit)

    def _figures(self, now: float) -> ConsoleRenderable:
        """The second line."""
        from rich.text import Text

        from pats_opt.model.loss import gap
        from pats_opt.wording import number

        line = Text("  ", no_wrap=True, overflow="ellipsis")
        share = gap(self.loss, self.bound)
        for name, value in (
            ("loss", number(self.loss, 6)),
            ("bound", number(self.bound, 6)),
            ("gap", number(None) if share is None else f"{100 * share:.2f} %"),
        ):
            line.append(f"{name} ", style="cyan").append(f"{value:<9} ", style="bold")
        if self.better:
            line.append(f"{self.better} better, last {_clock(now - self._found)} ago")
        return line


def _clock(seconds: float) -> str:
    """Seconds in short: ``1.2 s``, ``12 s``, ``3:05``, ``1:02:03``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{int(seconds)} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def progress(total: int, told: Callable[[T], str], *, quiet: bool) -> Iterator[Callable[[T], None]]:
    """A bar on a terminal's standard error; else nothing.

    Args:
        total: How many are to be done.
        told: What the bar says once one is done.
        quiet: Whether there is none on a terminal either.

    Yields:
        What to call with each that is done.
    """
    if not watched(quiet=quiet):
        yield lambda _: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.table import Column

    bar = Progress(
        SpinnerColumn(style="cyan"),
        BarColumn(bar_width=BAR // 2),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn(
            "{task.fields[last]}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis"),
        ),
        console=console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=total, last="getting ready")
        yield lambda done: bar.update(task, advance=1, last=told(done))
