"""``pats-opt profile``: what steps, memory and switching take on this device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pats_opt.cli import common
from pats_opt.cli.recipe import sizes, steps
from pats_opt.perceptual import METRICS

if TYPE_CHECKING:
    from pats_opt.profiling.plan import Plan
    from pats_opt.profiling.refit import Fit
    from pats_opt.profiling.run import Outcome


def _listed(read: Any) -> Any:
    """A callback that reads an option's text, and says how to write it where that fails."""

    def parse(ctx: click.Context, option: click.Parameter, text: str) -> Any:
        try:
            found = read(text)
        except ValueError:
            found = None
        if not found:
            raise click.BadParameter(f"{text!r}: write it as {option.metavar}", ctx, option)
        return found

    return parse


def _batch_sizes(text: str) -> tuple[int, ...]:
    """Batch sizes, rising, with 1 among them."""
    found = {1, *steps(text)}
    if min(found) < 1:
        raise ValueError(text)
    return tuple(sorted(found))


def _counts(text: str) -> tuple[int, ...]:
    """Step counts, rising."""
    found = sorted(set(steps(text)))
    if found and found[0] < 1:
        raise ValueError(text)
    return tuple(found)


def _pixels(text: str) -> tuple[tuple[int, int], ...]:
    """Widths and heights, each once, in the order given."""
    found = dict.fromkeys((size["width"], size["height"]) for size in sizes(text))
    if min(min(size) for size in found) < 1:
        raise ValueError(text)
    return tuple(found)


