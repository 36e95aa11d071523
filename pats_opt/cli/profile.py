"""``pats-opt profile``: what steps, memory and switching take on this device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pats_opt.cli import common
from pats_opt.cli.recipe import sizes, steps

if TYPE_CHECKING:
    from pats_opt.profiling.run import Outcome

#: What ``tiny`` images are divided by where nothing is said: it is made for a CPU.
TINY_SHRINK = 8


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
@click.option("--device", default="auto", show_default=True, help="Torch device.")
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "float16", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Precision; auto: float16 on a GPU.",
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
    "--shrink", type=click.IntRange(1), help="Divide widths and heights [8 for tiny, else 1]."
)
@click.option(
    "--guidance",
    type=click.FloatRange(0),
    default=5.0,
    show_default=True,
    metavar="X",
    help="Classifier-free guidance; up to 1 for none.",
)
@common.time_limit_option
@common.seed_option
@click.option("--name", metavar="TEXT", help="The profile's name [that of its file].")
@common.json_option
@click.option(
    "-o",
    "--output",
    required=True,
    type=common.FILE,
    metavar="PROFILE",
    help="The profile's TOML file, or a folder for it.",
)
def command(
    model: str,
    adapters: str | None,
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
    time_limit: float | None,
    seed: int,
    name: str | None,
    as_json: bool,
    output: str,
) -> None:
    r"""Measure step time, memory and switching here, as a profile for generate and import.

    \b
      pats-opt profile -o out/tiny.toml
      pats-opt -v profile --model sdxl-random -o out/gpu.toml
      pats-opt generate --profile out/gpu.toml -o instance.json

    Beside the profile are the measurements (the same name, .json) and switching_cost.csv. Every
    part is kept as soon as it is measured: the same command goes on from there.
    """
    from pats_opt.execute.engine import default_device, open_engine
    from pats_opt.profiling.plan import Plan
    from pats_opt.profiling.run import Job, run
    from pats_opt.profiling.write import read_memory_from

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
    job = Job(
        output=path,
        plan=plan,
        model=model,
        device=device,
        dtype=("float32" if device == "cpu" else "float16") if dtype == "auto" else dtype,
        guidance=guidance,
        memory_gib=memory,
        adapters=adapters,
        name=name or path.stem,
        memory_from=read_memory_from(memory_from),
        time_limit=time_limit,
    )
    outcome = run(job, open_engine)
    if as_json:
        common.print_json(_document(outcome))
    else:
        _print(outcome)


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
    }


def _print(outcome: Outcome) -> None:
    """The figures for people."""
    from pats_opt.profiling import figures
    from pats_opt.wording import number

    profile, medians = outcome.profile, figures.steps(outcome.raw).medians
    click.echo(f"{profile.name}: {profile.device}")
    click.echo("step, s     " + ", ".join(f"{n}: {number(s)}" for n, s in medians.items()))
    loads = [f"{tier} {number(load.median)}" for tier, load in profile.load.tiers.items()]
    click.echo(f"switch, s   resident {number(profile.load.activate_s)}, " + ", ".join(loads))
    first, *rest = (f"{key:<11} {text}" for key, text in profile.sources.items())
    for line in (first, *rest):
        click.echo(line)
    for path in outcome.files:
        click.echo(f"written to {path}", err=True)
    if outcome.missing:
        click.echo(f"not measured: {'; '.join(outcome.missing)}", err=True)
