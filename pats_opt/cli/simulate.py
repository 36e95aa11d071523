"""``pats-opt simulate``: an online policy through the event simulator, with its metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pats_opt.cli import common

if TYPE_CHECKING:
    from pats_opt.policy import Policy

#: How many figures the loss and its terms are told with.
DIGITS = 6


@click.command("simulate")
@click.argument("instance", type=common.FILE)
@click.option(
    "--policy", required=True, help="A policy from 'pats-opt solvers', such as pats:gamma=0.5."
)
@common.param_option
@common.seed_option
@click.option("-o", "--output", type=common.FILE, help="Write the schedule to this file.")
@common.json_option
def command(
    instance: str,
    policy: str,
    params: dict[str, str],
    seed: int,
    output: str | None,
    as_json: bool,
) -> None:
    """Run an online policy over INSTANCE, event by event, and check what it did.

    The policy sees each request when it arrives, never before.
    """
    from pats_opt.files import read_instance, write_schedule
    from pats_opt.solving import require_schedule, solve

    chosen = _policy(policy, params)
    result = solve(read_instance(instance), chosen, seed=seed)
    require_schedule(result)
    if output is not None:
        write_schedule(result.schedule, output)
    if as_json:
        common.print_json(result.summary())
    else:
        _print(result.summary(), output)


def _policy(spec: str, params: dict[str, str]) -> Policy:
    """The policy that was named.

    Raises:
        InputError: an unknown name or parameter, or a solver that is no policy.
    """
    from pats_opt import registry
    from pats_opt.errors import InputError
    from pats_opt.solver import Solver

    made = registry.make(spec, **params)
    if not isinstance(made, Solver):
        return made
    raise InputError(
        f"{made.name!r} is no online policy ({made.kind})",
        mend="choose an online one from 'pats-opt solvers', or use 'solve'",
    )


def _print(summary: dict[str, Any], output: str | None) -> None:
    """The result for people, on standard output."""
    done, terms, metrics = summary["details"], summary["terms"], summary["metrics"]
    params = ", ".join(f"{key}={value}" for key, value in summary["params"].items())
    mean_s = done["decision_s"] / max(1, done["decisions"])
    rows: list[tuple[str, str]] = [
        ("policy", summary["solver"] + (f" ({params})" if params else "")),
        ("loss", f"{summary['loss']:.{DIGITS}g}"),
        *((f"  {name}", f"{value:.{DIGITS}g}") for name, value in terms.items()),
        ("utility", f"{summary['utility']:.{DIGITS}g}"),
        ("events", str(done["events"])),
        (
            "decisions",
            f"{done['decisions']}, {done['decision_s']:.3g} s in all, {1e3 * mean_s:.3g} ms each, "
            f"{1e3 * done['longest_decision_s']:.3g} ms the longest",
        ),
        *((name, _figure(value)) for name, value in metrics.items()),
    ]
    if output is not None:
        rows.append(("written", output))
    width = max(len(name) for name, _ in rows)
    click.echo("\n".join(f"{name:{width}}  {text}" for name, text in rows))


def _figure(value: float | None) -> str:
    """A figure of the metrics; their names carry the units."""
    return "none" if value is None else str(value) if isinstance(value, int) else f"{value:.4g}"
