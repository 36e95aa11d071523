"""Distance of images that started from another prompt's latents to the images of all steps.

The latter are those of a reference run: the same instance and model, without a folder of latents,
where a request that skips steps starts from latents of its own. A distance says how far an image is
from the one that it stands for; whether it is a worse one, it does not say.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from pats_opt.errors import InputError, in_file
from pats_opt.execute.options import Options
from pats_opt.execute.output import EXECUTION
from pats_opt.execute.record import Execution, MemberRun
from pats_opt.model.files import StrPath, read_document
from pats_opt.model.problem import Problem
from pats_opt.perceptual import METRICS, choose, open_metrics
from pats_opt.spreadsheet import csv_text

#: Similarities in steps of this make a row of the table.
BAND = 0.1


class ImageDistance(Struct, frozen=True, kw_only=True):
    """One image that started from another prompt's latents, against that of all its steps.

    Attributes:
        level: Steps that it skipped.
        similarity: Cosine of the two prompts.
        scores: By metric, as each is defined (some are distances, some similarities).
    """

    request: str
    level: int
    similarity: float
    scores: dict[str, float]


class DistanceRow(Struct, frozen=True, kw_only=True):
    """Mean scores of the images of one level whose similarity is in one band, from ``similarity``.

    ``images`` counts them.
    """

    level: int
    similarity: float
    images: int
    scores: dict[str, float]


class LatentDistances(Struct, frozen=True, kw_only=True):
    """Images that started from other prompts' latents, against those of a reference run.

    Attributes:
        reference: Folder of that run.
        metrics: Names of the metrics, as in :data:`pats_opt.perceptual.METRICS`.
        images: Every image.
        rows: Their means.
        left_out: Images without one of as many steps in the reference.
    """

    reference: str
    metrics: tuple[str, ...]
    images: tuple[ImageDistance, ...]
    rows: tuple[DistanceRow, ...]
    left_out: int = 0


def read_reference(problem: Problem, options: Options, folder: StrPath) -> Execution:
    """Read the reference run in a folder.

    Raises:
        InputError: There is none, or it is of another instance or model, or used latents of others.
    """
    path = Path(folder) / EXECUTION
    found = read_document(path, Execution)
    made = found.model
    pairs = {
        "instance": (found.instance.sha256[:12], problem.instance.sha256[:12]),
        "model": (made.name, options.model),
        "dtype": (made.dtype, options.dtype),
        "guidance": (made.guidance, options.guidance),
        "shrink": (made.shrink, options.shrink),
    }
    with in_file(path):
        for name, (there, here) in pairs.items():
            if there != here:
                raise InputError(
                    f"this run is no reference ({name} {there}, not {here})",
                    hint="run the same instance and model without --latents",
                )
        if found.latents is not None:
            raise InputError(
                "this run is no reference, as it used a folder of latents itself",
                hint="run the same instance without --latents",
            )
    return found


def distances(
    problem: Problem,
    execution: Execution,
    folder: Path,
    reference: Execution,
    reference_folder: Path,
) -> LatentDistances:
    """Compare every image that started from another prompt's latents with its reference.

    Images without a reference of as many steps are counted, and left out.

    Raises:
        InputError: An image cannot be read, or no metric can be used.
    """
    totals = {
        r.id: [option.steps + option.skip for option in r.options]
        for r in problem.instance.requests
    }
    full = {m.id: m for m in _made(reference)}
    started = [m for m in _made(execution) if m.latents is not None and m.latents.level]
    paired = [
        (m, full[m.id])
        for m in started
        if m.id in full and totals[m.id][m.option] == totals[m.id][full[m.id].option]
    ]
    images: list[ImageDistance] = []
    metrics: list[Any] = []
    for member, other in paired:
        assert member.latents is not None
        picture, whole = (_picture(*one) for one in ((folder, member), (reference_folder, other)))
        if not metrics:
            metrics = open_metrics(choose((), min(picture.size)), "cpu")
        images.append(
            ImageDistance(
                request=member.id,
                level=member.latents.level,
                similarity=member.latents.similarity or 0.0,
                scores={metric.name: metric(whole, picture) for metric in metrics},
            )
        )
    return LatentDistances(
        reference=str(reference_folder),
        metrics=tuple([metric.name for metric in metrics]),
        images=tuple(images),
        rows=tuple(_rows(images)),
        left_out=len(started) - len(paired),
    )


def _made(execution: Execution) -> Iterator[MemberRun]:
    for _, batch in execution.batches():
        yield from (member for member in batch.members if member.image is not None)


def _picture(folder: Path, member: MemberRun) -> Any:
    from PIL import Image

    path = folder / str(member.image)
    try:
        with Image.open(path) as file:
            return file.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(
            f"this image cannot be read ({error})", file=str(path), hint="run it again"
        ) from None


def _rows(images: Sequence[ImageDistance]) -> Iterator[DistanceRow]:
    """The mean scores by level and band of similarity."""
    groups: dict[tuple[int, float], list[ImageDistance]] = defaultdict(list)
    for image in images:
        band = math.floor(image.similarity / BAND + 1e-9) * BAND
        groups[image.level, round(min(band, 1.0), 6)].append(image)
    for (level, band), some in sorted(groups.items()):
        names = some[0].scores
        yield DistanceRow(
            level=level,
            similarity=band,
            images=len(some),
            scores={n: math.fsum(i.scores[n] for i in some) / len(some) for n in names},
        )


def distance_csv(found: LatentDistances) -> str:
    """Return the table of all images as CSV."""
    columns = ("request", "similarity", "level", *found.metrics)
    rows = [
        (i.request, f"{i.similarity:g}", i.level, *(f"{i.scores[n]:.6f}" for n in found.metrics))
        for i in found.images
    ]
    return csv_text(columns, rows)


def distance_lines(found: LatentDistances) -> Iterator[str]:
    """Yield the table of means as lines of text."""
    if not found.images:
        yield f"No image can be compared with one of all steps in {found.reference}."
        return
    yield f"{distance_sentence(found)}"
    yield "  level  similarity  images  " + "  ".join(f"{name:>8}" for name in found.metrics)
    for row in found.rows:
        scores = "  ".join(f"{row.scores[name]:>8.4f}" for name in found.metrics)
        yield f"  {row.level:>5}  {row.similarity:>10.1f}  {row.images:>6}  {scores}"


def distance_sentence(found: LatentDistances) -> str:
    """Return the meaning of the figures."""
    equal = ", ".join(f"{n} {1 if METRICS[n].similarity else 0}" for n in found.metrics)
    left = f" {found.left_out} have no such image there." if found.left_out else ""
    return (
        f"Images that started from another prompt's latents against those of all steps in "
        f"{found.reference} (equal images: {equal}); this is a distance, not a quality.{left}"
    )
