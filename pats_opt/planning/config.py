"""Configuration of a plan: the load, the axes of the grid, and the objective."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from pats_opt.errors import InputError
from pats_opt.model.files import encode, read_document, write_bytes

#: File names of a plan, in its folder.
CONFIG, INSTANCE, RESULT, PAGE, TABLE = (
    *("config.json", "instance.json", "plan.json", "plan.html", "cells.csv"),
)

#: Policies of a plan that names none.
POLICIES = ("fifo", "exhaustive", "pats", "price-index")

#: GPUs and residents of a log's plan that names none.
LOG_GPUS = (1, 2, 3, 4, 5, 6, 7, 8)
LOG_RESIDENTS = (1, 4, 16)

#: Share of an objective that names none.
SHARE = 0.95

Whole = Annotated[int, Meta(ge=1, le=100_000)]
Limit = Annotated[float, Meta(gt=0, le=1e7)]


class ServiceObjective(Struct, frozen=True):
    """Objective of service: a share of all requests is served within some seconds."""

    seconds: Annotated[float, Meta(gt=0, le=1e9)]
    share: Annotated[float, Meta(gt=0, le=1)] = SHARE

    def __str__(self) -> str:
        return f"{100 * self.share:g} % within {self.seconds:g} s"


class PlanConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a plan; an empty axis leaves what the instance has.

    Attributes:
        load: A request log, or an instance file.
        speed: Factor by which a log's arrivals are sped up.
        profile: Service profile of a log, and of the tiers; None for the default, or the
            instance's own.
        gpus: Numbers of GPUs.
        residents: Most adapters resident on a GPU.
        tiers: Places of the adapter files, as the profile names them.
        channels: Loads beside serving; 0 for none.
        batches: Largest batches.
        policies: Specs of online policies.
        dispatches: Dispatch rules.
        objective: Objective that the fleet has to meet; None for none.
        gpu_hour: Price of an hour of one GPU; None to count hours.
        windows: Windows of requests that intervals are taken over.
        every_cell: Whether every cell is simulated, instead of a search over GPUs.
        bound_windows: Short windows of which a bound is computed; 0 for none.
        bound_requests: Requests in each of them.
        bound_s: Time limit of a bound, s.
        seed: Seed of every random choice.
        time_limit: Time limit of a simulation, s; None for none.
    """

    load: str = ""
    speed: Annotated[float, Meta(gt=0)] = 1.0
    profile: str | None = None
    gpus: tuple[Whole, ...] = ()
    residents: tuple[Whole, ...] = ()
    tiers: tuple[str, ...] = ()
    channels: tuple[Annotated[int, Meta(ge=0, le=100_000)], ...] = ()
    batches: tuple[Whole, ...] = ()
    policies: tuple[str, ...] = POLICIES
    dispatches: tuple[str, ...] = ()
    objective: ServiceObjective | None = None
    gpu_hour: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    windows: Annotated[int, Meta(ge=1, le=1000)] = 8
    every_cell: bool = False
    bound_windows: Annotated[int, Meta(ge=0, le=1000)] = 3
    bound_requests: Whole = 40
    bound_s: Limit = 20.0
    seed: Annotated[int, Meta(ge=0)] = 0
    time_limit: Limit | None = None

    @property
    def is_log(self) -> bool:
        """Whether the load is a request log, by its name."""
        return not self.load.endswith(".json")


def whole_numbers(text: str) -> tuple[int, ...]:
    """Read ``1,4,16`` or ``4..12`` or both as rising whole numbers.

    Raises:
        ValueError: It is neither.
    """
    found: set[int] = set()
    for piece in text.split(","):
        low, dots, high = piece.strip().partition("..")
        first, last = int(low), int(high if dots else low)
        if not 0 <= first <= last <= 100_000:
            raise ValueError(text)
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def objective(text: str) -> ServiceObjective:
    """Read ``30``, ``30:0.95`` or ``p95<=30`` as an objective.

    Raises:
        ValueError: It is none of them, or a number is out of range.
    """
    if named := re.fullmatch(r"\s*p(\d+(?:\.\d+)?)\s*<=?\s*(.+?)\s*s?\s*", text):
        seconds, share = float(named[2]), float(named[1]) / 100
    else:
        head, colon, tail = text.partition(":")
        seconds, share = float(head), float(tail) if colon else SHARE
    if not (0 < seconds <= 1e9 and 0 < share <= 1):
        raise ValueError(text)
    return ServiceObjective(seconds, share)


def save(config: PlanConfig, folder: Path) -> None:
    """Keep a plan's configuration in its folder; the path of its load counts from there."""
    load = Path(os.path.relpath(config.load, folder)).as_posix()
    write_bytes(folder / CONFIG, encode(replace(config, load=load)))


def saved(folder: Path) -> PlanConfig:
    """The configuration kept in a folder.

    Raises:
        InputError: There is none, or it is none.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(
            "there is no plan to resume in this folder",
            file=str(folder),
            hint="name the folder of one, or leave out --resume",
        )
    found = read_document(path, PlanConfig)
    return replace(found, load=os.path.normpath(folder / found.load))


def identity(config: PlanConfig) -> dict[str, object]:
    """Options that decide a plan's instance, by the name that users know; all else may change."""
    return {"load": Path(config.load).name, "speed": config.speed, "profile": config.profile}
