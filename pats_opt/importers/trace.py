"""Import of a request log: a column mapping, a window and a definition of families."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from msgspec import UNSET

from pats_opt.errors import InputError, in_file
from pats_opt.generate import draw, profile
from pats_opt.generate.build import RequestRow, assemble, looked_up
from pats_opt.generate.config import ConfigTable, Positive
from pats_opt.generate.recipe import ImageSize, Recipe
from pats_opt.importers import complexity
from pats_opt.importers.families import (
    Family,
    Key,
    family_adapters,
    family_ids,
    members_of,
    rank_column,
)
from pats_opt.importers.log import (
    TIME,
    Cells,
    LogFormat,
    format_of,
    has_adapter,
    require_columns,
    scan,
)
from pats_opt.importers.window import Window, select
from pats_opt.model.files import StrPath
from pats_opt.model.instance import Instance


class LogColumns(ConfigTable, frozen=True, kw_only=True):
    """Names of a log's columns; None for a column that the log lacks.

    Attributes:
        time: Arrival time of the request.
        adapter: One adapter id, several joined by the separator, or a list; empty for none.
        rank: Rank of the adapter, or one for each of several; its memory is that of the recipe's
            formula. Adapters without one have a drawn rank or the profile's memory.
        base_model: The base model (checkpoint).
        steps: Full step count; drawn from the recipe where it is missing.
        images: Number of images; drawn likewise.
        prompt_length: Length of the prompt, for a log without prompts.
        complexity: From 0 to 1; else estimated from the prompt or its length, else drawn.
        deadline: Seconds from arrival.
        similarity: Cosine of the nearest cached prompt, where approximate caching takes it.
        group: The user's request that the row belongs to; empty for none.
    """

    time: str
    adapter: str | None = None
    rank: str | None = None
    base_model: str | None = None
    steps: str | None = None
    images: str | None = None
    prompt: str | None = None
    negative_prompt: str | None = None
    prompt_length: str | None = None
    complexity: str | None = None
    deadline: str | None = None
    width: str | None = None
    height: str | None = None
    weight: str | None = None
    id: str | None = None
    similarity: str | None = None
    group: str | None = None

    def named(self) -> dict[str, str]:
        """Return the given columns by command-line option."""
        found = {f: getattr(self, f) for f in self.__struct_fields__}
        return {f"--{f.replace('_', '-')}": name for f, name in found.items() if name is not None}


class LogMapping(ConfigTable, frozen=True, kw_only=True):
    """Reading of a log.

    Attributes:
        columns: Meaning of its columns.
        window: Selection of its rows.
        format: csv, tsv, jsonl or parquet; None to read it off the name.
        separator: Separator of the adapters in one cell.
        speed: Factor by which time runs faster: arrivals move closer, nothing else changes.
        lora_only: Whether requests without adapter are left out.
        family: Unit of switching. ``set``: the set of adapters, in any order. ``base+set``: the
            base model with the set; loading another base model takes the profile's
            ``base_model_s`` on top. ``first``: the first adapter alone. ``column``: the cell
            unchanged.
        deadline_unit: Unit of ``columns.deadline``.
        keep: Columns whose cells are kept in ``extra`` of the request, as text.
        length_unit: Unit of ``columns.prompt_length``: characters, tokens or words.
        estimator: ``module:function`` in place of the built-in complexity estimator.
    """

    columns: LogColumns
    window: Window = Window()
    format: LogFormat | None = None
    separator: str = ";"
    speed: Positive = 1.0
    lora_only: bool = False
    family: Family = "set"
    deadline_unit: Literal["s", "ms"] = "s"
    keep: tuple[str, ...] = ()
    length_unit: Literal["characters", "tokens", "words"] = "characters"
    estimator: str | None = None


@dataclass(frozen=True, slots=True)
class ImportedTrace:
    """An imported instance, and the load it puts on the GPUs.

    Attributes:
        requests: Rows of the log in it (the instance has more requests where images are split).
        span_s: Seconds from the first arrival to the last, after the speed-up.
        load: Offered GPU time / available GPU time, as in ``Arrivals.load``; None where all
            requests arrive at once. Queues form from about 0.7 on.
    """

    instance: Instance
    requests: int
    span_s: float
    load: float | None


def import_trace(
    path: StrPath,
    mapping: LogMapping,
    recipe: Recipe | None = None,
    seed: int = 0,
    *,
    name: str | None = None,
) -> ImportedTrace:
    """Import a window of a request log.

    Args:
        path: The log.
        mapping: Its columns and the window.
        recipe: Everything that the log lacks, as for :func:`pats_opt.generate.generate`.
        seed: Seed of every draw.
        name: The instance's name; None for the file's.

    Raises:
        InputError: a column that is missing, a cell that cannot be read (with its row), an empty
            window, a request that fits no GPU.
    """
    recipe = recipe or Recipe()
    device = profile.of(recipe.service)
    cells = _window(path, mapping)
    families = _families(cells, mapping, recipe, seed)
    ids = family_ids(families)
    rows = _rows(cells, mapping, recipe, seed, [ids[key] for key in families])
    ranks = _ranks(cells, mapping)
    adapters, pairs = family_adapters(ids, recipe, device, seed, ranks)
    file = Path(path).name
    title = name or file.partition(".")[0]
    extra = {"class": title, "log": file, "speed": mapping.speed, "profile": device.name}
    cached = looked_up(recipe, rows, seed)
    with in_file(path):
        instance = assemble(
            title,
            rows,
            adapters,
            recipe,
            profile=device,
            seed=seed,
            pairs=pairs,
            extra=extra,
            cached=cached,
        )
    load_s = {adapter.id: adapter.load_s for adapter in adapters}
    work_s = sum(
        draw.work_s(recipe, device, steps=r.steps, images=r.images, load_s=load_s[r.adapter])
        for r in rows
    )
    span_s = rows[-1].arrival_s
    load = work_s / (span_s * recipe.gpus.count) if span_s > 0 else None
    return ImportedTrace(instance, len(rows), span_s, load)


def _window(path: StrPath, mapping: LogMapping) -> Cells:
    """Read the window of a log."""
    columns = mapping.columns
    if columns.adapter is None and mapping.lora_only:
        raise InputError("--lora-only needs a column of adapters", hint="add --adapter COLUMN")
    if columns.adapter is None and columns.rank is not None:
        raise InputError("--rank needs a column of adapters", hint="add --adapter COLUMN")
    if mapping.family == "base+set" and columns.base_model is None:
        raise InputError("family base+set needs a base model", hint="add --base-model COLUMN")
    table = scan(path, mapping.format)
    require_columns(table, columns.named(), path)
    for name in mapping.keep:
        require_columns(table, {"--keep": name}, path)
    if mapping.lora_only and columns.adapter is not None:
        table = table.filter(has_adapter(table, columns.adapter))
    rows = select(
        table,
        [*columns.named().values(), *mapping.keep],
        columns.time,
        mapping.window,
        path,
        whole_rows=format_of(path, mapping.format)[0] in ("csv", "tsv", "timestamps"),
    )
    return Cells(rows, str(path))


def _families(cells: Cells, mapping: LogMapping, recipe: Recipe, seed: int) -> list[Key]:
    """Family of each request; drawn where the log has no adapters."""
    columns = mapping.columns
    if columns.adapter is None:
        drawn = draw.adapters(recipe.popularity, cells.count, draw.stream(seed, "adapters"))
        sets: list[tuple[str, ...]] = [() if a == draw.BASE else (a,) for a in drawn]
    else:
        found = cells.column(columns.adapter)
        sets = [members_of(cell, mapping.family, mapping.separator) for cell in found]
    bases = cells.text(columns.base_model if mapping.family == "base+set" else None)
    return list(zip(bases, sets, strict=True))


def _ranks(cells: Cells, mapping: LogMapping) -> dict[str, int]:
    """Ranks of the adapters, as far as the log gives them."""
    adapter, rank = mapping.columns.adapter, mapping.columns.rank
    if adapter is None or rank is None:
        return {}
    return rank_column(cells, adapter, rank, mapping.family, mapping.separator)


def _rows(
    cells: Cells, mapping: LogMapping, recipe: Recipe, seed: int, families: Sequence[str]
) -> list[RequestRow]:
    """Requests of the window; everything that the log lacks is drawn."""
    columns, count = mapping.columns, len(families)
    times = cells.column(TIME)
    drawn_steps = draw.mixed(recipe.steps.full, count, draw.stream(seed, "steps"))
    steps = cells.numbers(columns.steps, 1, 1_000_000, drawn_steps)
    drawn_images = draw.mixed(recipe.images.count, count, draw.stream(seed, "images"))
    images = cells.numbers(columns.images, 1, 10_000, drawn_images)
    sizes = draw.sizes(recipe.sizes, count, draw.stream(seed, "sizes"))
    widths = cells.numbers(columns.width, 1, 65536, [s.width for s in sizes])
    heights = cells.numbers(columns.height, 1, 65536, [s.height for s in sizes])
    deadlines = cells.numbers(columns.deadline, 0, 1e9, [-1.0] * count)
    drawn_weights = draw.mixed(recipe.terms.weight, count, draw.stream(seed, "weights"))
    weights = cells.numbers(columns.weight, 0, 1e9, drawn_weights)
    prompts = cells.text(columns.prompt)
    negatives = cells.text(columns.negative_prompt)
    hard = _complexities(cells, mapping, recipe, seed, prompts)
    ids = cells.ids(columns.id) if columns.id else [f"r{i}" for i in range(count)]
    groups = cells.text(columns.group)
    if mapping.deadline_unit == "ms":
        deadlines = [d if d < 0 else round(d / 1e3, 6) for d in deadlines]
    kept = {name: cells.text(name) for name in mapping.keep}
    cosines = cells.numbers(columns.similarity, -1, 1, [-2.0] * count)
    seeds = draw.stream(seed, "image seeds").integers(0, 2**31, count)
    rows = []
    for i in range(count):
        size = (int(widths[i]), int(heights[i]))
        same = size == (sizes[i].width, sizes[i].height)
        rows.append(
            RequestRow(
                id=ids[i],
                arrival_s=round((times[i] - times[0]) / mapping.speed, 6),
                adapter=families[i],
                steps=int(steps[i]),
                complexity=hard[i],
                size=sizes[i] if same else ImageSize(width=size[0], height=size[1]),
                images=int(images[i]),
                prompt=prompts[i],
                negative_prompt=negatives[i],
                seed=int(seeds[i]),
                weight=weights[i],
                deadline_s=None if deadlines[i] < 0 else deadlines[i],
                group=groups[i] or UNSET,
                extra={name: texts[i] for name, texts in kept.items()},
                similarity=None if cosines[i] < -1 else cosines[i],
            )
        )
    return rows


def _complexities(
    cells: Cells, mapping: LogMapping, recipe: Recipe, seed: int, prompts: Sequence[str]
) -> list[float]:
    """Complexities: those of the log, else by the prompt, else by its length, else drawn."""
    columns, count = mapping.columns, len(prompts)
    drawn = draw.complexities(recipe.complexity, count, draw.stream(seed, "complexity"))
    if columns.complexity is not None:
        return cells.numbers(columns.complexity, 0, 1, drawn)
    if columns.prompt is not None:
        spec = mapping.estimator
        estimator = complexity.load_estimator(spec) if spec else complexity.estimate
        return list(map(estimator, prompts))
    if columns.prompt_length is None:
        return drawn
    unit = complexity.UNITS[mapping.length_unit]
    lengths = cells.numbers(columns.prompt_length, 0, 1e9, [-1.0] * count)
    return [
        given if length < 0 else complexity.from_length(length * unit)
        for length, given in zip(lengths, drawn, strict=True)
    ]
