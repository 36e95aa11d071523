"""Command line. Each command is a module that is imported when it runs: ``--help`` stays fast."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import ClassVar

import click

from pats_opt import __version__, interrupts
from pats_opt.cli.lazy import LazyGroup
from pats_opt.errors import InputError, PatsError, one_line, shortened

#: Set by a shell that wants completions, as click defines it.
COMPLETING = "_PATS_OPT_COMPLETE"

#: Exit status of a command that has not done all; and the message and status of one that was
#: interrupted and says nothing more exact.
UNFINISHED = 4
INTERRUPTED = "interrupted", UNFINISHED

#: Command -> (module below this package, one-line help), in the order ``--help`` lists them.
COMMANDS: dict[str, tuple[str, str]] = {
    "solve": ("solve", "Solve an instance with an exact method, a heuristic or a policy."),
    "check": ("check", "Check a schedule and list every violation and each loss term."),
    "generate": ("generate", "Generate instances and suites from a seed."),
    "import": ("importing", "Import request logs and classic benchmarks as instances."),
    "simulate": ("simulate", "Simulate an online policy and measure it."),
    "gap-report": ("gap_report", "Compare online policies with offline optima and bounds."),
    "limit": (
        "limit",
        "Compute the best that an online policy could do, and what each gives away.",
    ),
    "tune": ("tune", "Search the parameters of a policy and test them on other instances."),
    "plan": ("plan", "Plan a fleet: GPUs, cache and policy for a load, and what to buy."),
    "export": ("export", "Convert a schedule to bins, a tour, a production plan or a graph."),
    "execute": ("execute", "Run a schedule or a policy on real devices: GPUs or the CPU."),
    "serve": ("serve", "Serve images over HTTP, scheduled by a policy."),
    "replay": ("replay", "Play a load at an image server and measure it."),
    "profile": ("profile", "Measure step time, memory and switching on this device."),
    "show": ("show", "Draw a schedule as an interactive page, or two side by side."),
    "solvers": ("solvers", "List the solvers and policies, or describe one."),
    "warm-up": ("warm_up", "Compile what solvers need, before the first one runs."),
    "schema": ("schema", "Print the JSON Schema of instances or schedules."),
    "completion": ("completing", "Print the completion script for your shell."),
}


class Commands(LazyGroup):
    """Group of the commands in :data:`COMMANDS`."""

    table: ClassVar = {
        name: (f"pats_opt.cli.{module}:command", text) for name, (module, text) in COMMANDS.items()
    }


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pats-opt")
@click.option(
    "-v", "--verbose", count=True, help="Log progress to standard error (-vv: debug messages)."
)
def group(verbose: int) -> None:
    """Schedule multi-LoRA diffusion serving: exact optima, bounds and online policies."""
    set_verbosity(verbose)


def set_verbosity(verbose: int) -> None:
    """Log to standard error: warnings at verbosity 0, progress at 1, everything at 2."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(
        level=level, format="%(levelname)s %(name)s: %(message)s", handlers=[StderrHandler()]
    )


class StderrHandler(logging.Handler):
    """Log handler that looks standard error up for each record, so that live lines stay below."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as one line."""
        try:
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()
        except Exception:  # as every handler of the standard library does
            self.handleError(record)


def run(args: list[str] | None = None) -> int:
    """Run one command and return its exit status (PROBLEM.md section 8)."""
    if COMPLETING in os.environ:
        from pats_opt.cli import completing

        completing.register()
    try:
        # Outside standalone mode click returns the status of ctx.exit, or what the command returns.
        status = group.main(args, prog_name="pats-opt", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx is not None else "")
        status = 0
    except (click.Abort, KeyboardInterrupt):
        return _fail(*INTERRUPTED)
    except Exception as error:
        return _fail(*_reason(error))
    return status if isinstance(status, int) else 0


def _reason(error: Exception) -> tuple[str, int]:
    """Return the message and the exit status of a command that failed."""
    if interrupts.raised.is_set() and getattr(error, "exit_code", 1) != UNFINISHED:
        return INTERRUPTED
    if isinstance(error, PatsError):
        return str(error), error.exit_code
    if isinstance(error, click.ClickException):
        from pats_opt.cli.usage import message

        return message(error), 2
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        logging.getLogger(__name__).error("bug", exc_info=error)
    return _unforeseen(error)


def _unforeseen(error: Exception) -> tuple[str, int]:
    """Return the message and the exit status of an error which no command foresees."""
    from pats_opt.memory import out_of_memory

    reason = shortened(str(error) or type(error).__name__)
    if out_of_memory(error):
        mend = "raise the limit, or try a larger tick_s, a smaller instance or 'cpsat'"
        return f"out of memory ({reason}); {mend}", 4
    if not isinstance(error, OSError):
        mend = "'pats-opt -vv ...' shows the traceback"
        return f"this is a bug in pats-opt ({type(error).__name__}: {reason}); {mend}", 1
    try:
        Path.cwd()
    except OSError:
        return "the working folder does not exist any more; change to another", 2
    file = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else None
    return str(InputError(f"cannot be used ({error.strerror or reason})", file=file)), 2


def _fail(message: str, status: int) -> int:
    click.echo(f"pats-opt: error: {one_line(message)}", err=True)
    return status
