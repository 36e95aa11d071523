"""Options of an execution, their defaults, and the identity of a run that follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pats_opt.caching.embedders import WORDS
from pats_opt.errors import InputError
from pats_opt.execute.adapter_set import AdapterSet
from pats_opt.execute.latent_folder import LatentCacheSettings
from pats_opt.execute.record import ModelRef, Pace, Tier
from pats_opt.execute.workers import WorkerKind
from pats_opt.generate.approximate import ApproximateCache
from pats_opt.model.instance import Instance, digest
from pats_opt.model.parsing import convert
from pats_opt.runs.record import cores

#: Models with random weights, for which adapters are made up.
BUILT_IN = ("tiny", "sdxl-random")

#: The tiny model makes tiny images.
TINY_SHRINK = 16


class Options(Struct, frozen=True, kw_only=True):
    """Options of an execution.

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
        workers: Where workers run.
        threads: CPU threads of each worker; None for torch's default.
        cache: Folder of latents that requests start from; None for latents of their own.
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
    workers: WorkerKind = WorkerKind.THREAD
    threads: int | None = None
    cache: LatentCacheSettings | None = None

    def model_ref(self, slots: int) -> ModelRef:
        """Return the model as documents state it, without what only an engine knows.

        Args:
            slots: Adapters that a GPU can hold.
        """
        return ModelRef(
            name=self.model,
            dtype=self.dtype,
            guidance=self.guidance,
            scheduler="",
            shrink=self.shrink,
            slots=slots,
            rank=0,
            tier=self.tier,
        )


def latent_cache(
    instance: Instance,
    folder: str,
    limit_gib: float,
    *,
    thresholds: Sequence[float] = (),
    embedder: str = WORDS,
    eviction: str = "lcbfu",
    scope: str = "adapter",
) -> LatentCacheSettings:
    """Return the settings of a folder of latents for the levels that an instance's options skip.

    Args:
        instance: Whose options.
        folder: The folder's path.
        limit_gib: Most GiB of its latents.
        thresholds: A cosine for each level; empty for the published ones.
        embedder: Name of the embedder.
        eviction: Rule of eviction.
        scope: ``adapter`` or ``global``.

    Raises:
        InputError: No option skips steps, or the thresholds do not suit the levels.
    """
    skipping = [o for r in instance.requests for o in r.options if o.skip]
    levels = sorted({option.skip for option in skipping})
    if not levels:
        raise InputError(
            "no option of the instance skips steps, so --latents has no use",
            hint="make one with generate --approximate-cache, or leave --latents out",
        )
    table = {
        "source": "prompts",
        "levels": levels,
        "thresholds": list(thresholds),
        "embedder": embedder,
        "eviction": eviction,
        "scope": scope,
    }
    try:
        rules = convert(table, ApproximateCache).settings()
    except InputError as error:
        raise InputError(
            error.problem,
            place="--cache-thresholds",
            hint=f"give one for each of the levels {', '.join(map(str, levels))}",
        ) from None
    return LatentCacheSettings(
        folder=str(Path(folder).absolute()),
        limit=int(limit_gib * 2**30),
        levels=rules.levels,
        totals=tuple(sorted({option.steps + option.skip for option in skipping})),
        eviction=rules.eviction,
        scope=rules.scope,
        embedder=embedder,
    )


def devices(named: str, gpus: int, workers: WorkerKind) -> tuple[str, ...]:
    """A device for each GPU of an instance.

    Args:
        named: ``auto``, ``cpu``, ``cuda`` (the first to as many as there are GPUs) or several by
            commas, which are used in turn.
        gpus: How many GPUs.
        workers: Where workers run; a Ray actor calls the one GPU that it sees ``cuda:0``.
    """
    if named == "auto":
        from pats_opt.execute.engine import default_device

        named = default_device()
    if named == "cuda":
        return tuple("cuda:0" if workers is WorkerKind.RAY else f"cuda:{i}" for i in range(gpus))
    listed = [part.strip() for part in named.split(",") if part.strip()]
    if not listed:
        raise InputError(f"--device {named!r} names no device", hint="write cpu, cuda or cuda:1")
    return tuple(listed[i % len(listed)] for i in range(gpus))


def dtype_of(named: str, device: str) -> str:
    """The precision: ``auto`` is single on a CPU, which is slow in half, else bfloat16.

    In float16 SDXL's VAE overflows and has to run in single precision.
    """
    return ("float32" if device == "cpu" else "bfloat16") if named == "auto" else named


def shrink_of(model: str, named: int | None) -> int:
    """Return the divisor of widths and heights: tiny images for the tiny model by default."""
    return named or (TINY_SHRINK if model == "tiny" else 1)


def threads_per_gpu(model: str, gpus: int) -> int:
    """Return the CPU threads of a worker: one for the tiny model, which more only slow down."""
    return 1 if model == "tiny" else max(1, cores() // gpus)


def model_path(model: str) -> str:
    """A model as workers elsewhere find it: a folder or file by its whole path."""
    return model if model in BUILT_IN or not Path(model).exists() else str(Path(model).absolute())


#: Names of parts of the key in messages, where they are others.
_LABELS = {
    "load_from": "--load-from",
    "memory": "--memory",
    "adapters": "adapter files",
    "latents": "--latents",
}


def run_key(
    instance: Instance, maker: Mapping[str, str], options: Options, adapters: AdapterSet
) -> dict[str, str]:
    """Identity of a run: all that affects images or timings. Resuming requires the same.

    Args:
        instance: What is served.
        maker: The schedule by its digest, or the policy with its parameters and seed.
        options: What it is run with.
        adapters: The adapters, which count by their content.

    Raises:
        InputError: An adapter's file cannot be read.
    """
    return {
        "instance": instance.sha256,
        **maker,
        "model": options.model,
        "dtype": options.dtype,
        "guidance": repr(float(options.guidance)),
        "shrink": str(options.shrink),
        "pace": options.pace.value,
        "load_from": options.tier.value,
        "memory": repr(options.memory_gib),
        "adapters": digest({name: adapters.digest(name) for name in adapters}),
        **_cache_key(options.cache),
    }


def _cache_key(cache: LatentCacheSettings | None) -> dict[str, str]:
    """The rules by which requests start from others' latents, wherever these are kept."""
    if cache is None:
        return {}
    rules = replace(cache, folder="", limit=0)
    return {"latents": digest(msgspec.to_builtins(rules))}


def labelled(key: Mapping[str, str]) -> dict[str, str]:
    """A run's key under the names that users know."""
    return {_LABELS.get(name, name): value for name, value in key.items()}
