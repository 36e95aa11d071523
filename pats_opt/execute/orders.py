"""Orders: an instance and its schedule in the terms of each GPU's worker."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import IntEnum

from msgspec import Struct
from msgspec.structs import replace

from pats_opt.execute.record import Pace
from pats_opt.execute.work import LoadOrder, Member, Order, Shape
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import GpuPlan, Schedule

#: Widths and heights are whole multiples of this, at least ``SMALLEST``.
GRAIN, SMALLEST = 8, 64


def shrunk(pixels: int, shrink: int) -> int:
    """A width or height of the image to make."""
    return max(SMALLEST, GRAIN * round(pixels / shrink / GRAIN))


class OrderBuilder:
    """Builds orders: adapters that have files, and image sizes as they are run.

    Args:
        problem: The instance on the grid.
        bare: Adapters that are the bare model.
        shrink: What widths and heights are divided by.

    Attributes:
        requests: The requests by id; a server adds and removes them.
    """

    def __init__(self, problem: Problem, bare: Collection[str], shrink: int) -> None:
        self.problem, self._bare, self._shrink = problem, bare, shrink
        self.requests = {r.id: r for r in problem.instance.requests}

    def member(self, name: str, option: int) -> Member:
        """A request with one of its options."""
        request = self.requests[name]
        chosen = request.options[option]
        return Member(
            id=name,
            option=option,
            adapter=None if request.adapter in self._bare else request.adapter,
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            seed=request.seed,
            width=shrunk(request.width, self._shrink),
            height=shrunk(request.height, self._shrink),
            steps=chosen.steps,
            skip=chosen.skip,
        )

    def adapters(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those that are files, in order."""
        return tuple(name for name in names if name not in self._bare)

    def resident(self, gpu: int) -> tuple[str, ...]:
        """Those that a GPU holds at tick 0."""
        return self.adapters(self.problem.instance.gpus[gpu].resident)

    def could_skip(self, names: Iterable[str]) -> Iterator[Member]:
        """Every way to run these requests that skips steps."""
        for name in names:
            for o, option in enumerate(self.requests[name].options):
                if option.skip:
                    yield self.member(name, o)


class GpuOrders(Struct, frozen=True, kw_only=True):
    """Orders of one GPU in a session.

    Attributes:
        resident: Adapters it holds at the start.
        orders: Its orders and loads beside serving, in the order in which they begin.
        slots: The most adapters it ever holds.
    """

    resident: tuple[str, ...]
    orders: tuple[Order | LoadOrder, ...]
    slots: int

    @property
    def batches(self) -> tuple[Order, ...]:
        """The orders that run a batch."""
        return tuple([o for o in self.orders if isinstance(o, Order) and o.members])


def gpu_orders(
    builder: OrderBuilder, schedule: Schedule, pace: Pace, made: Collection[str] = ()
) -> list[GpuOrders]:
    """The orders of each GPU that carry out a valid schedule.

    Args:
        builder: Of the schedule's instance.
        schedule: A schedule that the checker found valid.
        pace: Whether its times count.
        made: Requests that have their image already; batches of nobody else are left out.
    """
    plans = {plan.id: plan for plan in schedule.gpus}
    found = []
    for gpu in builder.problem.site.gpus:
        resident = builder.resident(gpu.index)
        plan = plans.get(gpu.id, GpuPlan(id=gpu.id, batches=()))
        if builder.problem.site.channels is None:
            found.append(_gpu_orders(resident, list(_orders(builder, plan, pace)), made))
        else:
            begun = [s.id for batch in plan.batches for s in batch.requests if s.id in made]
            found.append(_left(resident, list(_beside(builder, plan, pace)), begun))
    return found


def _beside(builder: OrderBuilder, plan: GpuPlan, pace: Pace) -> Iterator[Order | LoadOrder]:
    """The orders and loads of a plan with loads beside serving (PROBLEM.md section 5a).

    What a batch evicts at its switch's start is an order of its own, as loads may start between
    that and the batch.
    """
    tick_s = builder.problem.site.tick_s if pace is Pace.SCHEDULE else 0.0
    loads, end = plan.loads or (), math.inf  # of the batch before
    for tick, what, index in in_order(plan):
        if what is PlanEvent.LOAD:
            yield LoadOrder(
                index=index,
                adapter=next(iter(builder.adapters([loads[index].adapter])), None),
                evict=builder.adapters(loads[index].evict),
                after_batch=end <= tick,
                start_at_s=tick * tick_s,
            )
            continue
        batch = plan.batches[index]
        order = Order(index=index, load=(), evict=(), members=())
        if what is PlanEvent.SWITCH:
            yield replace(order, evict=builder.adapters(batch.evict), switch_at_s=tick * tick_s)
        else:
            members = tuple([builder.member(s.id, s.option) for s in batch.requests])
            yield replace(order, members=members, start_at_s=tick * tick_s)
            end = max([s.completion for s in batch.requests])


