"""The command line: one module a command, imported when it is run, so that ``--help`` is quick."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module

import click

from pats_opt import __version__
from pats_opt.errors import PatsError
from pats_opt.nearest import choose

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
    "show": ("show", "Draw a schedule: Gantt chart and memory."),
    "solvers": ("solvers", "List every solver and policy with what it can do."),
    "schema": ("schema", "Print the JSON Schema of instances or schedules."),
}


class Commands(click.Group):
    """A group that imports a command's module when the command is used, not to list it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, imported now; None where there is none."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"pats_opt.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest commands where one is misspelt."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            ctx.fail(f"there is no command {args[0]!r}; {choose(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


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
        level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )


def main() -> None:
    """Run the command line. An error is one line and an exit status, never a traceback."""
    sys.exit(run())


def run(args: list[str] | None = None) -> int:  # noqa: PLR0911
    """Run one command and return its exit status (PROBLEM.md section 8)."""
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
