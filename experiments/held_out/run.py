"""Runs every policy on classes and windows that no other experiment uses.

    python -m experiments.held_out.run [--log GENTD26] [--arrivals AZURE]

One process, one instance at a time. A killed run goes on where it was: instances that the table
holds are left out. The logs are not part of this repository; without them their windows are left
out. GENTD26 has the columns of Alibaba's ``cluster-trace-v2026-GenAI``, AZURE those of Azure's
``AzureLLMInferenceTrace_conv``, whose arrivals get drawn adapters.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import click
import polars as pl

from pats_opt.core import registry
from pats_opt.generate import generate
from pats_opt.generate.recipe import Recipe
from pats_opt.generate.suites import recipes
from pats_opt.importers.mapping import LogColumns, LogMapping
from pats_opt.importers.trace import import_trace
from pats_opt.importers.window import Window
from pats_opt.model.instance import Instance
from pats_opt.model.problem import Problem
from pats_opt.solving.solve import solve

EXPERIMENTS = Path(__file__).parents[1]
RESULT = Path(__file__).parent / "result" / "losses.csv"
COLUMNS = ("class", "instance", "requests", "policy", "loss")

#: The policy that the page is about, the same at a higher price of GPU time, and the others: at the
#: fewest steps and as they are.
OURS, DEARER = "price-index", "price-index:forecast=2.5"
OTHERS = (
    "pats",
    "pats:threshold=1",
    *[
        f"{name}:option=fewest"
        for name in (
            "exhaustive",
            "cost-aware",
            "family-index",
            "affinity",
            "srpt",
            "credits",
            "batch-completion",
            "k-limited",
            "patient",
        )
    ],
    "exhaustive",
    "cost-aware",
    "exhaustive:option=priced",
    "cost-aware:option=priced",
)

#: Suites whose classes are drawn anew, with seeds that no suite has.
SUITES = (
    "documents-small",
    "documents-medium",
    "a100-small",
    "a100-medium",
    "bursty",
    "large",
    "production",
    str(EXPERIMENTS / "ranking" / "suite.toml"),
)
SEEDS = range(70_000, 70_012)
#: Requests of an instance above which a class is left out.
MOST_REQUESTS = 120

#: Requests of each window of a log (no other experiment cuts such lengths), windows of each length,
#: and mean seconds between requests.
LENGTHS, WINDOWS, GAP_S = (30, 60, 120), 12, 5.0

#: An instance with its class.
Case = tuple[str, Instance]


def generated() -> Iterator[Case]:
    """Yield the classes of the suites with other seeds."""
    for suite in SUITES:
        made: dict[str, Recipe] = {}
        for group, _, recipe in recipes(suite):
            made.setdefault(group, recipe)
        for group, recipe in made.items():
            if recipe.requests <= MOST_REQUESTS:
                for seed in SEEDS:
                    yield group, generate(recipe, seed, class_name=group)


def windows(log: Path, name: str, columns: LogColumns) -> Iterator[Case]:
    """Yield windows of a log at one mean gap, spread over it."""
    _, _, recipe = next(recipes(str(EXPERIMENTS / "ranking" / "suite.toml")))
    rows = pl.read_csv(log, infer_schema_length=None, try_parse_dates=True)
    if columns.adapter is not None:
        rows = rows.filter(pl.col(columns.adapter).is_not_null())
    times = rows[columns.time].sort().to_list()
    for length in LENGTHS:
        many = len(times) // length
        for i in range(WINDOWS):
            first = int((i + 0.5) * many / WINDOWS) * length
            span = times[first + length - 1] - times[first]
            span_s = span if isinstance(span, (int, float)) else span.total_seconds()
            mapping = LogMapping(
                columns=columns,
                window=Window(since=str(times[first]), count=length),
                speed=span_s / (GAP_S * (length - 1)),
                lora_only=columns.adapter is not None,
            )
            title = f"{name}-n{length}"
            seed = 100 * length + i  # of what the log lacks
            found = import_trace(log, mapping, recipe, seed, name=f"{title}-{i}").instance
            yield title, found


def measured(instance: Instance) -> Iterator[tuple[str, float]]:
    """Yield the loss of each policy."""
    problem = Problem(instance)
    for spec in (OURS, DEARER, *OTHERS):
        loss = solve(problem, registry.make(spec)).loss
        assert loss is not None
        yield spec, loss


@click.command()
@click.option("--log", type=click.Path(exists=True, path_type=Path), help="A GenTD26 log.")
@click.option("--arrivals", type=click.Path(exists=True, path_type=Path), help="An Azure log.")
def main(log: Path | None, arrivals: Path | None) -> None:
    """Run everything that the table lacks."""
    cases = [generated()]
    if log is not None:
        for name, adapter in (("lora", "lora_ids"), ("checkpoint", "checkpoint")):
            columns = LogColumns(time="t_s", adapter=adapter, prompt_length="prompt_length")
            cases.append(windows(log, f"gentd26-{name}", columns))
    if arrivals is not None:
        cases.append(windows(arrivals, "azure", LogColumns(time="TIMESTAMP")))
    RESULT.parent.mkdir(exist_ok=True)
    known = set[tuple[str, str]]()
    if RESULT.exists():
        with RESULT.open(encoding="utf-8", newline="") as file:
            known = {(row["class"], row["instance"]) for row in csv.DictReader(file)}
    with RESULT.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not known:
            writer.writerow(COLUMNS)
        for group, instance in (case for part in cases for case in part):
            if (group, instance.name) in known:
                continue
            about = (group, instance.name, len(instance.requests))
            writer.writerows([(*about, spec, f"{x:.4f}") for spec, x in measured(instance)])
            file.flush()
            click.echo(f"{group}  {instance.name}", err=True)


if __name__ == "__main__":
    main()
