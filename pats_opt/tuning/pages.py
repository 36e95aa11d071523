"""The pages of a search: ``trials.csv``, ``report.md`` and the lines on the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pats_opt.core.registry import format_value
from pats_opt.model.files import csv_text
from pats_opt.tuning.plan import TunePlan
from pats_opt.tuning.trials import Trial
from pats_opt.tuning.verdict import TuneComparison, TuneResult

#: Number of trials in the report.
TOP = 10


def trials_csv(plan: TunePlan, trials: Sequence[Trial]) -> str:
    """Make a table with a line per trial: its end, its ratio to the defaults, its parameters."""
    names = [dimension.name for dimension in plan.target.space]
    columns = ["trial", "end", "loss_ratio", "instances", "runs", "seconds", *names, "error"]
    rows = [
        [
            trial.number,
            trial.end.value,
            repr(math.exp(trial.value)),
            sum(loss is not None for loss in trial.losses),
            trial.runs,
            round(trial.seconds, 6),
            *(format_value(trial.params[name]) for name in names),
            trial.error or "",
        ]
        for trial in trials
    ]
    return csv_text(columns, rows)


def lines(plan: TunePlan, result: TuneResult) -> list[str]:
    """Make the lines of the terminal."""
    rows = [["", "instances", "default", "best", "change", "95 % interval", "better/same/worse"]]
    sides = [("train", result.train), ("test", result.test)]
    rows += [[name, *_cells(side)] for name, side in sides]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in rows
    ]
    parameters = [
        f"{d.name}: {format_value(result.default_params[d.name])} -> "
        f"{format_value(result.best_params[d.name])}"
        for d in plan.target.space
    ]
    shares = [f"{name} {100 * share:.0f} %" for name, share in result.importances.items()]
    return [
        f"tuned      {result.policy} over {', '.join(parameters)}",
        f"trials     {_ends(result)}; best: trial {result.best_trial}",
        *table,
        *([f"importance {', '.join(shares)}"] if shares else []),
        *([f"left out   {', '.join(result.left_out)}"] if result.left_out else []),
        result.verdict,
        f"spec       {result.spec}",
    ]


def report(plan: TunePlan, trials: Sequence[Trial], result: TuneResult) -> str:
    """Make the page ``report.md``."""
    config = plan.config
    if config.test or config.test_suites:
        sides = "The test instances were named apart from the train instances."
    else:
        sides = (
            f"{100 * config.test_share:g} % of the instances, drawn class by class with seed "
            f"{config.seed}, were kept for the test."
        )
    parts = [
        f"# Tuning `{result.default_spec}`",
        result.verdict,
        f"Best parameters: `{result.spec}`",
        f"{sides} The trials saw the {len(plan.train)} train instances alone; the {len(plan.test)} "
        "test instances were run at the end, with the defaults and the best parameters. The change "
        "is the geometric mean of loss / the defaults' loss; its interval is a bootstrap over the "
        "instances. The train figures flatter the best parameters, since they chose them.",
        _table(
            ["instances of", "number", "default", "best", "change", "95 % interval", "b/s/w"],
            [
                ["train", *_cells(result.train)],
                ["**test**", *_cells(result.test)],
                *([f"test: {name}", *_cells(side)] for name, side in result.classes.items()),
            ],
        ),
        "default, best: mean loss; b/s/w: instances on which the best parameters are better, the "
        "same, worse.",
        "## Parameters",
        _table(
            ["parameter", "searched", "default", "best", "importance"],
            [
                [
                    f"`{d.name}`",
                    str(d),
                    format_value(result.default_params[d.name]),
                    format_value(result.best_params[d.name]),
                    f"{100 * result.importances[d.name]:.0f} %"
                    if d.name in result.importances
                    else "-",
                ]
                for d in plan.target.space
            ],
        ),
    ]
    if plan.target.fixed:
        held = ", ".join(f"`{key}={value}`" for key, value in plan.target.fixed.items())
        parts.append(f"Held fixed: {held}.")
    if result.left_out:
        parts.append(f"Left out, as the defaults fail there: {', '.join(result.left_out)}.")
    parts += [
        "## Trials",
        f"{_ends(result)}; {result.runs} runs. Of a pruned trial the change is estimated.",
        _best_trials(plan, trials),
    ]
    return "\n\n".join(parts) + "\n"


def _best_trials(plan: TunePlan, trials: Sequence[Trial]) -> str:
    names = [d.name for d in plan.target.space]
    ranked = sorted(trials, key=lambda trial: (trial.value, trial.number))[:TOP]
    rows = [
        [
            str(trial.number),
            trial.end.value,
            _change(math.exp(trial.value)),
            *(format_value(trial.params[name]) for name in names),
        ]
        for trial in ranked
    ]
    return _table(["trial", "end", "change on train", *names], rows)


def _ends(result: TuneResult) -> str:
    ends = ", ".join(
        f"{count} {end}" for end, count in result.trials.items() if end != "finished" and count
    )
    missing = " (interrupted)" if result.interrupted else ""
    return f"{result.trials['finished']} trials{missing}: {ends}"


def _cells(side: TuneComparison) -> list[str]:
    interval = side.interval
    return [
        str(side.instances),
        _loss(side.default_loss),
        _loss(side.best_loss),
        _change(side.ratio),
        "-" if interval is None else " to ".join(map(_change, interval)),
        f"{side.wins}/{side.ties}/{side.losses}",
    ]


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"


def _change(ratio: float | None) -> str:
    return "-" if ratio is None or math.isinf(ratio) else f"{100 * (ratio - 1):+.2f} %"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    escaped = [
        [cell.replace("|", "\\|") for cell in row] for row in (head, ["---"] * len(head), *rows)
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)
