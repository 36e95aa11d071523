"""The pages of a search: ``trials.csv``, ``report.md`` and the lines on the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pats_opt.core.registry import format_value
from pats_opt.spreadsheet import csv_text
from pats_opt.tuning.plan import TunePlan
from pats_opt.tuning.trials import Trial
from pats_opt.tuning.verdict import TuneComparison, TuneResult
from pats_opt.views.page import environment
from pats_opt.wording import number

#: Number of trials in the report.
TOP = 10


def trials_csv(plan: TunePlan, trials: Sequence[Trial]) -> str:
    """Make the table of trials: end, ratio to the defaults, parameters."""
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
    names, shares = [d.name for d in plan.target.space], result.importances
    sides = [("train", result.train), ("**test**", result.test)]
    sides += [(f"test: {name}", side) for name, side in result.classes.items()]
    parameters = [
        [
            f"`{d.name}`",
            str(d),
            format_value(result.default_params[d.name]),
            format_value(result.best_params[d.name]),
            f"{100 * shares[d.name]:.0f} %" if d.name in shares else "-",
        ]
        for d in plan.target.space
    ]
    ranked = [
        [
            str(trial.number),
            trial.end.value,
            _change(math.exp(trial.value)),
            *(format_value(trial.params[name]) for name in names),
        ]
        for trial in sorted(trials, key=lambda trial: (trial.value, trial.number))[:TOP]
    ]
    return (
        environment("pats_opt.tuning")
        .get_template("report.md.j2")
        .render(
            plan=plan,
            config=plan.config,
            result=result,
            sides=[[name, *_cells(side)] for name, side in sides],
            parameters=parameters,
            names=names,
            trials=ranked,
            ends=_ends(result),
        )
    )


def _ends(result: TuneResult) -> str:
    ends = ", ".join(
        f"{count} {end}" for end, count in result.trials.items() if end != "finished" and count
    )
    missing = " (interrupted)" if result.interrupted else ""
    return f"{result.trials['finished']} trials{missing}: {ends}"


def _cells(side: TuneComparison) -> list[str]:
    return [
        str(side.instances),
        *("-" if x is None else number(x) for x in (side.default_loss, side.best_loss)),
        _change(side.ratio),
        "-" if side.interval is None else " to ".join(map(_change, side.interval)),
        f"{side.wins}/{side.ties}/{side.losses}",
    ]


def _change(ratio: float | None) -> str:
    return "-" if ratio is None or math.isinf(ratio) else f"{100 * (ratio - 1):+.2f} %"
