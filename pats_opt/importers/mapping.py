"""The reading of a request log: meaning of its columns, units, window and families."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pats_opt.errors import InputError
from pats_opt.generate.config import ConfigTable, Positive
from pats_opt.importers.families import Family
from pats_opt.importers.guessing import LengthUnit, TimeUnit, guess_columns
from pats_opt.importers.log import ROW, LogFormat, scan
from pats_opt.importers.window import Window
from pats_opt.model.files import StrPath


class LogColumns(ConfigTable, frozen=True, kw_only=True):
    """Names of a log's columns; None for a column that the log lacks.

    Attributes:
        time: Arrival time of the request.
        adapter: One adapter id, several joined by the separator, or a list; empty for none.
        rank: Rank of the adapter, or one for each of several; its memory is that of the recipe's
            formula. Adapters without one have a drawn rank or the profile's memory.
        scale: Scale of the adapter, or one for each of several; kept as ``adapter_scales`` in
            ``extra`` of the request.
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
    scale: str | None = None
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
        deadline_unit: Unit of ``columns.deadline``; ``auto`` is the one with which its name ends,
            else seconds.
        keep: Columns whose cells are kept in ``extra`` of the request, as text.
        length_unit: Unit of ``columns.prompt_length``: characters, tokens or words; ``auto`` is
            the one with which its name ends, else characters.
        estimator: ``module:function`` in place of the built-in complexity estimator.
    """

    columns: LogColumns
    window: Window = Window()
    format: LogFormat | None = None
    separator: str = ";"
    speed: Positive = 1.0
    lora_only: bool = False
    family: Family = "set"
    deadline_unit: TimeUnit | Literal["auto"] = "auto"
    keep: tuple[str, ...] = ()
    length_unit: LengthUnit | Literal["auto"] = "auto"
    estimator: str | None = None


def read_off(
    path: StrPath, given: LogFormat | None = None, named: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Guess what a log's columns mean by their names: field of :class:`LogColumns` -> column.

    Args:
        path: The log.
        given: Its format; None to read it off the file's name.
        named: Fields that are known; an empty column for one that the log lacks.

    Raises:
        InputError: no column looks like a time of arrival.
    """
    names = [name for name in scan(path, given).collect_schema().names() if name != ROW]
    known = {field: name for field, name in (named or {}).items() if field != "time" or name}
    columns = {field: name for field, name in (guess_columns(names) | known).items() if name}
    if "time" not in columns:
        listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        raise InputError(
            "no column looks like a time of arrival",
            file=str(path),
            hint=f"name it with --time; the columns are {listed}",
        )
    return columns