@click.command("profile")
@click.option(
    "--model",
    default="tiny",
    show_default=True,
    metavar="MODEL",
    help="tiny, sdxl-random, a folder, a .safetensors file or a hub id.",
)
@click.option(
    "--adapters", type=common.FILE, metavar="DIR", help="Folder of LoRA files [random ones]."
)
@click.option(
    "--rank", type=click.IntRange(1, 512), help="Rank of random adapters [4 for tiny, else 16]."
)
@click.option("--device", default="auto", show_default=True, help="Torch device.")
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "float16", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Precision; auto: bfloat16 on a GPU.",
)
@click.option(
    "--batches",
    default="1,2,4,8",
    show_default=True,
    metavar="N,...",
    callback=_listed(_batch_sizes),
    help="Batch sizes to time.",
)
@click.option(
    "--sizes",
    "pixels",
    default="1024x1024,768x768,512x512",
    show_default=True,
    metavar="WxH,...",
    callback=_listed(_pixels),
    help="Image sizes; times are measured at the first.",
)
@click.option(
    "--steps",
    "step_count",
    type=click.IntRange(1),
    default=12,
    show_default=True,
    help="Steps of a batch that is timed.",
)
@click.option(
    "--repeats",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Times each batch and switch is measured.",
)
@click.option(
    "--max-batch",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Largest batch tried for its memory.",
)
@click.option(
    "--memory",
    type=click.FloatRange(0, min_open=True),
    metavar="GIB",
    help="Use no more device memory, to stand for a smaller GPU.",
)
@click.option(
    "--memory-from",
    metavar="PROFILE",
    help="Where the device does not tell its memory: the profile whose figures stand in.",
)
@click.option(
    "--shrink", type=click.IntRange(1), help="Divide widths and heights [16 for tiny, else 1]."
)
@click.option(
    "--guidance",
    type=click.FloatRange(0),
    default=5.0,
    show_default=True,
    metavar="X",
    help="Classifier-free guidance; up to 1 for none.",
)
@click.option("--quality", is_flag=True, help="Also compare images by step count; needs --prompts.")
@click.option(
    "--prompts",
    type=common.FILE,
    metavar="FILE",
    help="Prompts: one a line, or CSV, TSV or JSON lines with 'prompt' and maybe 'complexity'.",
)
@click.option(
    "--quality-steps",
    default="5,10,15,20,25,30,35,40,45,50,55",
    show_default=True,
    metavar="N,...",
    callback=_listed(_counts),
    help="Step counts to compare with the full one.",
)
@click.option(
    "--full", type=click.IntRange(2), default=60, show_default=True, help="The full step count."
)
@click.option(
    "--images",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Images of a prompt, with seeds 0, 1, ...",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    type=click.Choice(METRICS),
    help="What to compare with; may be repeated [the best there is].",
)
@click.option(
    "--lpips-weights",
    type=common.FILE,
    metavar="FILE",
    help="AlexNet's weights for LPIPS [torch's folder of checkpoints].",
)
@click.option(
    "--refit",
    "refit_table",
    type=common.FILE,
    metavar="TABLE",
    help="Measure nothing; fit the quality model to this table and write it to -o.",
)
@click.option(
    "--converged",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.97,
    show_default=True,
    metavar="Q",
    help="With --refit: the quality that counts as converged.",
)
@common.time_limit_option
@common.seed_option
@click.option("--name", metavar="TEXT", help="The profile's name [that of its file].")
@common.json_option
@click.option(
    "-o",
    "--output",
    type=common.FILE,
    metavar="PROFILE",
    help="The profile's TOML file, or a folder for it.",
)
def command(
    model: str,
    adapters: str | None,
    rank: int | None,
    device: str,
    dtype: str,
    batches: tuple[int, ...],
    pixels: tuple[tuple[int, int], ...],
    step_count: int,
    repeats: int,
    max_batch: int,
    memory: float | None,
    memory_from: str | None,
    shrink: int | None,
    guidance: float,
    quality: bool,
    prompts: str | None,
    quality_steps: tuple[int, ...],
    full: int,
    images: int,
    metrics: tuple[str, ...],
    lpips_weights: str | None,
    refit_table: str | None,
    converged: float,
    time_limit: float | None,
    seed: int,
    name: str | None,
    as_json: bool,
    output: str | None,
) -> None:
    r"""Measure step time, memory and switching here, as a profile for generate and import.

    \b
      pats-opt profile -o out/tiny.toml
      pats-opt -v profile --model sdxl-random -o out/gpu.toml
      pats-opt generate --profile out/gpu.toml -o instance.json

    Beside the profile are the measurements (the same name, .json) and switching_cost.csv. Every
    part is kept as soon as it is measured: the same command goes on from there.

    With --quality, images of every prompt at every step count are compared with those of the full
    count; sdxl_step_quality_METRIC.csv and quality.toml go to generate's --quality-table and
    --config.
    """
    from pats_opt.errors import InputError

    if refit_table is not None:
        _refit(refit_table, converged, output, as_json)
        return
    if output is None:
        raise InputError("nowhere to write to", mend="add -o PROFILE.toml, or -o FOLDER")
    from pats_opt.execute.engine import default_device, open_engine
    from pats_opt.execute.options import BUILT_IN, TINY_SHRINK, dtype_of
    from pats_opt.profiling.plan import Plan
    from pats_opt.profiling.run import Job, run
    from pats_opt.profiling.write import read_memory_from

    if rank is not None and adapters is not None:
        raise InputError(
            "--rank is for random adapters", mend="leave out one of --adapters, --rank"
        )
    path = _target(output)
    device = default_device() if device == "auto" else device
    plan = Plan(
        batches=batches,
        sizes=pixels,
        steps=step_count,
        repeats=repeats,
        max_batch=max(max_batch, *batches),
        shrink=shrink or (TINY_SHRINK if model == "tiny" else 1),
        seed=seed,
    )
    if quality:
        plan = _with_quality(plan, prompts, quality_steps, full, images, metrics, lpips_weights)
    elif prompts is not None or metrics:
        raise InputError("--prompts and --metric need --quality", mend="add it")
    job = Job(
        output=path,
        plan=plan,
        model=model,
        device=device,
        dtype=dtype_of(dtype, device),
        threads=_threads(model) if device == "cpu" else None,
        guidance=guidance,
        memory_gib=memory,
        adapters=adapters,
        rank=rank,
        name=name or path.stem,
        memory_from=read_memory_from(memory_from),
        time_limit=time_limit,
    )
    if quality and model in BUILT_IN:
        click.echo(
            f"{model} has random weights: its quality says nothing of a real model", err=True
        )
    outcome = run(
        job,
        open_engine,
        watch=lambda parts: common.progress(parts, str, quiet=as_json),
    )
    if as_json:
        common.print_json(_document(outcome))
    else:
        _print(outcome)


def _threads(model: str) -> int:
    """CPU threads, as many as ``execute`` takes for one GPU."""
    from pats_opt.report.runs import cores

    return 1 if model == "tiny" else cores()


