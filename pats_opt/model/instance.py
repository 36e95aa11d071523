"""The instance document (PROBLEM.md section 3) as immutable typed data.

One definition serves the reader, the writer and the JSON Schema: the field types below carry the
ranges, and :func:`validate` adds what a schema cannot say (unique ids, declared adapters, residents
that fit). Units are in the names: ``_s`` seconds, ``_gib`` GiB; prices are loss per second.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from pats_opt.display import Displayable
from pats_opt.errors import InputError, one_line
from pats_opt.model.lookup import cache_lookup
from pats_opt.model.parsing import convert
from pats_opt.nearest import meant
from pats_opt.wording import counted

#: Largest number of seconds, GiB or loss in a document (30 years, a billion GiB).
LARGEST = 1e9

Seconds = Annotated[float, Meta(ge=0, le=LARGEST)]
Amount = Annotated[float, Meta(ge=0, le=LARGEST)]
Price = Annotated[float, Meta(ge=0, le=LARGEST)]
Id = Annotated[str, Meta(min_length=1, max_length=512)]
Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Extra = dict[str, Any]


class Document(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, gc=False):
    """Base of every object in a file: immutable, strict about keys, with a free ``extra``.

    Documents hold no cycles, so the garbage collector need not walk them (``gc``).
    """

    extra: Extra | msgspec.UnsetType = msgspec.UNSET


class Gpu(Document, frozen=True, kw_only=True):
    """One GPU: its capacity of each named resource, and the adapters resident at tick 0."""

    id: Id
    capacity: dict[str, Amount]
    resident: tuple[Id, ...] = ()


class Adapter(Document, frozen=True, kw_only=True):
    """One LoRA adapter (or the bare model): memory while resident, seconds to make it so."""

    id: Id
    vram_gib: Amount
    load_s: Seconds


class Transition(Document, frozen=True, kw_only=True):
    """``load_s`` for one transition; ``source`` (``from`` in the file) is the adapter before."""

    source: Id | None = msgspec.field(name="from")
    target: Id = msgspec.field(name="to")
    load_s: Seconds


class Overlap(Document, frozen=True, kw_only=True):
    """Loads beside serving (PROBLEM.md section 5a): the most loads in progress on a GPU."""

    channels: Count


class Switching(Document, frozen=True, kw_only=True):
    """The cache of resident adapters and what changing it costs, in seconds and in loss.

    Without ``overlap`` a GPU serves nobody while it loads.
    """

    max_resident: Count
    max_per_batch: Count = 1
    activate_s: Seconds = 0.0
    price_per_s: Price
    pairs: tuple[Transition, ...] = ()
    overlap: Overlap | msgspec.UnsetType | None = msgspec.UNSET


class StepTime(Document, frozen=True, kw_only=True):
    """Seconds per step of a batch of n: ``base + per_sample * n``, or ``table[n - 1]``."""

    base: Seconds | msgspec.UnsetType = msgspec.UNSET
    per_sample: Seconds | msgspec.UnsetType = msgspec.UNSET
    table: Annotated[tuple[Seconds, ...], Meta(min_length=1)] | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        affine = [self.base is not msgspec.UNSET, self.per_sample is not msgspec.UNSET]
        if (self.table is not msgspec.UNSET) == any(affine) or any(affine) != all(affine):
            raise ValueError("needs either both 'base' and 'per_sample', or 'table' alone")

    def __call__(self, n: int) -> float:
        """Seconds of one denoising step with ``n`` samples in the batch."""
        if self.table is not msgspec.UNSET:
            return self.table[n - 1]
        assert isinstance(self.base, float)
        assert isinstance(self.per_sample, float)
        return self.base + self.per_sample * n


class Overhead(Document, frozen=True, kw_only=True):
    """Seconds a batch of n spends on encode, decode and save: ``base + per_sample * n``."""

    base: Seconds
    per_sample: Seconds


class StepsService(Document, frozen=True, kw_only=True, tag="steps", tag_field="kind"):
    """Step-level batching: members leave when their own last step is done."""

    step_s: StepTime
    overhead_s: Seconds | Overhead = 0.0


class SlotService(Document, frozen=True, kw_only=True, tag="slot", tag_field="kind"):
    """Slotted model: a batch takes one tick, a switch none, and completion is the start.

    Of ``step_s`` only the length of a table counts; ``overhead_s`` is ignored.
    """

    step_s: StepTime | None = None
    overhead_s: Seconds | Overhead = 0.0


class Option(Document, frozen=True, kw_only=True):
    """One way to run a request: steps executed, quality, steps skipped by a cache."""

    steps: Annotated[int, Meta(ge=1, le=1_000_000)]
    quality: Annotated[float, Meta(ge=0, le=1e6)]
    skip: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class Request(Document, frozen=True, kw_only=True):
    """One text-to-image request. ``reject_loss`` null means that it must be served.

    ``group`` names the user's request that this image belongs to. No solver or policy depends on
    it: it is for the metrics.
    """

    id: Id
    arrival_s: Seconds
    adapter: Id
    demand: dict[str, Amount]
    options: Annotated[tuple[Option, ...], Meta(min_length=1)]
    weight: Amount = 1.0
    complexity: Annotated[float, Meta(ge=0, le=1)] | None = None
    deadline_s: Seconds | None = None
    reject_loss: Amount | None = None
    prompt: str = ""
    negative_prompt: str = ""
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    width: Annotated[int, Meta(ge=1, le=65536)] = 1024
    height: Annotated[int, Meta(ge=1, le=65536)] = 1024
    group: Id | msgspec.UnsetType | None = msgspec.UNSET  # unset, it stays out of what is written


class Instance(Document, Displayable, frozen=True, kw_only=True, dict=True, gc=True):
    """One scheduling problem, built in code or read from a file."""

    format: Literal["pats-opt/instance"] = "pats-opt/instance"
    version: Literal[1] = 1
    name: str
    tick_s: Annotated[float, Meta(ge=1e-6, le=1e6)]
    base_vram_gib: Amount
    gpus: tuple[Gpu, ...]
    adapters: tuple[Adapter, ...]
    switching: Switching
    service: StepsService | SlotService
    latency_price_per_s: Price
    late_price: Price = 0.0
    horizon_ticks: Annotated[int, Meta(ge=0, le=10**15)] | None = None
    requests: tuple[Request, ...]

    @cached_property
    def sha256(self) -> str:
        """Digest that ties a schedule to this instance (PROBLEM.md section 4)."""
        compact = msgspec.json.encode(self, order="sorted")
        return digest(msgspec.json.decode(compact), compact)

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """One line in IPython, where ``repr`` would print every request."""
        sizes = [
            counted(len(self.requests), "request"),
            counted(len(self.adapters), "adapter"),
            counted(len(self.gpus), "GPU"),
        ]
        printer.text(one_line(f"Instance({self.name!r}, {', '.join(sizes)})"))


def quanta(amount: float) -> int:
    """An amount of a resource in whole billionths: sums of floats would make 0.1 + 0.2 > 0.3.

    Of the decimal number that a file shows: beyond some millions, a product of floats is off.
    """
    return int(Decimal(repr(float(amount))).scaleb(9).to_integral_value())


def digest(document: object, compact: bytes | None = None) -> str:
    """SHA-256 of a JSON document re-written with sorted keys, no spaces and UTF-8.

    Args:
        document: The document, as :func:`json.loads` gives it.
        compact: The same re-written by msgspec, if at hand: many times faster. msgspec and
            :mod:`json` write the same, except numbers below 0.0001 and exponents.
    """
    return hashlib.sha256(canonical(document, compact)).hexdigest()


def canonical(document: object, compact: bytes | None = None) -> bytes:
    """The text whose hash is the :func:`digest`."""
    if compact is not None and not _numbers_may_differ(compact):
        return compact
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def _numbers_may_differ(compact: bytes) -> bool:
    """Whether :func:`json.dumps` may write a number in it in another way."""
    if _EXPONENT.search(compact.translate(_ONE_DIGIT)):
        return True
    return b"0.0000" in compact and _TINY.search(compact) is not None


# A literal is found many times faster than a class of characters; these texts can be long.
_EXPONENT = re.compile(rb"0e-?0")
_ONE_DIGIT = bytes.maketrans(b"123456789", b"000000000")
_TINY = re.compile(rb"(?:^|[:,\[-])0\.0000")


def validate(instance: Instance) -> None:
    """Check ids, references, look-ups, residents at tick 0 and step times, which types cannot.

    Raises:
        InputError: The first error, with its place and a hint.
    """
    _unique("gpus", instance.gpus)
    _unique("adapters", instance.adapters)
    _unique("requests", instance.requests)
    for g, gpu in enumerate(instance.gpus):
        place = f"gpus[{g}]"
        _has_vram(gpu.capacity, f"{place}.capacity")
        _residents(instance, gpu, place)
    known = {adapter.id for adapter in instance.adapters}
    for r, request in enumerate(instance.requests):
        _declared(request.adapter, known, f"requests[{r}].adapter")
        if "vram_gib" not in request.demand:
            _has_vram(request.demand, f"requests[{r}].demand")
        if request.extra:
            cache_lookup(request.extra, f"requests[{r}]")
    _pairs(instance.switching, known)
    _overlap(instance)
    _step_time(instance)


def validate_made(instance: Instance) -> None:
    """Check an instance that was not read: its fields too, which otherwise their types check.

    Raises:
        InputError: As :func:`validate`.
    """
    try:
        msgspec.json.decode(msgspec.json.encode(instance), type=Instance)
    except msgspec.ValidationError:  # slower, but with the place and a hint
        convert(msgspec.to_builtins(instance), Instance)
        raise
    validate(instance)


def _unique(name: str, items: Sequence[Gpu | Adapter | Request]) -> None:
    places: dict[str, int] = {}
    for i, item in enumerate(items):
        first = places.setdefault(item.id, i)
        if first != i:
            raise InputError(
                f"id {item.id!r} is already used by {name}[{first}]",
                place=f"{name}[{i}].id",
                hint="give each its own id",
            )


def _declared(adapter: str, known: Collection[str], place: str) -> None:
    if adapter not in known:
        raise InputError(
            f"adapter {adapter!r} is not declared",
            place=place,
            hint=meant(adapter, known) or "add it to 'adapters' or correct the id",
        )


def _has_vram(resources: dict[str, float], place: str) -> None:
    if "vram_gib" not in resources:
        raise InputError("'vram_gib' is missing", place=place, hint="add it, in GiB (0 is allowed)")


def _residents(instance: Instance, gpu: Gpu, place: str) -> None:
    """The residents at tick 0 are declared, distinct, few enough, and fit the memory."""
    vram = {adapter.id: adapter.vram_gib for adapter in instance.adapters}
    for i, name in enumerate(gpu.resident):
        _declared(name, vram, f"{place}.resident[{i}]")
        if name in gpu.resident[:i]:
            raise InputError(
                f"adapter {name!r} is listed twice",
                place=f"{place}.resident[{i}]",
                hint="list declared adapters, each once",
            )
    most = instance.switching.max_resident
    if len(gpu.resident) > most:
        raise InputError(
            f"{len(gpu.resident)} residents where max_resident is {most}",
            place=f"{place}.resident",
            hint="list fewer residents or raise max_resident",
        )
    held = [instance.base_vram_gib, *(vram[name] for name in gpu.resident)]
    if gpu.resident and sum(map(quanta, held)) > quanta(gpu.capacity["vram_gib"]):
        raise InputError(
            f"base model and residents take {sum(held):g} GiB of {gpu.capacity['vram_gib']:g}",
            place=f"{place}.resident",
            hint="list fewer residents or correct the memory figures",
        )


def _pairs(switching: Switching, known: set[str]) -> None:
    if switching.pairs and switching.max_resident != 1:
        raise InputError(
            "pairs need max_resident 1", place="switching.pairs", hint="set max_resident to 1"
        )
    known_pairs: set[tuple[str | None, str]] = set()
    for i, pair in enumerate(switching.pairs):
        place = f"switching.pairs[{i}]"
        for key, name in (("from", pair.source), ("to", pair.target)):
            if name is not None:
                _declared(name, known, f"{place}.{key}")
        if pair.source == pair.target or (pair.source, pair.target) in known_pairs:
            problem = "leads nowhere" if pair.source == pair.target else "is given twice"
            raise InputError(
                f"the transition {pair.source!r} to {pair.target!r} {problem}",
                place=place,
                hint="give each transition between two different adapters once",
            )
        known_pairs.add((pair.source, pair.target))


def _overlap(instance: Instance) -> None:
    """Loads beside serving have no transitions and need time to run in."""
    if not instance.switching.overlap:
        return
    if instance.switching.pairs:
        raise InputError(
            "loads beside serving have no pairs",
            place="switching.pairs",
            hint="remove pairs, or set overlap to null",
        )
    if isinstance(instance.service, SlotService):
        raise InputError(
            "slot service has no loads beside serving",
            place="switching.overlap",
            hint="set overlap to null, or use service of kind 'steps'",
        )


def _step_time(instance: Instance) -> None:
    """A step takes time: a batch of zero ticks would let a GPU serve without end at one tick."""
    if isinstance(instance.service, SlotService):
        return
    step = instance.service.step_s
    shortest = min(step.table) if step.table is not msgspec.UNSET else step(1)
    if shortest <= 1e-9 * instance.tick_s:
        raise InputError(
            f"a step of {shortest:g} s takes no time on a tick of {instance.tick_s:g} s",
            place="service.step_s",
            hint="give the seconds a step takes, above 0",
        )
