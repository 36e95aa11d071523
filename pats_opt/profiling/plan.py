"""The measurements of a profile, and the prompts of its images."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.execute.orders import shrunk
from pats_opt.generate.quality import COMPLEXITY_COLUMNS, LEVELS, complexity_of, read_csv, read_text
from pats_opt.importers.complexity import estimate

#: First steps of a batch that are not counted: kernels are chosen and caches filled.
WARM_STEPS = 2

#: Steps of a batch that is run for its memory or for a switch.
FEW_STEPS = 2

#: Column names read as the prompt, in order of preference.
PROMPT_COLUMNS = ("prompt", "prompt_text", "caption", "text")

_SEPARATORS = {".csv": ",", ".tsv": "\t"}


class Prompt(Struct, frozen=True):
    """A prompt of the quality measurement, with its complexity in [0, 1]."""

    text: str
    complexity: float


class QualityPlan(Struct, frozen=True, kw_only=True):
    """Images of the quality table: each prompt and seed at each step count.

    Attributes:
        steps: Step counts below the full one.
        full: The step count that the others are compared with.
        images: Seeds per prompt.
        metrics: Image metrics; quality is made of the first.
        weights: AlexNet's file for LPIPS; None to look in torch's folder.
    """

    prompts: tuple[Prompt, ...]
    steps: tuple[int, ...]
    full: int
    images: int
    metrics: tuple[str, ...]
    weights: str | None = None

    def views(self) -> Iterator[tuple[str, Prompt, int]]:
        """Yield prompts and seeds with the key of their part, a digest of everything in it."""
        for prompt in self.prompts:
            content = json.dumps([prompt.text, self.steps, self.full, self.metrics])
            digest = hashlib.sha256(content.encode()).hexdigest()[:12]
            for seed in range(self.images):
                yield f"images/{digest}/{seed}", prompt, seed


class ProfilingPlan(Struct, frozen=True, kw_only=True):
    """The measurements of a profile.

    Attributes:
        batches: Batch sizes of the step times, rising from 1.
        sizes: Widths and heights; times are measured at the first, memory at all.
        steps: Steps of each timed batch, those not counted included.
        repeats: Batches of each size, and switches of each kind and adapter.
        max_batch: Largest batch that is tried for its memory.
        shrink: Divisor of widths and heights.
        seed: Seed of the order of the measurements.
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
        """Size of the timed images."""
        return self.sizes[0]

    def shrunk(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return a size after shrinking."""
        return shrunk(size[0], self.shrink), shrunk(size[1], self.shrink)


class TimedPart(Struct, frozen=True):
    """A part of a round: a batch of ``n``, or a switch to an adapter in ``place``."""

    key: str
    repeat: int
    n: int = 0
    place: str = ""
    adapter: str = ""


def rounds(
    plan: ProfilingPlan, places: tuple[str, ...], adapters: tuple[str, ...]
) -> Iterator[TimedPart]:
    """Yield the timed parts: each kind once per round, each round in another order.

    A device that grows warm, or is shared for a while, then slows all batch sizes alike.
    """
    rng = random.Random(plan.seed)  # noqa: S311 - an order, no secret
    for repeat in range(plan.repeats):
        parts = [TimedPart(f"steps/{n}/{repeat}", repeat, n=n) for n in plan.batches]
        parts += [
            TimedPart(f"{place}/{adapter}/{repeat}", repeat, place=place, adapter=adapter)
            for place in places
            for adapter in adapters
        ]
        rng.shuffle(parts)
        yield from parts


def read_prompts(path: str) -> tuple[Prompt, ...]:
    """Read prompts from a text file (one per line), a CSV or TSV file, or a file of JSON lines.

    The suffix decides the kind. The complexity of a prompt without one is estimated.

    Raises:
        InputError: naming the file, the line and the hint.
    """
    rows: Iterable[tuple[int, dict[str, Any]]]
    ending = Path(path).suffix.lower()
    if ending in _SEPARATORS:
        rows = read_csv(path, _SEPARATORS[ending])[1]
    elif ending in (".jsonl", ".ndjson"):
        rows = _json_lines(read_text(path), path)
    else:
        lines = read_text(path).splitlines()
        rows = ((i, {"prompt": line}) for i, line in enumerate(lines, 1))
    found = []
    for line, row in rows:
        known = {str(key).strip().lower(): value for key, value in row.items()}
        prompt = next((known[name] for name in PROMPT_COLUMNS if name in known), None)
        if not isinstance(prompt, str):
            raise InputError(
                "there is no prompt",
                file=path,
                place=f"line {line}",
                hint=f"name the column one of {', '.join(PROMPT_COLUMNS)}",
            )
        if prompt.strip():
            found.append(Prompt(prompt.strip(), _complexity(known, prompt, path, line)))
    if not found:
        raise InputError("this file has no prompts", file=path, hint="add some")
    return tuple(found)


def _json_lines(text: str, path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for i, line in enumerate(text.splitlines(), 1):
        if line.strip():
            row = None
            with suppress(ValueError, RecursionError):
                row = json.loads(line)
            if not isinstance(row, dict):
                raise InputError(
                    "this is no JSON object",
                    file=path,
                    place=f"line {i}",
                    hint='write each line as {"prompt": "..."}',
                )
            yield i, row


def _complexity(row: dict[str, Any], prompt: str, path: str, line: int) -> float:
    cells = (row.get(name) for name in COMPLEXITY_COLUMNS)
    given = next((cell for cell in cells if cell not in (None, "")), None)
    if given is None:
        return estimate(prompt)
    try:
        return complexity_of(str(given))
    except ValueError:
        raise InputError(
            f"{given!r} is no complexity",
            file=path,
            place=f"line {line}",
            hint=f"write 0 to 1, or one of {', '.join(LEVELS)}",
        ) from None
