"""What an execution is asked to use, and what follows where that is left open."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from pathlib import Path

from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.execute.adapters import find_adapters, make_adapters
from pats_opt.execute.orders import bare, refuse_missing
from pats_opt.execute.record import Pace, Tier
from pats_opt.execute.workers import CrewKind
from pats_opt.model.instance import Instance

#: Models with random weights, for which adapters are made up.
BUILT_IN = ("tiny", "sdxl-random")

#: The tiny model makes tiny images.
TINY_SHRINK = 16


class Options(Struct, frozen=True, kw_only=True):
    """What to run with.

    Attributes:
        model: ``tiny``, ``sdxl-random``, a folder, a file or a hub id.
        adapters: Folder of LoRA files; None makes them up for a built-in model.
        devices: A device for each GPU of the instance.
        dtype: ``float32``, ``float16`` or ``bfloat16``.
        pace: Whether the schedule's times count.
        tier: Where loads come from.
        shrink: Widths and heights are divided by this.
        guidance: Classifier-free guidance scale.
        memory_gib: Bound on the device memory to use.
        graphs: Whether a GPU runs the UNet through CUDA graphs.
        crew: What workers are.
        threads: CPU threads of each worker; None for torch's default.
    """

    model: str = "tiny"
    adapters: str | None = None
    devices: tuple[str, ...] = ("cpu",)
    dtype: str = "float32"
    pace: Pace = Pace.FAST
    tier: Tier = Tier.HOST
    shrink: int = TINY_SHRINK
    guidance: float = 5.0
    memory_gib: float | None = None
    graphs: bool = True
    crew: CrewKind = CrewKind.THREAD
    threads: int | None = None


def devices(named: str, gpus: int, crew: CrewKind) -> tuple[str, ...]:
    """A device for each GPU of an instance.

    Args:
        named: ``auto``, ``cpu``, ``cuda`` (the first to as many as there are GPUs) or several by
            commas, which are used in turn.
        gpus: How many GPUs.
        crew: What workers are; a Ray actor calls the one GPU that it sees ``cuda:0``.
    """
    if named == "auto":
        from pats_opt.execute.engine import default_device

        named = default_device()
    if named == "cuda":
        return tuple("cuda:0" if crew is CrewKind.RAY else f"cuda:{i}" for i in range(gpus))
    listed = [part.strip() for part in named.split(",") if part.strip()]
    if not listed:
        raise InputError(f"--device {named!r} names no device", hint="write cpu, cuda or cuda:1")
    return tuple(listed[i % len(listed)] for i in range(gpus))


def dtype_of(named: str, device: str) -> str:
    """The precision: ``auto`` is single on a CPU, which is slow in half, else bfloat16.

    In float16 SDXL's VAE overflows and has to run in single precision.
    """
    return ("float32" if device == "cpu" else "bfloat16") if named == "auto" else named


def adapter_files(
    instance: Instance, options: Options, made_up: Callable[[], Path], used: Container[str]
) -> tuple[dict[str, str], frozenset[str]]:
    """The file of every adapter that is used, and the adapters that stand for the bare model.

    Args:
        instance: Whose adapters.
        options: What to run with.
        made_up: Gives a folder for random adapters.
        used: Adapters that may be needed.

    Raises:
        InputError: An adapter has no file.
    """
    ids = [a.id for a in instance.adapters]
    files: Mapping[str, str] = {}
    if options.adapters is not None:
        files = find_adapters(options.adapters, ids)
    without = bare(instance, files)
    needed = [name for name in ids if name in used and name not in without]
    if options.adapters is None and options.model in BUILT_IN:
        files = make_adapters(options.model, needed, made_up())
    refuse_missing(needed, files, options.adapters)
    return {name: str(Path(files[name]).absolute()) for name in needed}, without


def model_path(model: str) -> str:
    """A model as workers elsewhere find it: a folder or file by its whole path."""
    return model if model in BUILT_IN or not Path(model).exists() else str(Path(model).absolute())
