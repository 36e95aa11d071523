"""Options of ``generate`` and ``import``, each of which sets one field of the recipe.

``--config FILE.toml`` sets any field. Options on the command line override it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pats_opt.cli import completing
from pats_opt.cli.common import FILE, F, option, parsed

#: Prefix of the option values in a command's keyword arguments.
PREFIX = "recipe__"


@dataclass(frozen=True)
class Setting:
    """Option that sets a field of the recipe.

    Attributes:
        flag: The option.
        field: Path of the field, such as ``arrivals.load``.
        text: Help, with the default in brackets.
        metavar: Form of the value in help and errors; :data:`PARSERS` reads it.
        alone: Value of the option without one; None where it needs one.
    """

    flag: str
    field: str
    text: str
    metavar: str
    alone: str | None = None


def mix(text: str) -> dict[str, Any]:
    """Parse ``1:0.6,4:0.4`` or ``1,4`` as values with shares."""
    parts = [part.partition(":") for part in text.split(",")]
    values = [float(value) for value, _, _ in parts]
    if not any(colon for _, colon, _ in parts):
        return {"values": values}
    return {"values": values, "shares": [float(share) if share else 1.0 for _, _, share in parts]}


def steps(text: str) -> list[int]:
    """Parse ``20,40`` as a list; empty text as none."""
    return [int(part) for part in text.split(",") if part.strip()]


def sizes(text: str) -> list[dict[str, Any]]:
    """Parse ``1024x1024:0.7,512x512:0.3`` as image sizes with shares."""
    found = []
    for part in text.split(","):
        size, _, share = part.partition(":")
        width, _, height = size.lower().partition("x")
        found.append({"width": int(width), "height": int(height), "share": float(share or 1)})
    return found


def numbers(text: str) -> list[float]:
    """Parse ``40,24`` as a list of numbers."""
    return [float(part) for part in text.split(",")]


def square(text: str) -> dict[str, float]:
    """Parse ``50:390:300`` as a square wave."""
    low, high, half_period_s = (float(part) for part in text.split(":"))
    return {"low": low, "high": high, "half_period_s": half_period_s}


#: Form of a value -> function that reads it; other values are text.
PARSERS: dict[str, Callable[[str], Any]] = {
    "N": int,
    "X": float,
    "S": float,
    "N,...": steps,
    "G,...": numbers,
    "X,...": numbers,
    "LOW:HIGH:S": square,
    "C:SHARE,...": mix,
    "N:SHARE,...": mix,
    "WxH:SHARE,...": sizes,
}

#: Settings of the workload, for ``generate`` only: ``import`` reads it from a log.
WORKLOAD = (
    Setting("--requests", "requests", "Number of requests [20].", "N"),
    Setting(
        "--arrivals",
        "arrivals.process",
        "poisson, bursty, regular, at-once, day or square [poisson].",
        "P",
    ),
    Setting("--cv", "arrivals.cv", "Coefficient of variation of bursty arrivals [3].", "X"),
    Setting(
        "--load",
        "arrivals.load",
        "Required over available GPU time, for full-step batches of 4 with a switch each [1].",
        "X",
    ),
    Setting("--rate", "arrivals.rate_per_s", "Requests per second; replaces --load.", "X"),
    Setting("--day-length", "arrivals.day.period_s", "Seconds of a day, for day [86400].", "S"),
    Setting(
        "--square",
        "arrivals.square",
        "Low and high rate, relative, and seconds of each, for square [0.25:1.8:47].",
        "LOW:HIGH:S",
    ),
    Setting("--complexity", "complexity.levels", "Prompt complexities [0.2,0.8].", "C:SHARE,..."),
    Setting("--steps", "steps.full", "Full step counts [60].", "N:SHARE,..."),
    Setting("--images", "images.count", "Images per request [1].", "N:SHARE,..."),
)

#: Popularity of adapters, for ``generate``, and for ``import`` if the log names no adapters.
POPULARITY = (
    Setting("--adapters", "popularity.adapters", "Number of adapters [4].", "N"),
    Setting("--zipf", "popularity.zipf", "Zipf exponent of their popularity [0.8].", "X"),
    Setting(
        "--base-share", "popularity.base_share", "Share of requests without an adapter [0].", "X"
    ),
)

#: Settings that no log has: devices, prices and limits.
SITE = (
    Setting(
        "--profile", "service.profile", "Service profile: a name or a TOML file [documents].", "P"
    ),
    Setting(
        "--service", "service.kind", "steps, or slot: each batch takes one tick [steps].", "KIND"
    ),
    Setting("--tick", "service.tick_s", "Seconds per tick [of the profile].", "S"),
    Setting("--gpus", "gpus.count", "Number of GPUs [1].", "N"),
    Setting("--vram", "gpus.vram_gib", "GiB of memory of each GPU [of the profile].", "G,..."),
    Setting("--batch", "gpus.batch", "Largest batch size [of the profile].", "N"),
    Setting(
        "--resident", "gpus.resident", "Adapters loaded at time 0: none or popular [none].", "WHICH"
    ),
    Setting("--max-resident", "switching.max_resident", "Adapters a GPU can hold [1].", "N"),
    Setting("--max-per-batch", "switching.max_per_batch", "Adapters per batch [1].", "N"),
    Setting(
        "--activate",
        "switching.activate_s",
        "Seconds to activate a resident adapter [of the profile].",
        "S",
    ),
    Setting(
        "--tier",
        "switching.tier",
        "Storage that adapters are loaded from [of the profile].",
        "TIER",
    ),
    Setting(
        "--load-channels",
        "switching.channels",
        "Loads at a time while a GPU serves [none: it serves nobody while it loads].",
        "N",
    ),
    Setting(
        "--ranks",
        "ranks.rank",
        "Ranks of adapters; memory is 2 x rank x hidden x layers x bytes [of the profile].",
        "N:SHARE,...",
    ),
    Setting("--lora-hidden", "ranks.hidden", "Width of adapted matrices, for ranks [1280].", "N"),
    Setting("--lora-layers", "ranks.layers", "Number of adapted matrices [560].", "N"),
    Setting("--lora-bytes", "ranks.bytes", "Bytes per weight of adapters [2].", "X"),
    Setting("--switch-price", "switching.price_per_s", "Loss per second of switching [0.5].", "X"),
    Setting(
        "--latency-price", "terms.latency_price_per_s", "Loss per second of latency [0.05].", "X"
    ),
    Setting("--late-price", "terms.late_price", "Loss per missed deadline [0].", "X"),
    Setting(
        "--deadline-share", "terms.deadline_share", "Share of requests with a deadline [0].", "X"
    ),
    Setting("--reject-share", "terms.reject_share", "Share that may be rejected [0].", "X"),
    Setting(
        "--pruned",
        "steps.pruned",
        "Step counts below the full one that solvers may choose [20; for a log: none].",
        "N,...",
    ),
    Setting("--sizes", "sizes", "Image sizes [1024x1024].", "WxH:SHARE,..."),
    Setting(
        "--image-mode",
        "images.mode",
        "Treatment of requests for several images: split, group, share, stack or one "
        "[split; for a log: group].",
        "MODE",
    ),
    Setting(
        "--quality-table", "quality.table", "CSV: steps, complexity, quality or lpips.", "FILE"
    ),
)

#: Approximate caching; any of them turns it on.
CACHE = (
    Setting(
        "--approximate-cache",
        "approximate_cache.source",
        "Skip steps where an earlier prompt is similar; hits from shares, a log or prompts "
        "[off; shares if none is named].",
        "[SOURCE]",
        "shares",
    ),
    Setting(
        "--cache-levels", "approximate_cache.levels", "Steps skipped [5,10,15,20,25].", "N,..."
    ),
    Setting(
        "--cache-thresholds",
        "approximate_cache.thresholds",
        "Cosine above which each level is found [of NIRVANA; for prompts, those of words].",
        "X,...",
    ),
    Setting(
        "--cache-shares",
        "approximate_cache.shares",
        "Probability of each level, for shares [0.426,0.213,0.046,0.032,0.059].",
        "X,...",
    ),
    Setting(
        "--similarities",
        "approximate_cache.log",
        "CSV with the column similarity, for log.",
        "FILE",
    ),
    Setting(
        "--embedder",
        "approximate_cache.embedder",
        "words, minilm:FOLDER or MODULE:FUNCTION from a prompt to numbers, for prompts [words].",
        "NAME",
    ),
    Setting(
        "--cache-capacity",
        "approximate_cache.capacity",
        "Prompts that the cache holds [20000].",
        "N",
    ),
    Setting(
        "--cache-eviction", "approximate_cache.eviction", "lcbfu, lru, lfu or none [lcbfu].", "RULE"
    ),
    Setting(
        "--cache-scope",
        "approximate_cache.scope",
        "Start from prompts of the same adapter, or of all: adapter or global [adapter].",
        "SCOPE",
    ),
    Setting(
        "--lookup-time", "approximate_cache.lookup_s", "Seconds of a cache look-up [0.35].", "S"
    ),
    Setting(
        "--quality-spread",
        "approximate_cache.spread",
        "Coefficient of variation of prompts' loss of quality when steps are skipped [1].",
        "X",
    ),
    Setting(
        "--skip-quality-table",
        "approximate_cache.quality_table",
        "CSV: skip, quality and perhaps similarity [published curve].",
        "FILE",
    ),
)

#: Prompts to look up, for ``generate`` only: ``import`` takes those of the log.
PROMPTS = (
    Setting(
        "--prompts",
        "approximate_cache.prompts",
        "Text file of prompts, one a line, or a CSV or TSV file with the column prompt.",
        "FILE",
    ),
    Setting(
        "--warm-prompts",
        "approximate_cache.warm",
        "Prompts looked up before the first request [0].",
        "N",
    ),
)

SETTINGS = (*WORKLOAD, *POPULARITY, *SITE, *CACHE, *PROMPTS)


def recipe_options(*settings: Setting) -> Callable[[F], F]:
    """Add ``--config`` and these options to a command; :func:`recipe_from` reads them."""

    def decorate(command: F) -> F:
        for setting in reversed(settings):
            optional = (
                {} if setting.alone is None else {"is_flag": False, "flag_value": setting.alone}
            )
            command = option(
                f"{setting.flag} {PREFIX}{setting.field.replace('.', '__')}",
                setting.text,
                metavar=setting.metavar,
                callback=parsed(PARSERS.get(setting.metavar, str)),
                shell_complete=completing.profiles if setting.flag == "--profile" else None,
                **optional,
            )(command)
        config = option("--config", "TOML file with fields of the recipe.", FILE, metavar="FILE")
        return config(command)

    return decorate


def recipe_from(config: str | None, options: dict[str, Any]) -> Any:
    """Return the recipe of a command: its file, overridden by its options.

    Raises:
        InputError: A key is unknown or a value out of range.
    """
    from pats_opt.errors import InputError
    from pats_opt.generate.config import as_table, read_toml
    from pats_opt.generate.recipe import Recipe
    from pats_opt.generate.suites import overlay

    document: dict[str, Any] = {}
    if config is not None:
        document = read_toml(config)
        as_table(document, Recipe, config)  # so that an error names the file
    flags: dict[str, str] = {}
    for key, value in options.items():
        if value is None or not key.startswith(PREFIX):
            continue
        path = key.removeprefix(PREFIX).split("__")
        flags[".".join(path)] = next(s.flag for s in SETTINGS if s.field == ".".join(path))
        nested = value
        for name in reversed(path):
            nested = {name: nested}
        document = overlay(document, nested)
    try:
        return as_table(document, Recipe)
    except InputError as error:
        place = error.place or ""
        flag = next((f for field, f in flags.items() if place.startswith(field)), place)
        raise InputError(error.problem, place=flag, hint=error.hint) from None
