"""CSV tables beside a profile: switching times, and quality by step count."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from pats_opt.model.files import csv_text
from pats_opt.profiling import figures
from pats_opt.profiling.measurements import ComparedImage, Measurements
from pats_opt.wording import number

#: File name of the table of switching, in the columns of the PATS document and more.
SWITCHING = "switching_cost.csv"

_OPERATIONS = {
    "resident": "LoRA switch, resident",
    "host": "LoRA switch, from host memory",
    "disk": "LoRA switch, from disk",
}


def quality_name(metric: str) -> str:
    """File name of the quality table of a metric; the document's has LPIPS."""
    return f"sdxl_step_quality_{metric}.csv"


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


def quality_csv(images: Iterable[ComparedImage], metric: str, similarity: bool) -> str:
    """Table of the distance to the full-step image by prompt and step count.

    Args:
        images: The images; each of their metrics has a column.
        metric: The metric of ``quality``, in the fourth column.
        similarity: Whether it is 1 for equal images; else 0.
    """
    images = list(images)
    others = sorted({name for image in images for name in image.scores} - {metric})
    columns = ["prompt_type", "prompt_text", "steps", metric, "gen_time_sec", "image_path"]
    columns += ["complexity", "seed", *others, "quality"]
    rows = [
        (
            prompt_type(image.complexity),
            image.prompt,
            image.steps,
            f"{image.scores[metric]:.6f}",
            f"{image.seconds:.4f}",
            image.file,
            f"{image.complexity:g}",
            image.seed,
            *(f"{image.scores[name]:.6f}" if name in image.scores else "" for name in others),
            f"{quality(image.scores[metric], similarity):.6f}",
        )
        for image in images
    ]
    return csv_text(columns, rows)


def quality(score: float, similarity: bool) -> float:
    """Convert a score to quality in [0, 1]: a similarity itself, a distance subtracted from 1."""
    return min(1.0, max(0.0, score if similarity else 1.0 - score))


def prompt_type(complexity: float) -> str:
    """Prompt type of the document: simple below a third, complex from two thirds."""
    return "simple" if complexity < 1 / 3 else "medium" if complexity < 2 / 3 else "complex"