def _with_quality(
    plan: Plan,
    prompts: str | None,
    counts: tuple[int, ...],
    full: int,
    images: int,
    metrics: tuple[str, ...],
    weights: str | None,
) -> Plan:
    """The plan with the images to compare.

    Raises:
        InputError: There are no prompts, or no metric can be used.
    """
    from msgspec.structs import replace

    from pats_opt.errors import InputError
    from pats_opt.perceptual import choose
    from pats_opt.profiling.plan import QualityPlan
    from pats_opt.profiling.prompts import read_prompts

    if prompts is None:
        raise InputError("--quality needs prompts", mend="add --prompts FILE")
    chosen = choose(metrics, min(plan.shrunk(plan.reference)), weights)
    asked = QualityPlan(
        prompts=read_prompts(prompts),
        steps=tuple(n for n in counts if n < full),
        full=full,
        images=images,
        metrics=tuple(chosen),
        weights=weights,
    )
    return replace(plan, quality=asked)


def _refit(table: str, converged: float, output: str | None, as_json: bool) -> None:
    """Fit the quality model to a table, tell how well, and write it."""
    from pats_opt.files import write_bytes
    from pats_opt.profiling.refit import as_recipe, refit

    found = refit(table, converged)
    if output is not None:
        write_bytes(output, as_recipe(found).encode())
    if as_json:
        common.print_json(_fit_document(found))
        return
    _print_fit(found)
    if output is not None:
        click.echo(f"written to {output}", err=True)


def _target(output: str) -> Path:
    """The profile's file: as named, or ``profile.toml`` in a folder."""
    path = Path(output)
    return path if path.suffix == ".toml" and not path.is_dir() else path / "profile.toml"


def _document(outcome: Outcome) -> dict[str, Any]:
    import msgspec

    return {
        "profile": msgspec.to_builtins(outcome.profile),
        "complete": not outcome.missing,
        "missing": outcome.missing,
        "seconds": outcome.raw.seconds,
        "files": outcome.files,
        "fit": None if outcome.fit is None else _fit_document(outcome.fit),
    }


def _fit_document(found: Fit) -> dict[str, Any]:
    import msgspec

    document: dict[str, Any] = msgspec.to_builtins(found)
    document["residuals"] = [
        {"complexity": level, "steps": steps, "residual": residual}
        for level, by_steps in found.residuals.items()
        for steps, residual in by_steps.items()
    ]
    return document


def _print(outcome: Outcome) -> None:
    """The figures for people."""
    from pats_opt.profiling import figures
    from pats_opt.wording import number

    profile, medians = outcome.profile, figures.steps(outcome.raw).medians
    click.echo(f"{profile.name}: {profile.device}")
    click.echo("step, s     " + ", ".join(f"{n}: {number(s)}" for n, s in medians.items()))
    loads = [f"{tier} {number(load.median)}" for tier, load in profile.load.tiers.items()]
    click.echo(f"switch, s   resident {number(profile.load.activate_s)}, " + ", ".join(loads))
    for key, text in profile.sources.items():
        click.echo(f"{key:<11} {text}")
    if outcome.fit is not None:
        _print_fit(outcome.fit)
    for path in outcome.files:
        click.echo(f"written to {path}", err=True)
    if outcome.missing:
        click.echo(f"not measured: {'; '.join(outcome.missing)}", err=True)


def _print_fit(found: Fit) -> None:
    """The fitted quality model for people, and what speaks against it."""
    from statistics import mean

    from pats_opt.wording import number, percent

    quality = found.quality
    click.echo(
        f"quality     {percent(quality.converged)} after {number(quality.simple_steps)} steps "
        f"(simple prompts) to {number(quality.complex_steps)} (complex ones)"
    )
    click.echo(
        f"fit         {found.points} points, residuals: rms {number(found.rms, 3)}, largest "
        f"{number(found.worst, 3)}; {percent(found.explained)} of the variance explained; "
        f"20 and 50 steps would leave rms {number(found.default_rms, 3)}"
    )
    counts = sorted({steps for by_steps in found.residuals.values() for steps in by_steps})
    means = [mean(r[n] for r in found.residuals.values() if n in r) for n in counts]
    told = ", ".join(f"{n}: {value:+.3f}" for n, value in zip(counts, means, strict=True))
    click.echo(f"by steps    mean residual {told}")
    if found.one_level:
        click.echo("complexity  one only, so both ends are the same")
    if found.falls:
        worst = max(found.falls, key=lambda fall: fall.by)
        click.echo(
            f"monotone    no: quality falls {len(found.falls)} times with more steps, most by "
            f"{number(worst.by, 3)} from {worst.fewer} to {worst.steps} steps at complexity "
            f"{worst.complexity:g}"
        )
    else:
        click.echo("monotone    yes: more steps are never worse")
