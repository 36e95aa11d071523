"""Service profiles: step times, memory and load times of a device, with their sources.

A profile is a TOML file. The built-in ones are in ``pats_opt/data/profiles``; wherever a name is
accepted, so is the path of a file in the same format (``pats-opt profile`` writes one).
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import cached_property, lru_cache
from importlib.resources import files as package_files
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, field
from msgspec.structs import replace

from pats_opt.errors import InputError
from pats_opt.generate.config import (
    ConfigTable,
    Count,
    NotNegative,
    Positive,
    Share,
    as_table,
    parse_toml,
)
from pats_opt.generate.recipe import ServiceSettings
from pats_opt.model.files import read_bytes
from pats_opt.model.instance import Overhead, StepTime
from pats_opt.nearest import choose

#: Resolution of ``per_sample_gib`` where nothing was measured.
REFERENCE = (1024, 1024)

_FOLDER = package_files("pats_opt") / "data" / "profiles"


class VramTable(ConfigTable, frozen=True, kw_only=True):
    """Peak memory measured at one resolution: ``gib[i]`` GiB for a batch of ``batch[i]``."""

    width: Annotated[int, Meta(ge=1, le=65536)]
    height: Annotated[int, Meta(ge=1, le=65536)]
    batch: Annotated[tuple[Count, ...], Meta(min_length=2)]
    gib: tuple[NotNegative, ...]

    def __post_init__(self) -> None:
        if len(self.gib) != len(self.batch) or len(set(self.batch)) != len(self.batch):
            raise ValueError("'gib' needs one number for each of 'batch', each batch size once")


class AdapterMemory(ConfigTable, frozen=True, kw_only=True):
    """Memory of one of the measured adapters, beside that of the formula.

    Attributes:
        rank: Its rank, the largest of its layers.
        hidden: The most common width of the matrices that it adapts.
        layers: Number of them.
        bytes_per_weight: ``bytes`` in files: of the precision that was measured.
        formula_gib: As :func:`pats_opt.generate.ranks.lora_gib` has it.
        weights_gib: Memory of its own weights, in that precision.
        slot_gib: Memory that it takes in the engine's layout, padding included.
    """

    rank: Count
    hidden: Count
    layers: Count
    bytes_per_weight: Positive = field(name="bytes")
    formula_gib: NotNegative
    weights_gib: NotNegative
    slot_gib: NotNegative


class MemoryModel(ConfigTable, frozen=True, kw_only=True):
    """Device memory in GiB: base + n x (memory of a request).

    Attributes:
        capacity_gib: Memory of one device.
        adapter_gib: Memory of one resident adapter.
        base_gib: Memory of the base model, or None to read it off ``measured``.
        per_sample_gib: Memory of one request at 1024x1024, or None likewise; other resolutions in
            proportion to their pixels unless measured.
        max_batch: Largest batch known to work, or None; it becomes the resource ``batch``.
        measured: Tables by resolution, the first of which is the reference.
        adapters: The measured adapters, for comparison; ``adapter_gib`` is what counts.
    """

    capacity_gib: Positive
    adapter_gib: NotNegative
    base_gib: NotNegative | None = None
    per_sample_gib: NotNegative | None = None
    max_batch: Count | None = None
    measured: tuple[VramTable, ...] = ()
    adapters: tuple[AdapterMemory, ...] = ()

    def __post_init__(self) -> None:
        lacking = [self.base_gib, self.per_sample_gib].count(None)
        if lacking == 1 or (lacking and not self.measured):
            raise ValueError("needs both 'base_gib' and 'per_sample_gib', or 'measured'")

    @property
    def line(self) -> tuple[float, float]:
        """Base and slope in GiB, as given, else those of the line over the first table."""
        if self.base_gib is not None and self.per_sample_gib is not None:
            return self.base_gib, self.per_sample_gib
        table = self.measured[0]
        base, slope = covering_line(table.batch, table.gib)
        return round_up(base), round_up(slope)

    def request_gib(self, width: int, height: int) -> float:
        """Memory, in GiB, of one request of a resolution.

        At a measured resolution it is the smallest figure that covers every measured batch, given
        the base; at another one it is in proportion to the pixels.
        """
        base, slope = self.line
        for table in self.measured:
            if (table.width, table.height) == (width, height):
                over = max((g - base) / n for n, g in zip(table.batch, table.gib, strict=True))
                return round_up(max(over, 0.0))
        reference = self.measured[0] if self.measured else None
        pixels = reference.width * reference.height if reference else math.prod(REFERENCE)
        return round_up(slope * width * height / pixels)


class LoadTime(ConfigTable, frozen=True, kw_only=True):
    """Seconds to load an adapter: one number, or quantiles (``levels``) of a distribution."""

    seconds: Annotated[tuple[NotNegative, ...], Meta(min_length=1)]
    levels: Annotated[tuple[Share, ...], Meta(min_length=1)] = (0.5,)

    def __post_init__(self) -> None:
        pairs = list(zip(self.levels, self.seconds, strict=False))
        if len(self.levels) != len(self.seconds) or pairs != sorted(pairs):
            raise ValueError("'seconds' needs one number for each of 'levels', both rising")

    def quantile(self, level: float) -> float:
        """Return the seconds at ``level`` in [0, 1]: linear between quantiles, constant beyond."""
        for i in range(1, len(self.levels)):
            low, high = self.levels[i - 1], self.levels[i]
            if low <= level <= high and high > low:
                share = (level - low) / (high - low)
                return self.seconds[i - 1] + share * (self.seconds[i] - self.seconds[i - 1])
        return self.seconds[0] if level <= self.levels[0] else self.seconds[-1]

    @property
    def median(self) -> float:
        """Seconds at level 0.5."""
        return self.quantile(0.5)


class OverlapCost(ConfigTable, frozen=True, kw_only=True):
    """Cost of loads beside a batch, and by how much they slow it.

    Attributes:
        seconds: Median of a load.
        hidden: Share of their seconds in which the batch ran.
        slowdown: Median step beside loads that follow one another, by the median step alone; None
            where no step was beside one.
    """

    seconds: NotNegative
    hidden: Share
    slowdown: NotNegative | None = None


class Loading(ConfigTable, frozen=True, kw_only=True):
    """Switching times.

    Attributes:
        tiers: Load times by the place of the adapter file (``host`` memory, ``disk``, ``remote``).
        tier: The default tier.
        activate_s: Seconds between two resident adapters.
        base_model_s: Seconds to load another base model; None where it was not measured.
        beside: Cost of loads beside a batch, by the tiers where it was measured.
    """

    tier: str
    tiers: Annotated[dict[str, LoadTime], Meta(min_length=1)]
    activate_s: NotNegative = 0.0
    base_model_s: NotNegative | None = None
    beside: dict[str, OverlapCost] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.tier not in self.tiers:
            raise ValueError(f"'tier' {self.tier!r} is none of 'tiers'")


class Profile(ConfigTable, frozen=True, kw_only=True, dict=True):
    """Measured times and memory of a device.

    Attributes:
        device: The device that was measured.
        date: The date of the measurement.
        tick_s: Seconds per tick, a grid that suits the times.
        step_s: As in an instance's ``service``, and so is ``overhead_s``.
        sources: The source of each figure.
    """

    format: Literal["pats-opt/profile"] = "pats-opt/profile"
    version: Literal[1] = 1
    name: Annotated[str, Meta(min_length=1)]
    device: str
    about: str = ""
    date: str = ""
    tick_s: Annotated[float, Meta(ge=1e-6, le=1e6)]
    step_s: StepTime
    overhead_s: NotNegative | Overhead = 0.0
    memory: MemoryModel
    load: Loading
    sources: Annotated[dict[str, str], Meta(min_length=1)]

    @cached_property
    def base_vram_gib(self) -> float:
        """Memory of the base model, in GiB."""
        return self.memory.line[0]

    def overhead(self, n: int) -> float:
        """Return the seconds of a batch of ``n`` besides its steps."""
        if isinstance(self.overhead_s, Overhead):
            return self.overhead_s.base + self.overhead_s.per_sample * n
        return self.overhead_s

    def load_time(self, tier: str | None) -> LoadTime:
        """Return the load times of a tier (None for the default).

        Raises:
            InputError: the profile has no such tier.
        """
        found = self.load.tiers.get(tier or self.load.tier)
        if found is None:
            raise InputError(
                f"profile {self.name!r} has no tier {tier!r}",
                hint=choose(tier or self.load.tier, self.load.tiers),
            )
        return found


def of(service: ServiceSettings) -> Profile:
    """Return the profile that a recipe names, with the recipe's changes.

    Raises:
        InputError: as :func:`load`.
    """
    given = {key: getattr(service, key) for key in ("tick_s", "step_s", "overhead_s")}
    changes = {key: value for key, value in given.items() if value is not None}
    return replace(load(service.profile), **changes)


def round_up(gib: float) -> float:
    """Round GiB up to 0.1 MiB, so that rounding never makes a demand too small."""
    return math.ceil(gib * 1e4 - 1e-6) / 1e4


def covering_line(sizes: Sequence[int], gib: Sequence[float]) -> tuple[float, float]:
    """Return base and slope, both at least 0, of the lowest line on or above every point.

    Lowest in the sum over the points. It passes through two of them, or it is level, or it passes
    the origin; a table has few points, so all of these are tried.
    """
    points = sorted(zip(sizes, gib, strict=True))
    lines = [(max(gib), 0.0), (0.0, max(g / n for n, g in points))]
    for (n1, g1), (n2, g2) in combinations(points, 2):
        slope = (g2 - g1) / (n2 - n1)
        lines.append((g1 - slope * n1, slope))
    covers = [
        (base, slope)
        for base, slope in lines
        if base >= 0 and slope >= 0 and all(base + slope * n >= g - 1e-9 for n, g in points)
    ]
    return min(covers, key=lambda line: sum(line[0] + line[1] * n for n, _ in points))


def names() -> list[str]:
    """Names of the built-in profiles."""
    files = [Path(file.name) for file in _FOLDER.iterdir()]
    return sorted(file.stem for file in files if file.suffix == ".toml")


@lru_cache(maxsize=32)
def load(name: str) -> Profile:
    """Load a profile by name, or from a TOML file.

    Raises:
        InputError: there is no such profile or file, or the file is no valid profile.
    """
    if name in names():
        data = (_FOLDER / f"{name}.toml").read_bytes()
    elif name.endswith(".toml") or os.path.exists(name):  # noqa: PTH110 - also of too long a name
        data = read_bytes(name)
    else:
        raise InputError(
            f"there is no profile {name!r}",
            hint=f"{choose(name, names())}; or name a profile's TOML file",
        )
    return as_table(parse_toml(data, name), Profile, name)
