"""Instances of a server's log: one per window of time, with the schedule as it was served.

Beside a log ``FILE.jsonl`` the server keeps ``FILE.site.json``: an instance without requests, which
has the GPUs, adapters, service times and prices. An image that failed or whose client went away is
left out. An image that expired is one that the server rejected.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pats_opt.errors import InputError
from pats_opt.model.files import StrPath, read_instance
from pats_opt.model.instance import Adapter, Instance, Option, Request
from pats_opt.model.loss import loss_of_expiry
from pats_opt.model.served import KEY, ServedRecord, served_record

#: Outcomes of images that were served, and the one of those that the server gave up.
SERVED, EXPIRED = ("ok", "late"), "expired"


class LogRow(Struct, frozen=True, kw_only=True):
    """A line of the log, as far as it is needed; see docs/serve.md."""

    id: str
    arrival_time: datetime
    model: str
    options: tuple[Option, ...]
    demand: dict[str, float]
    status: str
    steps_run: int | None
    gpu: str | None
    start_time: datetime | None
    resident: tuple[str, ...]
    adapters: tuple[Adapter, ...] = ()
    weight: float = 1.0
    complexity: float | None = None
    deadline_s: float | None = None
    group: str | None = None


def site_file(log: StrPath) -> Path:
    """Return the file that describes the server beside a log, also beside a rotated one."""
    path = Path(log)
    return path.with_name(re.sub(r"\.\d+$", "", path.stem) + ".site.json")


def served_instances(log: StrPath, window_s: float) -> list[Instance]:
    """Return an instance per window of a log; windows begin at multiples of their length in UTC.

    Args:
        log: The log.
        window_s: Length of a window in seconds.

    Raises:
        InputError: The log or the description beside it cannot be read, or no image was served.
    """
    rows = [row for row in _rows(log) if row.status in (*SERVED, EXPIRED)]
    site = _site(log)
    if not any(row.status in SERVED for row in rows):
        raise InputError("no image of this log was served", file=str(log), hint="name another")
    gpus, adapters = {gpu.id for gpu in site.gpus}, {adapter.id for adapter in site.adapters}
    further = {a.id: a for row in rows for a in row.adapters if a.id not in adapters}
    adapters |= further.keys()
    for row in rows:
        strange = {row.gpu} - gpus - {None} or {row.model, *row.resident} - adapters
        if strange:
            raise InputError(
                f"image {row.id!r}: {next(iter(strange))!r} is not among the server's GPUs and "
                "adapters",
                file=str(log),
                hint=f"keep {site_file(log).name} of the server that wrote the log beside it",
            )
    by_window = groupby(sorted(rows, key=_arrival), lambda row: int(_arrival(row) // window_s))
    by_start = sorted(rows, key=_start)
    found = [_instance(site, number * window_s, list(some), by_start) for number, some in by_window]
    return [_with_adapters(instance, further) for instance in found]


def _arrival(row: LogRow) -> float:
    return row.arrival_time.timestamp()


def _site(log: StrPath) -> Instance:
    file = site_file(log)
    if not file.is_file():
        raise InputError(
            f"{file.name} is missing, in which the server describes its GPUs and adapters",
            file=str(log),
            hint="keep it beside the log; import other logs with 'import trace'",
        )
    return read_instance(file)


def _rows(log: StrPath) -> Iterator[LogRow]:
    decoder = msgspec.json.Decoder(LogRow)
    try:
        with Path(log).open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    yield decoder.decode(line)
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    raise InputError(
                        f"this is no line of a server's log ({error})",
                        file=str(log),
                        place=f"line {number}",
                        hint="remove it; import other logs with 'import trace'",
                    ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"cannot be read ({reason})", file=str(log), hint="check it") from None


def _instance(
    site: Instance, begin: float, rows: Sequence[LogRow], by_start: Sequence[LogRow]
) -> Instance:
    """Return the instance of a window; its clock starts with the first arrival.

    Args:
        site: The instance without requests.
        begin: When the window begins, Unix seconds.
        rows: Images that arrived in the window, by arrival.
        by_start: Images of the whole log, by the start of their batches.
    """
    zero = _arrival(rows[0])
    label = datetime.fromtimestamp(begin, UTC).strftime("%Y-%m-%dT%H:%M")
    held = {row.gpu: row.resident for row in by_start if _start(row) < zero}
    return replace(
        site,
        name=label,
        gpus=tuple(replace(gpu, resident=held.get(gpu.id, gpu.resident)) for gpu in site.gpus),
        requests=tuple(_request(row, zero, site) for row in rows),
        extra={"class": label},
    )


def _with_adapters(instance: Instance, further: Mapping[str, Adapter]) -> Instance:
    """Add the adapters that came after the start of the server, as far as they are needed.

    Args:
        instance: Of a window.
        further: Those adapters.
    """
    needed = {name for gpu in instance.gpus for name in gpu.resident}
    for request in instance.requests:
        record = served_record(request)
        needed |= {request.adapter, *(() if record is None else record.resident)}
    added = [adapter for name, adapter in further.items() if name in needed]
    return replace(instance, adapters=(*instance.adapters, *added))


def _start(row: LogRow) -> float:
    return float("inf") if row.start_time is None else row.start_time.timestamp()


def _request(row: LogRow, zero: float, site: Instance) -> Request:
    steps = [option.steps for option in row.options]
    record: ServedRecord | None = None
    if row.status in SERVED and row.gpu is not None and row.steps_run in steps:
        record = ServedRecord(
            gpu=row.gpu,
            start_s=round(_start(row) - zero, 6),
            option=steps.index(row.steps_run),
            resident=row.resident,
        )
    return Request(
        id=row.id,
        arrival_s=round(_arrival(row) - zero, 6),
        adapter=row.model,
        demand=row.demand,
        options=row.options,
        weight=row.weight,
        complexity=row.complexity,
        deadline_s=row.deadline_s,
        reject_loss=loss_of_expiry(row.options, row.deadline_s, site),
        group=row.group if row.group is not None else msgspec.UNSET,
        extra={} if record is None else {KEY: msgspec.to_builtins(record)},
    )
