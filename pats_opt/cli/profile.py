"""``pats-opt profile``: measure step time, memory and switching on this device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pats_opt.cli import common, terminal
from pats_opt.cli.common import FILE, Count, field
from pats_opt.cli.recipe import sizes, steps
from pats_opt.perceptual import METRICS

if TYPE_CHECKING:
    from pats_opt.profiling.plan import ProfilingPlan
    from pats_opt.profiling.run import ProfilingJob


def _counts(text: str) -> tuple[int, ...]:
    """Parse positive counts, sorted."""
    counts = set(steps(text))
    if not counts or min(counts) < 1:
        raise ValueError(text)
    return tuple(sorted(counts))


def _pixels(text: str) -> tuple[tuple[int, int], ...]:
    """Parse widths and heights, without duplicates, in the order given."""
    found = dict.fromkeys((size["width"], size["height"]) for size in sizes(text))
    if min(min(size) for size in found) < 1:
        raise ValueError(text)
    return tuple(found)


@dataclass(frozen=True)
class ProfileOptions:
    """Options of the command."""

    model: str = field(common.model_option)
    adapters: str | None = field(
        "--adapters", "Folder of LoRA files.  [default: random weights]", FILE, metavar="DIR"
    )
    rank: int | None = field(
        "--rank",
        "Rank of random adapters.  [default: 4 for tiny, 16 otherwise]",
        click.IntRange(1, 512),
    )
    device: str = field("--device", "Torch device.", default="auto")
    dtype: str = field(common.dtype_option)
    batches: tuple[int, ...] = field(
        "--batches",
        "Batch sizes to measure.",
        default="1,2,4,8",
        metavar="N,...",
        callback=common.parsed(lambda text: _counts(f"1,{text}")),
    )
    sizes: tuple[tuple[int, int], ...] = field(
        "--sizes",
        "Image sizes. Times are measured at the first one.",
        default="1024x1024,768x768,512x512",
        metavar="WxH,...",
        callback=common.parsed(_pixels),
    )
    steps: int = field("--steps", "Steps per measured batch.", Count(1), default=12)
    repeats: int = field("--repeats", "Measurements per batch and switch.", Count(1), default=3)
    max_batch: int = field(
        "--max-batch",
        "Largest batch size in the measurement of memory.",
        Count(1),
        default=32,
    )
    memory: float | None = field(common.memory_option)
    memory_from: str | None = field(
        "--memory-from",
        "Profile to take memory figures from, if the device does not report its memory.",
        metavar="PROFILE",
    )
    shrink: int | None = field(common.shrink_option)
    guidance: float = field(common.guidance_option)
    quality: bool = field(
        "--quality", "Also measure quality by step count; needs --prompts.", is_flag=True
    )
    prompts: str | None = field(
        "--prompts",
        "Prompts: one per line, or CSV, TSV or JSON lines with 'prompt' and maybe 'complexity'.",
        FILE,
        metavar="FILE",
    )
    quality_steps: tuple[int, ...] = field(
        "--quality-steps",
        "Step counts to compare with --full.",
        default="5,10,15,20,25,30,35,40,45,50,55",
        metavar="N,...",
        callback=common.parsed(_counts),
    )
    full: int = field("--full", "Full step count.", Count(2), default=60)
    images: int = field("--images", "Images per prompt, with seeds 0, 1, ...", Count(1), default=1)
    metrics: tuple[str, ...] = field(
        "--metric metrics",
        "Distance between images; repeatable.  [default: the best one installed]",
        click.Choice(METRICS),
        multiple=True,
    )
    lpips_weights: str | None = field(
        "--lpips-weights",
        "AlexNet weights for LPIPS.  [default: from torch's checkpoint folder]",
        FILE,
        metavar="FILE",
    )
    refit: str | None = field(
        "--refit",
        "Measure nothing; fit the quality model to TABLE and write it to -o.",
        FILE,
        metavar="TABLE",
    )
    converged: float = field(
        "--converged",
        "With --refit: quality that counts as converged.",
        click.FloatRange(0, 1, min_open=True, max_open=True),
        default=0.97,
        metavar="Q",
    )
    time_limit: float | None = field(common.time_limit_option)
    seed: int = field(common.seed_option)
    name: str | None = field(
        "--name", "Name of the profile.  [default: the file's]", metavar="TEXT"
    )
    as_json: bool = field(common.json_option)
    output: str | None = field(
        "-o --output", "TOML file to write, or a folder for it.", FILE, metavar="PROFILE"
    )


@click.command("profile")
@common.options(ProfileOptions)
def command(options: ProfileOptions) -> None:
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
    from pats_opt.errors import InputError, UnfinishedError

    if options.refit is not None:
        _refit(options.refit, options)
        return
    if options.output is None:
        raise InputError("no output is given", hint="add -o PROFILE.toml, or -o FOLDER")
    from pats_opt.execute.engine import open_engine
    from pats_opt.profiling.run import document, lines, run

    outcome = run(
        _job(Path(options.output), options),
        open_engine,
        progress=lambda parts: terminal.progress(parts, str, quiet=options.as_json),
    )
    if options.as_json:
        common.print_json(document(outcome))
    else:
        for line in lines(outcome):
            click.echo(line)
        for path in outcome.files:
            click.echo(f"written to {path}", err=True)
    missing = "; ".join(outcome.missing)
    if outcome.interrupted:
        raise UnfinishedError(f"interrupted; repeat the command to measure {missing}")
    if missing and not options.as_json:
        click.echo(f"not measured: {missing}", err=True)


def _job(named: Path, options: ProfileOptions) -> ProfilingJob:
    """Return the measuring job, with defaults for the options that were not given.

    Raises:
        InputError: Two options contradict each other.
    """
    from pats_opt.errors import InputError
    from pats_opt.execute.engine import default_device
    from pats_opt.execute.options import dtype_of, shrink_of, threads_per_gpu
    from pats_opt.profiling.plan import ProfilingPlan
    from pats_opt.profiling.run import ProfilingJob
    from pats_opt.profiling.write import read_memory_from

    if options.rank is not None and options.adapters is not None:
        raise InputError(
            "--rank applies to random adapters only", hint="leave out --adapters or --rank"
        )
    path = named if named.suffix == ".toml" and not named.is_dir() else named / "profile.toml"
    device = default_device() if options.device == "auto" else options.device
    plan = ProfilingPlan(
        batches=options.batches,
        sizes=options.sizes,
        steps=options.steps,
        repeats=options.repeats,
        max_batch=max(options.max_batch, *options.batches),
        shrink=shrink_of(options.model, options.shrink),
        seed=options.seed,
    )
    return ProfilingJob(
        output=path,
        plan=_with_quality(plan, options),
        model=options.model,
        device=device,
        dtype=dtype_of(options.dtype, device),
        threads=threads_per_gpu(options.model, 1) if device == "cpu" else None,
        guidance=options.guidance,
        memory_gib=options.memory,
        adapters=options.adapters,
        rank=options.rank,
        name=options.name or path.stem,
        memory_from=read_memory_from(options.memory_from),
        time_limit=options.time_limit,
    )


def _with_quality(plan: ProfilingPlan, options: ProfileOptions) -> ProfilingPlan:
    """Return the plan, with the images to compare if quality is measured.

    Raises:
        InputError: There are no prompts, or no metric is available.
    """
    from msgspec.structs import replace

    from pats_opt.errors import InputError
    from pats_opt.execute.options import BUILT_IN
    from pats_opt.perceptual import choose
    from pats_opt.profiling.plan import QualityPlan, read_prompts

    prompts, metrics, weights = options.prompts, options.metrics, options.lpips_weights
    if not options.quality:
        if prompts is not None or metrics:
            raise InputError("--prompts and --metric need --quality", hint="add --quality")
        return plan
    if prompts is None:
        raise InputError("--quality needs prompts", hint="add --prompts FILE")
    if (model := options.model) in BUILT_IN:
        click.echo(
            f"{model} has random weights: its quality means nothing for a real model", err=True
        )
    full = options.full
    asked = QualityPlan(
        prompts=read_prompts(prompts),
        steps=tuple(n for n in options.quality_steps if n < full),
        full=full,
        images=options.images,
        metrics=tuple(choose(metrics, min(plan.shrunk(plan.reference)), weights)),
        weights=weights,
    )
    return replace(plan, quality=asked)


def _refit(table: str, options: ProfileOptions) -> None:
    """Fit the quality model to a table, print the fit, and write the model."""
    from pats_opt.model.files import write_bytes
    from pats_opt.profiling.refit import as_recipe, fit_document, fit_lines, refit

    found = refit(table, options.converged)
    if options.output is not None:
        write_bytes(options.output, as_recipe(found).encode())
    if options.as_json:
        common.print_json(fit_document(found))
        return
    for line in fit_lines(found):
        click.echo(line)
    if options.output is not None:
        click.echo(f"written to {options.output}", err=True)
