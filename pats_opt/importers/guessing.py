"""Guesses by a log's column names: the meaning of a column, the unit of its numbers, its kind."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

#: Unit of times in a log.
TimeUnit = Literal["s", "ms", "us", "ns", "min", "h"]

#: Unit of the lengths of prompts in a log.
LengthUnit = Literal["characters", "tokens", "words"]

#: Field of ``LogColumns`` -> names that such a column has in logs, the likeliest first. They are in
#: lower case, with words joined by ``_`` and without a unit.
NAMES: dict[str, tuple[str, ...]] = {
    "time": (
        *("arrival_time", "arrival", "arrived_at", "arrived", "submit_time", "submitted_at"),
        *("request_time", "received_at", "created_at", "timestamp", "ts", "time", "t"),
        *("start_time", "started_at", "created", "submitted", "received", "datetime", "date"),
    ),
    "adapter": (
        *("adapter", "adapters", "adapter_id", "adapter_ids", "adapter_name", "lora_id"),
        *("lora_ids", "lora_name", "lora_names", "lora", "loras"),
    ),
    "scale": ("lora_scale", "lora_scales", "adapter_scale", "adapter_scales", "scale", "scales"),
    "rank": ("lora_rank", "adapter_rank", "rank"),
    "base_model": ("base_model", "checkpoint", "ckpt", "sd_model", "model"),
    "steps": ("num_inference_steps", "inference_steps", "sampling_steps", "num_steps", "steps"),
    "images": ("num_images_per_prompt", "num_images", "n_images", "image_count", "images", "n"),
    "prompt": ("prompt", "prompt_text", "positive_prompt"),
    "negative_prompt": ("negative_prompt",),
    "prompt_length": (
        *("prompt_length", "prompt_len", "prompt_tokens", "prompt_characters", "prompt_chars"),
        "prompt_words",
    ),
    "complexity": ("complexity",),
    "deadline": ("deadline", "slo", "latency_slo", "slo_latency"),
    "width": ("width", "image_width"),
    "height": ("height", "image_height"),
    "weight": ("weight",),
    "similarity": ("similarity",),
    "group": ("group", "group_id"),
}

#: Unit -> how column names end that have it.
UNIT_ENDINGS: dict[TimeUnit, tuple[str, ...]] = {
    "s": ("s", "sec", "secs", "second", "seconds"),
    "ms": ("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"),
    "us": ("us", "usec", "micros", "microsecond", "microseconds"),
    "ns": ("ns", "nsec", "nanos", "nanosecond", "nanoseconds"),
    "min": ("min", "mins", "minute", "minutes"),
    "h": ("h", "hour", "hours"),
}

_UNITS = {ending: unit for unit, endings in UNIT_ENDINGS.items() for ending in endings}

#: Last words of columns that tell whether a request succeeded, or which kind of request it was.
TELLING = frozenset(
    (
        *("status", "state", "success", "succeeded", "ok", "error", "failed", "outcome", "result"),
        *("type", "task", "kind"),
    )
)


def words_of(column: str) -> list[str]:
    """Return the words of a column's name in lower case: ``deadlineMs``, ``deadline (ms)``."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", column)
    return re.findall(r"[a-z0-9]+", apart.lower())


def unit_of(column: str) -> TimeUnit | None:
    """Return the unit with which a column's name ends, as a key of :data:`UNIT_ENDINGS`."""
    words = words_of(column)
    return _UNITS.get(words[-1]) if len(words) > 1 else None


def length_unit_of(column: str) -> LengthUnit:
    """Return the unit with which the name of a column of prompt lengths ends, else characters."""
    last = words_of(column)[-1:]
    return "tokens" if last == ["tokens"] else "words" if last == ["words"] else "characters"


def guess_columns(names: Sequence[str]) -> dict[str, str]:
    """Guess the meaning of columns by their names: field of ``LogColumns`` -> column.

    A field without a likely column is missing. A column has one meaning.
    """
    plain: dict[str, str] = {}
    for name in names:
        words = words_of(name)
        if len(words) > 1 and words[-1] in _UNITS:
            plain.setdefault("_".join(words[:-1]), name)
        plain.setdefault("_".join(words), name)
    found: dict[str, str] = {}
    for field, likely in NAMES.items():
        column = next((plain[name] for name in likely if name in plain), None)
        if column is not None and column not in found.values():
            found[field] = column
    return found


def telling(names: Sequence[str]) -> list[str]:
    """Return the columns whose names say that they hold an outcome or a kind of request."""
    return [name for name in names if words_of(name)[-1:] and words_of(name)[-1] in TELLING]
