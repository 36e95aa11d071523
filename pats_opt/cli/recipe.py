"""Options that ``generate`` and ``import`` share: each sets one field of the recipe.

``--config FILE.toml`` sets any field; an option on the command line wins over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from pats_opt.cli import completing
from pats_opt.cli.common import FILE

F = TypeVar("F", bound=Callable[..., Any])

#: Prefix of the option values in a command's keyword arguments.
PREFIX = "recipe__"


@dataclass(frozen=True)
class Setting:
    """An option and the field it sets; ``parse`` turns its text into the field's value."""

    flag: str
    field: str
    text: str
    metavar: str = "N"
    parse: Callable[[str], Any] = str


def whole(text: str) -> int:
    """A whole number."""
    return int(text)


def mix(text: str) -> dict[str, Any]:
    """``1:0.6,4:0.4`` or ``1,4`` as a mix."""
    parts = [part.partition(":") for part in text.split(",")]
    values = [float(value) for value, _, _ in parts]
    if not any(colon for _, colon, _ in parts):
        return {"values": values}
    return {"values": values, "shares": [float(share) if share else 1.0 for _, _, share in parts]}


def steps(text: str) -> list[int]:
    """``20,40`` as a list; nothing as none."""
    return [int(part) for part in text.split(",") if part.strip()]


def sizes(text: str) -> list[dict[str, Any]]:
    """``1024x1024:0.7,512x512:0.3`` as image sizes with shares."""
    found = []
    for part in text.split(","):
        size, _, share = part.partition(":")
        width, _, height = size.lower().partition("x")
        found.append({"width": int(width), "height": int(height), "share": float(share or 1)})
    return found


def numbers(text: str) -> list[float]:
    """``40,24`` as a list of numbers."""
    return [float(part) for part in text.split(",")]


#: What is drawn where it is not read from a log.
WORKLOAD = (
    Setting("--requests", "requests", "Number of requests [20].", "N", whole),
    Setting(
        "--arrivals", "arrivals.process", "poisson, bursty, regular or at-once [poisson].", "P"
    ),
    Setting("--cv", "arrivals.cv", "Coefficient of variation of bursty arrivals [3].", "X", float),
    Setting(
        "--load",
        "arrivals.load",
        "Offered GPU time / GPU time, in full-step batches of 4 with a switch each [1].",
        "X",
        float,
    ),
    Setting("--rate", "arrivals.rate_per_s", "Requests a second, in place of --load.", "X", float),
    Setting(
        "--complexity", "complexity.levels", "Prompt complexities [0.2,0.8].", "C:SHARE,...", mix
    ),
    Setting("--steps", "steps.full", "Full step counts [60].", "N:SHARE,...", mix),
    Setting("--images", "images.count", "Images a request [1].", "N:SHARE,...", mix),
)

#: Adapter popularity, drawn by ``generate``, and by ``import`` where the log has no adapters.
POPULARITY = (
    Setting("--adapters", "popularity.adapters", "Adapters to draw from [4].", "N", whole),
    Setting("--zipf", "popularity.zipf", "Exponent of their popularity [0.8].", "X", float),
    Setting(
        "--base-share",
        "popularity.base_share",
        "Share of requests without adapter [0].",
        "X",
        float,
    ),
)

#: All that no log says.
SITE = (
    Setting(
        "--profile", "service.profile", "Service profile: a name or a TOML file [documents].", "P"
    ),
    Setting("--service", "service.kind", "steps, or slot: a batch takes one tick [steps].", "KIND"),
    Setting("--tick", "service.tick_s", "Seconds a tick [the profile's].", "S", float),
    Setting("--gpus", "gpus.count", "Number of GPUs [1].", "N", whole),
    Setting(
        "--vram", "gpus.vram_gib", "GiB of each GPU, in turn [the profile's].", "G,...", numbers
    ),
    Setting("--batch", "gpus.batch", "Largest batch [the profile's].", "N", whole),
    Setting(
        "--resident", "gpus.resident", "none or popular: adapters at the start [none].", "WHICH"
    ),
    Setting("--max-resident", "switching.max_resident", "Adapters a GPU holds [1].", "N", whole),
    Setting(
        "--max-per-batch", "switching.max_per_batch", "Adapters a batch mixes [1].", "N", whole
    ),
    Setting(
        "--activate",
        "switching.activate_s",
        "Seconds between resident adapters [the profile's].",
        "S",
        float,
    ),
    Setting("--tier", "switching.tier", "Where adapters are loaded from [the profile's].", "TIER"),
    Setting(
        "--switch-price", "switching.price_per_s", "Loss a second of switching [0.5].", "X", float
    ),
    Setting(
        "--latency-price",
        "terms.latency_price_per_s",
        "Loss a second of latency [0.05].",
        "X",
        float,
    ),
    Setting("--late-price", "terms.late_price", "Loss of a missed deadline [0].", "X", float),
    Setting(
        "--deadline-share", "terms.deadline_share", "Share of requests with one [0].", "X", float
    ),
    Setting("--reject-share", "terms.reject_share", "Share that may be rejected [0].", "X", float),
    Setting("--pruned", "steps.pruned", "Step counts below the full one [20].", "N,...", steps),
    Setting("--sizes", "sizes", "Image sizes [1024x1024].", "WxH:SHARE,...", sizes),
    Setting(
        "--image-mode",
        "images.mode",
        "A request of n images becomes: split, share, stack or one [split].",
        "MODE",
    ),
    Setting(
        "--quality-table", "quality.table", "CSV: steps, complexity, quality or lpips.", "FILE"
    ),
)


SETTINGS = (*WORKLOAD, *POPULARITY, *SITE)


def recipe_options(*settings: Setting) -> Callable[[F], F]:
    """Add ``--config`` and these options to a command; :func:`recipe_from` reads them."""

    def decorate(command: F) -> F:
        for setting in reversed(settings):
            command = click.option(
                setting.flag,
                PREFIX + setting.field.replace(".", "__"),
                metavar=setting.metavar,
                help=setting.text,
                callback=_parser(setting),
                shell_complete=completing.profiles if setting.flag == "--profile" else None,
            )(command)
        return click.option(
            "--config", type=FILE, metavar="FILE", help="TOML file with any field of the recipe."
        )(command)

    return decorate


def _parser(setting: Setting) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    def parse(ctx: click.Context, option: click.Parameter, value: str | None) -> Any:
        if value is None:
            return None
        try:
            return setting.parse(value)
        except ValueError:
            raise click.BadParameter(
                f"{value!r}: write it as {setting.metavar}", ctx, option
            ) from None

    return parse


def recipe_from(
    config: str | None, options: dict[str, Any], defaults: Iterable[dict[str, Any]] = ()
) -> Any:
    """The recipe of a command: ``defaults``, then the file, then the options.

    Raises:
        InputError: for an unknown key or a value out of range.
    """
    from pats_opt.errors import InputError
    from pats_opt.generate.config import as_table, read_toml
    from pats_opt.generate.recipe import Recipe
    from pats_opt.generate.suites import overlay

    document: dict[str, Any] = {}
    for default in defaults:
        document = overlay(document, default)
    if config is not None:
        document = overlay(document, read_toml(config))
        as_table(document, Recipe, config)  # so that the message names the file
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
