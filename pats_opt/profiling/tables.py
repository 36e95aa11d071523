"""CSV tables beside a profile: switching times, and quality by step count."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence

from pats_opt.profiling import figures
from pats_opt.profiling.measurements import ComparedImage, Measurements
from pats_opt.spreadsheet import csv_text
from pats_opt.wording import number

#: File name of the table of switching, in the columns of the PATS document and more.
SWITCHING = "switching_cost.csv"

#: Prompt types of the document: simple below a third, complex from two thirds.
_PROMPT_TYPES = ("simple", "medium", "complex")

_OPERATIONS = {
    "resident": "LoRA switch, resident",
    "host": "LoRA switch, from host memory",
    "disk": "LoRA switch, from disk",
}


def switching_csv(data: Measurements) -> str:
    """Table of the seconds of each kind of switch by rank and size, and of a step."""
    ranks = {adapter.id: adapter.rank for adapter in data.asked.adapters}
    groups: dict[tuple[str, int, float | None], list[float]] = defaultdict(list)
    for switch in data.switches:
        groups[switch.place, ranks[switch.adapter], switch.mib].append(switch.seconds)
    rows: list[Sequence[object]] = []
    for place, operation in _OPERATIONS.items():
        for (where, rank, mib), times in groups.items():
            if where == place:
                low, middle, high = (number(x) for x in figures.quantiles(times))
                size = "" if mib is None else f"{mib:.3f}"
                rows.append((operation, middle, low, high, len(times), place, rank, size))
    for n, middle_s in figures.steps(data).medians.items():
        name = "One SDXL step" if n == 1 else f"One SDXL step, batch of {n}"
        rows.append((name, number(middle_s), "", "", "", "", "", ""))
    columns = ("Operation", "Time (s)", "p05 (s)", "p95 (s)", "count", "from", "rank", "MiB")
    return csv_text(columns, rows)


def quality_csv(images: Sequence[ComparedImage], metric: str, similarity: bool) -> str:
    """Table of the distance to the full-step image by prompt and step count.

    Args:
        images: The images; each of their metrics has a column.
        metric: The metric of the column ``quality``, itself the fourth column.
        similarity: Whether it is 1 for equal images; quality is else 1 - the distance.
    """
    others = sorted({name for image in images for name in image.scores} - {metric})
    columns = ["prompt_type", "prompt_text", "steps", metric, "gen_time_sec", "image_path"]
    columns += ["complexity", "seed", *others, "quality"]
    rows = [
        (
            _PROMPT_TYPES[bisect_right((1 / 3, 2 / 3), image.complexity)],
            image.prompt,
            image.steps,
            f"{score:.6f}",
            f"{image.seconds:.4f}",
            image.file,
            f"{image.complexity:g}",
            image.seed,
            *(f"{image.scores[name]:.6f}" if name in image.scores else "" for name in others),
            f"{min(1.0, max(0.0, score if similarity else 1.0 - score)):.6f}",
        )
        for image in images
        for score in (image.scores[metric],)
    ]
    return csv_text(columns, rows)