class PlanEvent(IntEnum):
    """Beginnings on a GPU with loads beside serving, in their order within a tick."""

    SWITCH = 0  #: the switch before a batch, with its evictions
    LOAD = 1
    START = 2  #: the batch


def in_order(plan: GpuPlan) -> list[tuple[int, PlanEvent, int]]:
    """The tick, kind and place in the file of all beginnings of a plan, in order."""
    found = [(load.start, PlanEvent.LOAD, i) for i, load in enumerate(plan.loads or ())]
    for i, batch in enumerate(plan.batches):
        found += [
            (batch.switch_start, PlanEvent.SWITCH, i),
            (batch.start, PlanEvent.START, i),
        ]
    return sorted(found)


def _left(
    resident: Sequence[str], orders: Sequence[Order | LoadOrder], made: Collection[str]
) -> GpuOrders:
    """The orders and loads that are left once some requests are made.

    They begin at the switch before the first batch that is left, with what is resident there
    loaded beforehand, and end with the last one.
    """
    left = [
        i
        for i, order in enumerate(orders)
        if isinstance(order, Order) and any(m.id not in made for m in order.members)
    ]
    first, last = 0, len(orders)
    if made:
        index = orders[left[0]].index if left else None
        first = next((i for i, o in enumerate(orders) if _of(o, index)), last)
        last = left[-1] + 1 if left else first
    held = dict.fromkeys(resident)  # an ordered set
    before, slots = tuple(held), len(held)
    found: list[Order | LoadOrder] = []
    for i, order in enumerate(orders):
        if i == first:
            before = tuple(held)
        for name in order.evict:
            del held[name]
        if isinstance(order, LoadOrder) and order.adapter is not None:
            held[order.adapter] = None
        slots = max(slots, len(held))
        if not first <= i < last:
            continue
        if isinstance(order, Order) and order.members:
            members = tuple([m for m in order.members if m.id not in made])
            if members:
                count = len(order.members) - len(members)
                found.append(replace(order, members=members, made=count))
        elif isinstance(order, LoadOrder) or order.evict:
            found.append(order)
    return GpuOrders(resident=before, orders=tuple(found), slots=slots)


def _of(order: Order | LoadOrder, index: int | None) -> bool:
    """Whether an order is of the batch of this index."""
    return isinstance(order, Order) and order.index == index


def _orders(builder: OrderBuilder, plan: GpuPlan, pace: Pace) -> Iterator[Order]:
    """The orders of a whole plan; batches are numbered as the file lists them."""
    tick_s = builder.problem.site.tick_s if pace is Pace.SCHEDULE else 0.0
    for index, batch in sorted(enumerate(plan.batches), key=lambda pair: pair[1].start):
        yield Order(
            index=index,
            load=builder.adapters(batch.load),
            evict=builder.adapters(batch.evict),
            members=tuple(builder.member(s.id, s.option) for s in batch.requests),
            switch_at_s=batch.switch_start * tick_s,
            start_at_s=batch.start * tick_s,
        )


def _gpu_orders(
    resident: Sequence[str], orders: Sequence[Order], made: Collection[str]
) -> GpuOrders:
    """The orders that are left, each with the switch from what the one before leaves resident."""
    held = dict.fromkeys(resident)  # an ordered set
    left: list[Order] = []
    first: tuple[str, ...] | None = None
    slots = len(held)
    before = tuple(held)  # what the GPU holds in this session
    for order in orders:
        was = tuple(held)
        for name in order.evict:
            del held[name]
        held.update(dict.fromkeys(order.load))
        slots = max(slots, len(held))
        members = tuple(m for m in order.members if m.id not in made)
        if not members:
            continue
        if first is None:
            first = before = was
        left.append(
            replace(
                order,
                load=tuple(name for name in held if name not in before),
                evict=tuple(name for name in before if name not in held),
                members=members,
                made=len(order.members) - len(members),
            )
        )
        before = tuple(held)
    return GpuOrders(
        resident=tuple(held) if first is None else first, orders=tuple(left), slots=slots
    )


def shapes(members: Sequence[Member]) -> set[Shape]:
    """Shapes of a batch in the UNet, from its first step to its last, as members leave."""
    found = set()
    for width, height in {(m.width, m.height) for m in members}:
        steps = sorted(m.steps for m in members if (m.width, m.height) == (width, height))
        for done, last in enumerate(steps):
            if done == 0 or last > steps[done - 1]:
                found.add(Shape(width, height, len(steps) - done))
    return found
