"""What to measure."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator

from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.execute.orders import shrunk

#: First steps of a batch that are not counted: kernels are chosen, caches filled.
WARM_STEPS = 2

#: Steps of a batch that is run for its memory or for a switch.
FEW_STEPS = 2


class Prompt(Struct, frozen=True):
    """A prompt of the quality measurement, with its complexity in [0, 1]."""

    text: str
    complexity: float


class QualityPlan(Struct, frozen=True, kw_only=True):
    """Images to make for the quality table: each prompt and seed at each step count.

    Attributes:
        steps: Step counts below the full one.
        full: The step count that the others are compared with.
        images: Seeds of each prompt.
        metrics: What to compare with; quality is made of the first.
        weights: AlexNet's file for LPIPS; None to look in torch's folder.
    """

    prompts: tuple[Prompt, ...]
    steps: tuple[int, ...]
    full: int
    images: int
    metrics: tuple[str, ...]
    weights: str | None = None

    def views(self) -> Iterator[tuple[str, Prompt, int]]:
        """Prompts and seeds, each with the key of its part; what is made of them is in the key."""
        for prompt in self.prompts:
            made_of = json.dumps([prompt.text, self.steps, self.full, self.metrics])
            digest = hashlib.sha256(made_of.encode()).hexdigest()[:12]
            for seed in range(self.images):
                yield f"images/{digest}/{seed}", prompt, seed


class Plan(Struct, frozen=True, kw_only=True):
    """What to measure.

    Attributes:
        batches: Batch sizes whose step times are measured, rising from 1.
        sizes: Widths and heights; times are measured at the first, memory at all.
        steps: Steps of each batch that is timed, those not counted included.
        repeats: Batches of each size, switches of each kind and adapter.
        max_batch: Largest batch that is tried for its memory.
        shrink: Divides widths and heights.
        seed: Of the order of the measurements.
    """

    batches: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]
    steps: int
    repeats: int
    max_batch: int
    shrink: int
    seed: int
    quality: QualityPlan | None = None

    def __post_init__(self) -> None:
        if self.steps <= WARM_STEPS:
            raise InputError(
                f"{self.steps} steps leave nothing to measure",
                place="--steps",
                hint=f"the first {WARM_STEPS} are not counted; take {WARM_STEPS + 1} or more",
            )

    @property
    def reference(self) -> tuple[int, int]:
        """The size that times are measured at."""
        return self.sizes[0]

    def shrunk(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size that images are really made at."""
        return shrunk(size[0], self.shrink), shrunk(size[1], self.shrink)


class Timed(Struct, frozen=True):
    """A part of a round: a batch of ``n``, or a switch from ``place`` to an adapter."""

    key: str
    n: int = 0
    place: str = ""
    adapter: str = ""


def rounds(plan: Plan, places: tuple[str, ...], adapters: tuple[str, ...]) -> Iterator[Timed]:
    """Parts to time: each kind once a round, each round in another order.

    So that a device that grows warm or is used by somebody else for a while does not make one batch
    size look slower than another.
    """
    rng = random.Random(plan.seed)  # noqa: S311 - an order, no secret
    for repeat in range(plan.repeats):
        parts = [Timed(f"steps/{n}/{repeat}", n=n) for n in plan.batches]
        parts += [
            Timed(f"{place}/{adapter}/{repeat}", place=place, adapter=adapter)
            for place in places
            for adapter in adapters
        ]
        rng.shuffle(parts)
        yield from parts


def repeat_of(key: str) -> int:
    """The round that a part belongs to."""
    return int(key.rpartition("/")[2])
