"""``pats-opt profile``: measure step time, memory and switching on this device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pats_opt.cli import common, terminal
from pats_opt.cli.recipe import sizes, steps
from pats_opt.perceptual import METRICS

if TYPE_CHECKING:
    from pats_opt.profiling.plan import ProfilingPlan
    from pats_opt.profiling.run import ProfilingJob


def _batch_sizes(text: str) -> tuple[int, ...]:
    """Parse batch sizes, sorted. 1 is always among them."""
    return _positive({1, *steps(text)})


def _step_counts(text: str) -> tuple[int, ...]:
    """Parse step counts, sorted."""
    return _positive(set(steps(text)))


def _positive(counts: set[int]) -> tuple[int, ...]:
    if not counts or min(counts) < 1:
        raise ValueError(counts)
    return tuple(sorted(counts))


def _pixels(text: str) -> tuple[tuple[int, int], ...]:
    """Parse widths and heights, without duplicates, in the order given."""
    found = dict.fromkeys((size["width"], size["height"]) for size in sizes(text))
    if min(min(size) for size in found) < 1:
        raise ValueError(text)
    return tuple(found)


@click.command("profile")
@common.model_option
@click.option(
    "--adapters",
    type=common.FILE,
    metavar="DIR",
    help="Folder of LoRA files.  [default: random weights]",
)
@click.option(
    "--rank",
    type=click.IntRange(1, 512),
    help="Rank of random adapters.  [default: 4 for tiny, 16 otherwise]",
)
@click.option("--device", default="auto", show_default=True, help="Torch device.")
@common.dtype_option
@click.option(
    "--batches",
    default="1,2,4,8",
    show_default=True,
    metavar="N,...",
    callback=common.parsed(_batch_sizes),
    help="Batch sizes to measure.",
)
@click.option(
    "--sizes",
    "pixels",
    default="1024x1024,768x768,512x512",
    show_default=True,
    metavar="WxH,...",
    callback=common.parsed(_pixels),
    help="Image sizes. Times are measured at the first one.",
)
@click.option(
    "--steps",
    "step_count",
    type=click.IntRange(1),
    default=12,
    show_default=True,
    help="Steps per measured batch.",
)
@click.option(
    "--repeats",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Measurements per batch and switch.",
)
@click.option(
    "--max-batch",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Largest batch size in the measurement of memory.",
)
@common.memory_option
@click.option(
    "--memory-from",
    metavar="PROFILE",
    help="Profile to take memory figures from, if the device does not report its memory.",
)
@common.shrink_option
@common.guidance_option
@click.option(
    "--quality", is_flag=True, help="Also measure quality by step count; needs --prompts."
)
@click.option(
    "--prompts",
    type=common.FILE,
    metavar="FILE",
    help="Prompts: one per line, or CSV, TSV or JSON lines with 'prompt' and maybe 'complexity'.",
)
@click.option(
    "--quality-steps",
    default="5,10,15,20,25,30,35,40,45,50,55",
    show_default=True,
    metavar="N,...",
    callback=common.parsed(_step_counts),
    help="Step counts to compare with --full.",
)
@click.option(
    "--full", type=click.IntRange(2), default=60, show_default=True, help="Full step count."
)
@click.option(
    "--images",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Images per prompt, with seeds 0, 1, ...",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    type=click.Choice(METRICS),
    help="Distance between images; repeatable.  [default: the best one installed]",
)
@click.option(
    "--lpips-weights",
    type=common.FILE,
    metavar="FILE",
    help="AlexNet weights for LPIPS.  [default: from torch's checkpoint folder]",
)
@click.option(
    "--refit",
    "refit_table",
    type=common.FILE,
    metavar="TABLE",
    help="Measure nothing; fit the quality model to TABLE and write it to -o.",
)
@click.option(
    "--converged",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.97,
    show_default=True,
    metavar="Q",
    help="With --refit: quality that counts as converged.",
)
@common.time_limit_option
@common.seed_option
@click.option("--name", metavar="TEXT", help="Name of the profile.  [default: the file's]")
@common.json_option
@click.option(
    "-o",
    "--output",
    type=common.FILE,
    metavar="PROFILE",
    help="TOML file to write, or a folder for it.",
)
def command(
    refit_table: str | None, converged: float, output: str | None, as_json: bool, **chosen: Any
) -> None:
    """Measure step time, memory and switching. Write a profile for 'generate' and 'import'.

    \b
      pats-opt profile -o out/tiny.toml
      pats-opt -v profile --model sdxl-random -o out/gpu.toml
      pats-opt generate --profile out/gpu.toml -o instance.json

    The measurements go next to the profile (the same name, .json), with switching_cost.csv. Every
    part is saved as soon as it is measured: to continue, repeat the command.

    With --quality, the images of every prompt at every step count are compared with those of the
    full count. Give the resulting sdxl_step_quality_METRIC.csv to 'generate' as --quality-table,
    and quality.toml as --config.
    """  # noqa: D301
    from pats_opt.errors import InputError

    if refit_table is not None:
        _refit(refit_table, converged, output, as_json)
        return
    if output is None:
        raise InputError("no output is given", hint="add -o PROFILE.toml, or -o FOLDER")
    from pats_opt.execute.engine import open_engine
    from pats_opt.profiling.run import document, lines, run

    job = _job(output, chosen)
    outcome = run(
        job, open_engine, progress=lambda parts: terminal.progress(parts, str, quiet=as_json)
    )
    if as_json:
        common.print_json(document(outcome))
        return
    for line in lines(outcome):
        click.echo(line)
    for path in outcome.files:
        click.echo(f"written to {path}", err=True)
    if outcome.missing:
        click.echo(f"not measured: {'; '.join(outcome.missing)}", err=True)


def _job(output: str, chosen: dict[str, Any]) -> ProfilingJob:
    """Return the measuring job, with defaults for the options that were not given.

    Raises:
        InputError: Two options contradict each other.
    """
    from pats_opt.errors import InputError
    from pats_opt.execute.engine import default_device
    from pats_opt.execute.options import TINY_SHRINK, dtype_of
    from pats_opt.profiling.plan import ProfilingPlan
    from pats_opt.profiling.run import ProfilingJob
    from pats_opt.profiling.write import read_memory_from

    if chosen["rank"] is not None and chosen["adapters"] is not None:
        raise InputError(
            "--rank applies to random adapters only", hint="leave out --adapters or --rank"
        )
    named, model = Path(output), chosen["model"]
    path = named if named.suffix == ".toml" and not named.is_dir() else named / "profile.toml"
    device = default_device() if chosen["device"] == "auto" else chosen["device"]
    plan = ProfilingPlan(
        batches=chosen["batches"],
        sizes=chosen["pixels"],
        steps=chosen["step_count"],
        repeats=chosen["repeats"],
        max_batch=max(chosen["max_batch"], *chosen["batches"]),
        shrink=chosen["shrink"] or (TINY_SHRINK if model == "tiny" else 1),
        seed=chosen["seed"],
    )
    return ProfilingJob(
        output=path,
        plan=_with_quality(plan, chosen),
        model=model,
        device=device,
        dtype=dtype_of(chosen["dtype"], device),
        threads=_threads(model) if device == "cpu" else None,
        guidance=chosen["guidance"],
        memory_gib=chosen["memory"],
        adapters=chosen["adapters"],
        rank=chosen["rank"],
        name=chosen["name"] or path.stem,
        memory_from=read_memory_from(chosen["memory_from"]),
        time_limit=chosen["time_limit"],
    )


def _threads(model: str) -> int:
    """Return the number of CPU threads, as ``execute`` uses for one GPU."""
    from pats_opt.runs.record import cores

    return 1 if model == "tiny" else cores()


def _with_quality(plan: ProfilingPlan, chosen: dict[str, Any]) -> ProfilingPlan:
    """Return the plan, with the images to compare if quality is measured.

    Raises:
        InputError: There are no prompts, or no metric is available.
    """
    from msgspec.structs import replace

    from pats_opt.errors import InputError
    from pats_opt.execute.options import BUILT_IN
    from pats_opt.perceptual import choose
    from pats_opt.profiling.plan import QualityPlan, read_prompts

    prompts, metrics, weights = chosen["prompts"], chosen["metrics"], chosen["lpips_weights"]
    if not chosen["quality"]:
        if prompts is not None or metrics:
            raise InputError("--prompts and --metric need --quality", hint="add --quality")
        return plan
    if prompts is None:
        raise InputError("--quality needs prompts", hint="add --prompts FILE")
    if (model := chosen["model"]) in BUILT_IN:
        click.echo(
            f"{model} has random weights: its quality means nothing for a real model", err=True
        )
    full = chosen["full"]
    asked = QualityPlan(
        prompts=read_prompts(prompts),
        steps=tuple(n for n in chosen["quality_steps"] if n < full),
        full=full,
        images=chosen["images"],
        metrics=tuple(choose(metrics, min(plan.shrunk(plan.reference)), weights)),
        weights=weights,
    )
    return replace(plan, quality=asked)


def _refit(table: str, converged: float, output: str | None, as_json: bool) -> None:
    """Fit the quality model to a table, print the fit, and write the model."""
    from pats_opt.model.files import write_bytes
    from pats_opt.profiling.refit import as_recipe, fit_document, fit_lines, refit

    found = refit(table, converged)
    if output is not None:
        write_bytes(output, as_recipe(found).encode())
    if as_json:
        common.print_json(fit_document(found))
        return
    for line in fit_lines(found):
        click.echo(line)
    if output is not None:
        click.echo(f"written to {output}", err=True)
