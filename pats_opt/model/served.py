"""How a server served a request, as an instance made of its log keeps it in ``extra``."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.model.instance import Request

#: Key of the record in ``extra`` of a request.
KEY = "served"

#: Key of the scales of a request's adapters, by adapter, where the log that it is from has them.
SCALES = "adapter_scales"


class ServedRecord(Struct, frozen=True, kw_only=True):
    """The batch that a request was served in.

    Attributes:
        gpu: Id of its GPU.
        start_s: When it started, in seconds as ``arrival_s``; members of a batch have the same.
        option: Index of the option that was run.
        resident: Ids of the adapters that the GPU held.
    """

    gpu: str
    start_s: float
    option: int
    resident: tuple[str, ...]


def served_record(request: Request) -> ServedRecord | None:
    """Return how a request was served; None where it was not.

    Raises:
        InputError: The record is not as it should be.
    """
    found = request.extra.get(KEY) if isinstance(request.extra, dict) else None
    if found is None:
        return None
    try:
        return msgspec.convert(found, ServedRecord)
    except msgspec.ValidationError as error:
        raise InputError(
            f"request {request.id!r} has no right record of its serving ({error})",
            hint="make the instance of the log again, with gap-report --log",
        ) from None
