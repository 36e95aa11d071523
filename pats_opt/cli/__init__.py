"""The command line: one module a command, imported when it is run, so that ``--help`` is quick."""

from __future__ import annotations

import logging
import os
import sys
from typing import ClassVar

import click

from pats_opt import __version__
from pats_opt.cli.lazy import LazyGroup
from pats_opt.errors import PatsError

#: Set by a shell that asks what a word could be completed to, as click defines it.
COMPLETING = "_PATS_OPT_COMPLETE"

#: Command -> (module below this package, one-line help), in the order ``--help`` lists them.
COMMANDS: dict[str, tuple[str, str]] = {
    "solve": ("solve", "Solve an instance with any exact method, heuristic or online policy."),
    "check": ("check", "Check a schedule: every violation, each loss term, the loss."),
    "generate": ("generate", "Generate seeded instances and whole suites."),
    "import": ("importing", "Import request logs and classic benchmarks as instances."),
    "simulate": ("simulate", "Run an online policy through the event simulator."),
    "gap-report": ("gap_report", "Compare offline optima and bounds with online policies."),
    "tune": ("tune", "Search a policy's parameters, judged on instances kept apart."),
    "export": ("export", "Turn a schedule back into bins, a tour, a production plan, a graph."),
    "execute": ("execute", "Run a schedule or a policy for real, on a GPU or the CPU."),
    "profile": ("profile", "Measure step time, memory and switching on this device."),
    "show": ("show", "Draw a schedule to zoom and point at, or two side by side."),
    "solvers": ("solvers", "List every solver and policy with what it can do, or tell of one."),
    "schema": ("schema", "Print the JSON Schema of instances or schedules."),
    "completion": ("completion", "Print the script that completes commands in your shell."),
}


class Commands(LazyGroup):
    """The commands of :data:`COMMANDS`."""

    table: ClassVar = {
        name: (f"pats_opt.cli.{module}:command", text) for name, (module, text) in COMMANDS.items()
    }


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pats-opt")
@click.option("-v", "--verbose", count=True, help="Tell more on standard error (-vv: debug).")
def group(verbose: int) -> None:
    """Schedule multi-LoRA diffusion serving: exact optima, bounds and online policies."""
    set_verbosity(verbose)


def set_verbosity(verbose: int) -> None:
    """Send the package's log to standard error: warnings, with 1 progress, with 2 all."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(
        level=level, format="%(levelname)s %(name)s: %(message)s", handlers=[_ToStderr()]
    )


class _ToStderr(logging.Handler):
    """Writes to what standard error is now: above the live lines, while there are some."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as one line."""
        try:
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()
        except Exception:  # as every handler of the standard library does
            self.handleError(record)


def main() -> None:
    """Run the command line. An error is one line and an exit status, never a traceback."""
    sys.exit(run())


def run(args: list[str] | None = None) -> int:  # noqa: PLR0911
    """Run one command and return its exit status (PROBLEM.md section 8)."""
    if COMPLETING in os.environ:
        from pats_opt.cli import completing

        completing.register()
    try:
        # Outside standalone mode click returns the status of ctx.exit, or what the command returns.
        status = group.main(args, prog_name="pats-opt", standalone_mode=False)
    except PatsError as error:
        return _fail(str(error), error.exit_code)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        hint = getattr(error, "ctx", None)
        usage = f" (see '{hint.command_path} --help')" if hint is not None else ""
        return _fail(error.format_message() + usage, 2)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", 4)
    except MemoryError:
        return _fail("out of memory; try a coarser tick_s, a smaller instance or 'cpsat'", 4)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            logging.getLogger(__name__).exception("bug")
        return _fail(
            f"this is a bug in pats-opt ({type(error).__name__}: {error}); -vv shows where", 1
        )
    return status if isinstance(status, int) else 0


def _fail(message: str, status: int) -> int:
    from pats_opt.errors import one_line

    click.echo(f"pats-opt: error: {one_line(message)}", err=True)
    return status
