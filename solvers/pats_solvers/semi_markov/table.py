"""Table of the best decisions: the document that ``online-optimum`` reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.model.problem import Adapters, Job, JobOption, Site
from pats_solvers.semi_markov.decisions import GpuMode


class TableSite(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The site that decisions were made for, as far as they depend on it.

    Attributes:
        loads_s: Seconds to load each adapter, by its id.
        capacity: Amount of each limited resource of the GPU, in quanta.
        batches_s: Seconds of overhead and of a step, for each number of members.
        channels: Loads at a time beside serving; None where the GPU stops for loads.
    """

    tick_s: float
    slotted: bool
    latency_price_per_s: float
    switch_price_per_s: float
    max_resident: int
    max_per_batch: int
    activate_s: float
    base_vram: int
    loads_s: dict[str, float]
    capacity: dict[str, int]
    batches_s: tuple[tuple[float, float], ...]
    channels: int | None = None


#: Members up to which :class:`TableSite` states the times of batches.
MEMBERS = 16


def table_site(site: Site) -> TableSite:
    """Return what a table says of a site."""
    clock = site.clock
    sizes = range(1, (MEMBERS if clock.largest is None else min(MEMBERS, clock.largest)) + 1)
    amounts = zip(site.resources, site.gpus[0].capacity, strict=True)
    return TableSite(
        tick_s=site.tick_s,
        slotted=clock.slotted,
        latency_price_per_s=site.latency_price_per_s,
        switch_price_per_s=site.switch_price_per_s,
        max_resident=site.max_resident,
        max_per_batch=site.max_per_batch,
        activate_s=site.activate_s if site.max_resident > 1 else 0.0,
        base_vram=site.base_vram,
        loads_s=dict(zip(site.adapter_ids, site.load_s, strict=True)),
        capacity={name: amount for name, amount in amounts if amount is not None},
        batches_s=tuple([(clock.overhead_s(n), clock.step_s(n)) for n in sizes]),
        channels=site.channels,
    )


class TableKind(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kind of requests.

    Attributes:
        adapter: Id of their adapter.
        demand: What one takes of each resource that it needs, in quanta.
        options: Steps and quality of each option.
        weight: Their weight.
        rate_per_s: Expected arrivals per second.
        limit: Number waiting that counts; more are taken for as many.
    """

    adapter: str
    demand: dict[str, int]
    options: tuple[tuple[int, float], ...]
    weight: float
    rate_per_s: float
    limit: int


class TableDecision(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A batch with its switch, or a switch ahead of one; beside serving a batch, a load or both.

    Attributes:
        members: Number served of each kind and option, as (kind, option, count).
        resident: Adapters resident afterwards, one that is being loaded included.
    """

    members: tuple[tuple[int, int, int], ...]
    resident: tuple[str, ...]


class TableMode(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A GPU: its residents, those that a batch can use at once, whether it has switched ahead.

    Attributes:
        loading: Ticks until the load in progress beside serving ends.
        busy: Ticks until the batch in progress ends, which matters where loads run beside it.
        using: Adapters of that batch.
    """

    resident: tuple[str, ...]
    ready: tuple[str, ...]
    ahead: bool
    loading: int = 0
    busy: int = 0
    using: tuple[str, ...] = ()


class PolicyTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The best decision in each state.

    Attributes:
        site: The site it was made for.
        kinds: The kinds of requests.
        modes: States of the GPU.
        decisions: All that the policy decides anywhere.
        best: For each mode, the decision in each state of the queues (the counts of the kinds in
            mixed radix, the last kind fastest); -1 to wait.
        loss_per_s: Loss per second of the policy.
    """

    format: Literal["pats-opt/policy-table"] = "pats-opt/policy-table"
    version: Literal[1] = 1
    site: TableSite
    kinds: tuple[TableKind, ...]
    modes: tuple[TableMode, ...]
    decisions: tuple[TableDecision, ...]
    best: tuple[tuple[int, ...], ...]
    loss_per_s: float

    def __post_init__(self) -> None:
        states = 1
        for kind in self.kinds:
            states *= kind.limit + 1
        if len(self.best) != len(self.modes) or any(len(row) != states for row in self.best):
            raise ValueError("'best' needs a row for each mode, a number for each queue state")
        last = len(self.decisions)
        if any(not -1 <= d < last for row in self.best for d in row):
            raise ValueError("'best' has a number that is no decision")


class SiteTable:
    """A table on a site: ids have become indices.

    Args:
        table: The table.
        site: A site like the one it was made for.

    Raises:
        InputError: The site is another one.
    """

    def __init__(self, table: PolicyTable, site: Site) -> None:
        _require_same(table, site)
        index = site.adapter_index
        self.modes = {
            GpuMode(
                resident=_set(mode.resident, index),
                ready=_set(mode.ready, index),
                ahead=mode.ahead,
                loading=mode.loading,
                busy=mode.busy,
                using=_set(mode.using, index),
            ): m
            for m, mode in enumerate(table.modes)
        }
        self.decisions = [(d.members, _set(d.resident, index)) for d in table.decisions]
        self.limits = [kind.limit for kind in table.kinds]
        self.best = table.best
        self.rate_per_s = sum(kind.rate_per_s for kind in table.kinds)
        self._kinds = {}
        for i, kind in enumerate(table.kinds):
            demand = tuple([kind.demand.get(name, 0) for name in site.resources])
            self._kinds[index[kind.adapter], demand, kind.options, kind.weight] = i

    def kind_of(self, job: Job) -> int | None:
        """Return the kind of a job; None where the table has none for it."""
        options = table_options(job.options)
        return self._kinds.get((job.adapter, job.demand, options, job.weight))


def _set(ids: Sequence[str], index: dict[str, int]) -> Adapters:
    return frozenset(index[name] for name in ids)


def _require_same(table: PolicyTable, site: Site) -> None:
    """Refuse another site, with the first difference."""
    hint = "make a table for this one: 'pats-opt limit RECIPE -o DIR'"
    if len(site.gpus) != 1:
        raise InputError("the table is for one GPU", hint=hint)
    here = table_site(site)
    missing = [a for kind in table.kinds if (a := kind.adapter) not in site.adapter_index]
    if missing:
        raise InputError(f"the instance lacks the table's adapter {missing[0]!r}", hint=hint)
    for name in TableSite.__struct_fields__:
        there, found = getattr(table.site, name), getattr(here, name)
        if name in ("loads_s", "capacity"):
            found = {key: found.get(key) for key in there}
        if there != found:
            raise InputError(f"the table was made for {name} {there}, not {found}", hint=hint)


def table_options(options: Sequence[JobOption]) -> tuple[tuple[int, float], ...]:
    """Return steps and quality of options."""
    return tuple([(o.steps, o.quality) for o in options])
