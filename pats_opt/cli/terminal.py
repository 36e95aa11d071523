"""Terminal output: colours, tables that fit, live progress. Pipes and files get plain lines.

Without a terminal on standard error there is no progress. ``NO_COLOR`` switches colours off, and
``TERM=dumb`` all control codes.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import click

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console, ConsoleRenderable
    from rich.live import Live

T = TypeVar("T")

#: Columns of rich's console without a terminal, so that lines are never folded.
PLAIN_WIDTH = 240

#: Seconds of preparation after which kernels are assumed to be compiling.
COMPILING_S = 2.0

#: Largest width of a bar, in columns.
BAR = 36


class Fact(NamedTuple):
    """Line of a result: a name and a value.

    ``drawn`` makes the value on a terminal, instead of ``text`` in ``style``.
    """

    name: str
    text: str
    style: str = ""
    drawn: Callable[[], ConsoleRenderable] | None = None


def console(*, stderr: bool = False) -> Console:
    """Return rich's console of standard output or standard error, without markup."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr,
        force_terminal=_capable(stream.isatty()),  # a pipe is a pipe, whatever FORCE_COLOR says
        highlight=False,
        markup=False,
        emoji=False,
        width=None if stream.isatty() else PLAIN_WIDTH,
    )


def styled() -> bool:
    """Return whether standard output is a terminal that shows more than plain lines."""
    return _capable(sys.stdout.isatty())


def watched(*, quiet: bool) -> bool:
    """Return whether standard error is a terminal that shows progress."""
    return not quiet and _capable(sys.stderr.isatty())


def _capable(is_terminal: bool) -> bool:
    return is_terminal and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def print_facts(facts: Sequence[Fact], heading: str = "") -> None:
    """Print names and values in two columns, indented below a heading if there is one."""
    indent = "  " if heading else ""
    width = max((len(fact.name) for fact in facts), default=0) + 2
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
    """Return the parts of a whole as a table, with a bar for the share of each."""
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


def print_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 0, bold: Collection[int] = ()
) -> None:
    """Print a table without a frame.

    Args:
        head: Headings of the columns.
        rows: Their cells.
        left: Number of columns, from the left, that hold text. The others are right-aligned.
        bold: Rows that a terminal shows in bold.
    """
    if not styled():
        widths = column_widths(head, rows)
        for row in (head, *rows):
            cells = (
                cell.ljust(width) if i < left else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            click.echo("  ".join(cells).rstrip())
        return
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="cyan")
    for i, name in enumerate(head):
        is_text = i < left
        table.add_column(
            name,
            justify="left" if is_text else "right",
            no_wrap=i < left - 2 or not is_text,
            overflow="fold",
        )
    for i, row in enumerate(rows):
        table.add_row(*row, style="bold" if i in bold else "")
    console().print(table)


def column_widths(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of each column of a table, in characters."""
    return [max(map(len, column)) for column in zip(head, *rows, strict=True)]


class Watch:
    """Two live lines on standard error during a solve, if it is a terminal.

    They show the solver at work, the time and its limit, the best loss, the bound, the gap and the
    number of improvements. They are removed at the end.

    Args:
        limit: Time limit in seconds, or None.
        quiet: Whether to show nothing on a terminal either.

    Attributes:
        bound: Best bound so far, or None.
        loss: Best loss so far, or None.
        improvements: Number of losses that improved on the best before.
    """

    def __init__(self, limit: float | None, *, quiet: bool) -> None:
        self._limit, self._shown = limit, watched(quiet=quiet)
        self._name, self._ready = "", False
        self._share: float | None = None
        self.bound: float | None = None
        self.loss: float | None = None
        self.improvements = 0
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
        """Record a bound and a loss, if they are better than before."""
        if bound is not None and (self.bound is None or bound > self.bound):
            self.bound = bound
        if loss is not None and (self.loss is None or loss < self.loss):
            self.improvements += self.loss is not None
            self.loss, self._found = loss, time.monotonic()

    def phase(self, name: str, share: float | None) -> None:
        """Record the solver at work, and the share of its work that is done."""
        from pats_opt.solving.solve import PREPARING

        ready = name != PREPARING
        if ready and not self._ready:
            self._began = time.monotonic()  # the run's clock starts after the preparation
        self._name, self._share, self._ready = name, share, ready

    def _lines(self) -> ConsoleRenderable:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        from pats_opt.wording import label

        now = time.monotonic()
        spent = now - self._began
        if self._ready:
            name = label(self._name, 36)
        elif spent > COMPILING_S:
            name = "compiling kernels (first use on this machine)"
        else:
            name = "preparing"
        first = Table.grid(padding=(0, 1))
        cells: list[ConsoleRenderable] = [
            self._spinner,
            Text(f"{name:<14}", style="bold", no_wrap=True),
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
        """Return the share of the work that is done if known, otherwise of the time limit."""
        if not self._ready or self._share is not None:
            return self._share
        return None if self._limit is None else min(1.0, spent / self._limit)

    def _figures(self, now: float) -> ConsoleRenderable:
        """Return the second line: loss, bound and gap."""
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
        if self.improvements:
            line.append(f"{self.improvements} improved, last {_clock(now - self._found)} ago")
        return line


def _clock(seconds: float) -> str:
    """Format seconds as ``1.2 s``, ``12 s``, ``3:05`` or ``1:02:03``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{int(seconds)} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def failures_and_last(failed: Callable[[T], bool], name: Callable[[T], str]) -> Callable[[T], str]:
    """Return a status for :func:`progress`: the number of failures so far, and the last item."""
    count = 0

    def status(done: T) -> str:
        nonlocal count
        count += failed(done)
        return f"{count} failed; {name(done)}" if count else name(done)

    return status


@contextmanager
def progress(
    total: int, status: Callable[[T], str], *, quiet: bool
) -> Iterator[Callable[[T], None]]:
    """Show a progress bar on standard error, if it is a terminal.

    Args:
        total: Number of items.
        status: Function from a finished item to the text beside the bar.
        quiet: Whether to show nothing on a terminal either.

    Yields:
        The function to call with each finished item.
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
        task = bar.add_task("", total=total, last="preparing")
        yield lambda done: bar.update(task, advance=1, last=status(done))
