"""The profile of measurements: its figures with their sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import tomli_w

from pats_opt.errors import InputError, PatsError
from pats_opt.generate.config import as_table, parse_toml
from pats_opt.generate.profile import Loading, LoadTime, MemoryModel, Profile, load
from pats_opt.profiling import figures
from pats_opt.profiling.measurements import EngineInfo, MeasuredSwitch, Measurements, Place
from pats_opt.profiling.plan import WARM_STEPS, ProfilingPlan
from pats_opt.wording import counted, number, percent

#: Tiers of a profile, the default one first.
TIERS: tuple[Place, ...] = ("host", "disk")


_BESIDE_SOURCE = (
    "measured: a single image with loads one after another beside all of it; medians of the loads, "
    "of the share of them in which the batch ran, and of the steps beside them by the steps alone"
)


class IncompleteError(PatsError):
    """Too little was measured for a profile."""

    exit_code = 4


def make_profile(
    data: Measurements,
    plan: ProfilingPlan,
    *,
    name: str,
    host_gib: float,
    memory_from: Profile | None = None,
    missing: Sequence[str] = (),
) -> Profile:
    """Make a profile of measurements.

    Args:
        data: The measurements.
        plan: Their plan.
        name: The profile's name.
        host_gib: Memory of the machine: the capacity of a device that does not report its own.
        memory_from: A profile whose memory figures replace missing ones.
        missing: Names of the parts of the plan that were not measured.

    Raises:
        IncompleteError: A figure that every profile needs was not measured.
    """
    steps = figures.steps(data)
    by_place: dict[Place, list[MeasuredSwitch]] = {
        place: [switch for switch in data.switches if switch.place == place]
        for place in (*TIERS, "resident")
    }
    activations = by_place["resident"]
    activate_s = figures.load_time(activations).median if activations else 0.0
    # PROBLEM.md section 5, rule 4: activating takes no extra time after a load.
    tiers: dict[str, LoadTime] = {
        tier: figures.load_time(by_place[tier], activate_s) for tier in TIERS if by_place[tier]
    }
    memory = _memory(data, plan, host_gib, memory_from)
    if 1 not in steps.medians or not tiers or memory is None:
        raise IncompleteError(_shortage(data, plan, steps, tiers, memory is None))
    model, memory_source = memory
    overheads = figures.overheads(data)
    asked, found = data.asked, data.found
    assert found is not None, "nothing is measured without an engine"
    shrunk = f", widths and heights divided by {asked.shrink}" if asked.shrink > 1 else ""
    return Profile(
        name=name,
        device=found.device_name,
        about=f"{asked.model}, {asked.dtype}, as measured by pats-opt profile{shrunk}.",
        date=data.begun[:10],
        tick_s=figures.tick_s(steps.medians[1]),
        step_s=steps.step_s,
        overhead_s=overheads.overhead_s,
        memory=msgspec.structs.replace(
            _within_table(model, steps), adapters=figures.adapter_memory(data)
        ),
        load=Loading(
            tier=next(iter(tiers)),
            tiers=tiers,
            activate_s=activate_s,
            beside=figures.beside(data),
        ),
        sources={
            "setup": _setup(data),
            "step_s": _step_source(steps, plan),
            "overhead_s": _overhead_source(overheads),
            "memory": memory_source,
            "adapters": _adapters_source(found),
            "load": _load_source(data, by_place),
            **({"beside": _BESIDE_SOURCE} if data.beside else {}),
            "tick_s": "at most 2 % of a batch of 20 steps of one image",
            **({"missing": "; ".join(missing)} if missing else {}),
        },
    )


def profile_toml(profile: Profile) -> str:
    """Write a profile as TOML."""
    document: dict[str, Any] = {"format": profile.format, "version": profile.version}
    document |= msgspec.to_builtins(profile)
    text = tomli_w.dumps(document)
    assert as_table(parse_toml(text.encode()), Profile) == profile, "it reads back as it was"
    return text


def _shortage(
    data: Measurements,
    plan: ProfilingPlan,
    steps: figures.StepFit,
    tiers: dict[str, LoadTime],
    no_memory: bool,
) -> str:
    """Message that names the missing figures."""
    names = []
    if 1 not in steps.medians:
        failed = next((f" ({b.error})" for b in data.batches if b.n == 1 and b.error), "")
        names.append(f"the steps of a single image{failed}")
    if not tiers:
        names.append("loading adapters")
    if no_memory:
        width, height = plan.reference
        names.append(f"memory at {width}x{height}")
    return (
        f"not enough was measured for a profile: {' and '.join(names)} missing; what is done is "
        "kept, and the same command goes on from there"
    )


def _within_table(memory: MemoryModel, steps: figures.StepFit) -> MemoryModel:
    """Bound the largest batch by that of a table of step times."""
    table = steps.step_s.table
    if table is msgspec.UNSET or (memory.max_batch or 0) <= len(table):
        return memory
    return msgspec.structs.replace(memory, max_batch=len(table))


def _memory(
    data: Measurements, plan: ProfilingPlan, host_gib: float, other: Profile | None
) -> tuple[MemoryModel, str] | None:
    """Memory model and its source; None where the device reports memory but none was measured."""
    model, asked = figures.memory(data, plan.sizes), data.asked
    if model is not None:
        whole = data.found.memory_gib if data.found is not None else None
        bound = "a bound of" if asked.memory_gib else "all of it, the driver's share included:"
        lowered = ""
        if whole is not None and model.capacity_gib < whole - 1e-3:
            lowered = (
                f", lowered to {model.capacity_gib:g} so that no batch that did not fit is let in"
            )
        return model, (
            f"measured: peak of allocated memory by batch size ({_ends(data, plan)}), less "
            f"{asked.slots} slots of {model.adapter_gib:g} GiB; capacity: {bound} {whole:g} GiB"
            f"{lowered}"
        )
    if other is not None:
        model = msgspec.structs.replace(other.memory, adapter_gib=figures.slot_gib(data))
        return model, (
            f"not measured on this device: the figures of {other.name}; adapter_gib is what a load "
            "copied"
        )
    largest = max((b.n for b in data.batches if b.fits), default=0)
    if not largest or data.found is None or data.found.memory_gib is not None:
        return None
    return (
        MemoryModel(
            capacity_gib=asked.memory_gib or host_gib,
            adapter_gib=figures.slot_gib(data),
            base_gib=0.0,
            per_sample_gib=0.0,
            max_batch=largest,
        ),
        "not measured, as the device does not report it: the model and its images count 0 GiB, and "
        f"only the largest batch that was run ({largest}) bounds a batch; adapter_gib is what a "
        "load copied, capacity_gib the machine's memory or the bound that was set",
    )


def _ends(data: Measurements, plan: ProfilingPlan) -> str:
    """Largest measured batch at each size."""
    ends = []
    for size in plan.sizes:
        good, bad = max(figures.peaks(data, size), default=0), figures.too_large(data, size)
        end = "no more tried" if bad is None else f"{bad} did not"
        ends.append(f"{size[0]}x{size[1]}: {good} fit, {end}")
    return "; ".join(ends)


def _setup(data: Measurements) -> str:
    asked, found = data.asked, data.found
    assert found is not None
    versions = ", ".join(f"{name} {value}" for name, value in found.versions.items())
    threads = "" if asked.threads is None else f", threads: {asked.threads}"
    return (
        f"{found.device_name}{threads}; {asked.model}, {asked.dtype}, guidance {asked.guidance:g}, "
        f"{found.scheduler}; {versions}; {data.begun}, {data.seconds:.0f} s in "
        + counted(data.sittings, "session")
    )


def _step_source(steps: figures.StepFit, plan: ProfilingPlan) -> str:
    width, height = plan.reference
    medians = ", ".join(f"{n}: {number(t)}" for n, t in steps.medians.items())
    source = (
        f"measured at {width}x{height}: medians of {steps.counted} steps in all, the first "
        f"{WARM_STEPS} of a batch not counted; seconds by batch size {medians}; "
    )
    if steps.affine:
        return source + f"line of least relative error, off by at most {percent(steps.error)}"
    if len(steps.medians) == 1:
        return source + "only one batch size"
    return source + (
        f"as a table, since a line is off by up to {percent(steps.error)}; sizes between the "
        "measured ones are interpolated"
    )


def _overhead_source(overheads: figures.OverheadFit) -> str:
    return (
        f"measured: encoding {number(overheads.encode_s)} s and decoding "
        f"{number(overheads.decode_s)} s for one image, their sum as a line over the batch size "
        f"(off by at most {percent(overheads.error)}); not counted: saving a PNG "
        f"{number(overheads.save_s)} s, as images are saved beside the GPU's work, and "
        f"{number(overheads.rest_s)} s of a batch outside all of these"
    )


def _adapters_source(found: EngineInfo) -> str:
    return (
        "weights_gib: counted in the files; slot_gib: copied by a load, each adapter padded to "
        f"rank {found.rank} and to the layers of all; formula_gib: 2 x rank x hidden x layers x "
        "bytes, with the most common width of the adapted matrices as hidden"
    )


def _load_source(data: Measurements, by_place: dict[Place, list[MeasuredSwitch]]) -> str:
    ranks = sorted({adapter.rank for adapter in data.asked.adapters})
    listed = ", ".join(map(str, ranks))
    parts = [f"measured with {len(data.asked.adapters)} adapters of rank {listed}"]
    for place, switches in by_place.items():
        if switches:
            parts.append(f"{place}: median and 5 % and 95 % quantiles of {len(switches)} switches")
        else:
            parts.append(f"{place}: not measured")
    parts.append("a load's activation (the median of resident) is counted with it")
    parts.append("disk: the system was asked to drop the file from its cache before each")
    return "; ".join(parts)


def read_memory_from(name: str | None) -> Profile | None:
    """Load the profile that ``--memory-from`` names.

    Raises:
        InputError: there is none.
    """
    try:
        return None if name is None else load(name)
    except InputError as error:
        raise InputError(error.problem, place="--memory-from", hint=error.hint) from None
