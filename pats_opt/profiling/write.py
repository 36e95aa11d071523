"""The written profile: figures with their sources, read back before they are trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import tomli_w

from pats_opt.errors import InputError
from pats_opt.generate.config import as_table, parse_toml
from pats_opt.generate.profile import Loading, LoadTime, MemoryModel, Profile
from pats_opt.profiling import figures
from pats_opt.profiling.plan import WARM_STEPS, Plan
from pats_opt.profiling.record import Place, Raw, Switch
from pats_opt.profiling.sitting import IncompleteError
from pats_opt.wording import number, percent

#: Tiers of a profile, the one that runs use first.
TIERS: tuple[Place, ...] = ("host", "disk")


def make_profile(
    raw: Raw,
    plan: Plan,
    *,
    name: str,
    host_gib: float,
    memory_from: Profile | None = None,
    missing: Sequence[str] = (),
) -> Profile:
    """The profile of what was measured.

    Args:
        raw: The measurements.
        plan: What was to be measured.
        name: The profile's name.
        host_gib: Memory of the machine, the capacity of a device that does not tell its own.
        memory_from: A profile whose memory figures stand in where there are none.
        missing: Parts of the plan that were not measured, in words.

    Raises:
        IncompleteError: A figure that a profile cannot do without was not measured.
    """
    steps = figures.steps(raw)
    by_place = {place: _at(raw, place) for place in (*TIERS, "resident")}
    at_hand = by_place["resident"]
    resident = figures.load_time(at_hand).median if at_hand else 0.0
    # PROBLEM.md section 5, rule 4: activating costs nothing of its own where something is loaded.
    tiers: dict[str, LoadTime] = {
        tier: figures.load_time(by_place[tier], resident) for tier in TIERS if by_place[tier]
    }
    memory = _memory(raw, plan, host_gib, memory_from)
    if 1 not in steps.medians or not tiers or memory is None:
        raise IncompleteError(_holes(raw, plan, steps, tiers, memory is None))
    model, memory_source = memory
    overheads = figures.overheads(raw)
    asked, found = raw.asked, raw.found
    assert found is not None  # nothing is measured without an engine
    shrunk = f", widths and heights divided by {asked.shrink}" if asked.shrink > 1 else ""
    return Profile(
        name=name,
        device=found.device_name,
        about=f"{asked.model}, {asked.dtype}, as measured by pats-opt profile{shrunk}.",
        date=raw.begun[:10],
        tick_s=figures.tick_s(steps.medians[1]),
        step_s=steps.step_s,
        overhead_s=overheads.overhead_s,
        memory=_within_table(model, steps),
        load=Loading(tier=next(iter(tiers)), tiers=tiers, activate_s=resident),
        sources={
            "setup": _setup(raw),
            "step_s": _step_source(steps, plan),
            "overhead_s": _overhead_source(overheads),
            "memory": memory_source,
            "load": _load_source(raw, by_place),
            "tick_s": "four steps of one image, to two digits",
            **({"missing": "; ".join(missing)} if missing else {}),
        },
    )


def profile_toml(profile: Profile) -> str:
    """A profile as TOML.

    Raises:
        AssertionError: it does not read back as it was; never seen.
    """
    document: dict[str, Any] = {"format": profile.format, "version": profile.version}
    document |= msgspec.to_builtins(profile)
    text = tomli_w.dumps(document)
    assert as_table(parse_toml(text.encode()), Profile) == profile
    return text


def _at(raw: Raw, place: Place) -> list[Switch]:
    return [switch for switch in raw.switches if switch.place == place]


def _holes(
    raw: Raw, plan: Plan, steps: figures.Steps, tiers: dict[str, LoadTime], no_memory: bool
) -> str:
    """What a profile cannot do without, and was not measured."""
    holes = []
    if 1 not in steps.medians:
        failed = next((b.error for b in raw.batches if b.n == 1 and b.error), None)
        holes.append("the steps of a single image" + (f" ({failed})" if failed else ""))
    if not tiers:
        holes.append("loading adapters")
    if no_memory:
        width, height = plan.reference
        holes.append(f"memory at {width}x{height}")
    return (
        f"not enough was measured for a profile: {' and '.join(holes)} missing; what is done is "
        "kept, and the same command goes on from there"
    )


def _within_table(memory: MemoryModel, steps: figures.Steps) -> MemoryModel:
    """No larger batch than a table of step times has."""
    table = steps.step_s.table
    if table is msgspec.UNSET or (memory.max_batch or 0) <= len(table):
        return memory
    return msgspec.structs.replace(memory, max_batch=len(table))


def _memory(
    raw: Raw, plan: Plan, host_gib: float, other: Profile | None
) -> tuple[MemoryModel, str] | None:
    """The memory model, and where it comes from; None where the device tells, but was not asked."""
    model, asked = figures.memory(raw, plan.sizes), raw.asked
    if model is not None:
        whole = raw.found.memory_gib if raw.found is not None else None
        bound = "a bound of" if asked.memory_gib else "all of it, the driver's share included:"
        return model, (
            f"measured: peak of allocated memory by batch size ({_ends(raw, plan)}), less "
            f"{asked.slots} slots of {model.adapter_gib:g} GiB; capacity: {bound} {whole:g} GiB"
            + (
                f", lowered to {model.capacity_gib:g} so that no batch that did not fit is let in"
                if whole is not None and model.capacity_gib < whole - 1e-3
                else ""
            )
        )
    if other is not None:
        stands = msgspec.structs.replace(other.memory, adapter_gib=figures.slot_gib(raw))
        return stands, (
            f"not measured on this device: the figures of {other.name}; adapter_gib is what a load "
            "copied"
        )
    largest = max((b.n for b in raw.batches if b.fits), default=0)
    if not largest or raw.found is None or raw.found.memory_gib is not None:
        return None
    capacity = asked.memory_gib or host_gib
    return (
        MemoryModel(
            capacity_gib=capacity,
            adapter_gib=figures.slot_gib(raw),
            base_gib=0.0,
            per_sample_gib=0.0,
            max_batch=largest,
        ),
        "not measured, as the device does not tell: the model and its images count 0 GiB, and "
        f"only the largest batch that was run ({largest}) bounds a batch; adapter_gib is what a "
        "load copied, capacity_gib the machine's memory or the bound that was set",
    )


def _ends(raw: Raw, plan: Plan) -> str:
    """How far memory was measured at each size."""
    told = []
    for size in plan.sizes:
        good, bad = max(figures.peaks(raw, size), default=0), figures.too_large(raw, size)
        end = "no more tried" if bad is None else f"{bad} did not"
        told.append(f"{size[0]}x{size[1]}: {good} fit, {end}")
    return "; ".join(told)


def _setup(raw: Raw) -> str:
    asked, found = raw.asked, raw.found
    assert found is not None
    versions = ", ".join(f"{name} {value}" for name, value in found.versions.items())
    threads = "" if asked.threads is None else f", threads: {asked.threads}"
    return (
        f"{found.device_name}{threads}; {asked.model}, {asked.dtype}, guidance {asked.guidance:g}, "
        f"{found.scheduler}; {versions}; {raw.begun}, {raw.seconds:.0f} s in {raw.sittings} "
        f"sitting{'s' if raw.sittings > 1 else ''}"
    )


def _step_source(steps: figures.Steps, plan: Plan) -> str:
    width, height = plan.reference
    medians = ", ".join(f"{n}: {number(t)}" for n, t in steps.medians.items())
    told = (
        f"measured at {width}x{height}: medians of {steps.counted} steps in all, the first "
        f"{WARM_STEPS} of a batch not counted; seconds by batch size {medians}; "
    )
    if steps.affine:
        return told + f"line of least relative error, off by at most {percent(steps.error)}"
    if len(steps.medians) == 1:
        return told + "only one batch size"
    return told + (
        f"as a table, since a line is off by up to {percent(steps.error)}; sizes between the "
        "measured ones are interpolated"
    )


def _overhead_source(overheads: figures.Overheads) -> str:
    return (
        f"measured: encoding {number(overheads.encode_s)} s and decoding "
        f"{number(overheads.decode_s)} s for one image, their sum as a line over the batch size "
        f"(off by at most {percent(overheads.error)}); not counted: saving a PNG "
        f"{number(overheads.save_s)} s, as images are saved beside the GPU's work, and "
        f"{number(overheads.rest_s)} s of a batch outside all of these"
    )


def _load_source(raw: Raw, by_place: dict[Place, list[Switch]]) -> str:
    ranks = sorted({adapter.rank for adapter in raw.asked.adapters})
    told = [f"measured with {len(raw.asked.adapters)} adapters of rank {_list(ranks)}"]
    for place, switches in by_place.items():
        if switches:
            told.append(f"{place}: median and 5 % and 95 % quantiles of {len(switches)} switches")
        else:
            told.append(f"{place}: not measured")
    told.append("a load's activation (the median of resident) is counted with it")
    told.append("disk: the system was asked to drop the file from its cache before each")
    return "; ".join(told)


def _list(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))


def read_memory_from(name: str | None) -> Profile | None:
    """The profile that ``--memory-from`` names.

    Raises:
        InputError: there is none.
    """
    from pats_opt.generate.profile import load

    try:
        return None if name is None else load(name)
    except InputError as error:
        raise InputError(error.problem, place="--memory-from", hint=error.hint) from None
