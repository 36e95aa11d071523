"""An instance put together in Python, part by part: ``pats_opt.Model``.

Figures that are not given are those of a service profile: step times, memory, load times, ticks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from msgspec import UNSET
from msgspec.structs import replace

from pats_opt.errors import InputError
from pats_opt.generate import profile as profiles
from pats_opt.generate.recipe import ServiceSettings
from pats_opt.model.instance import (
    Adapter,
    Gpu,
    Instance,
    Option,
    Overhead,
    Overlap,
    Request,
    SlotService,
    StepsService,
    StepTime,
    Switching,
    Transition,
    validate_made,
)
from pats_opt.nearest import choose

#: Columns of a frame of requests, as the arguments of :meth:`Model.add_request`.
COLUMNS = (
    *("id", "arrival_s", "adapter", "steps", "quality", "weight", "deadline_s", "reject_loss"),
    *("complexity", "prompt", "negative_prompt", "seed", "width", "height", "group"),
)

#: Fields of a request that are arguments of their own in :meth:`Model.add_request`, or follow.
NAMED = {"id", "arrival_s", "adapter", "demand", "options", "width", "height", "group"}


class Model:
    """An instance under construction; :meth:`instance` returns the finished one.

    Methods that add something return the model, so that calls can be chained::

        model = pats_opt.Model(profile="a100-40g").add_gpu().add_adapter("ink")
        model.add_request(adapter="ink", steps={20: 0.95, 30: 1.0})
        result = pats_opt.solve(model.instance())
    """

    def __init__(
        self,
        name: str = "model",
        *,
        profile: str = "documents",
        tick_s: float | None = None,
        step_s: StepTime | float | None = None,
        overhead_s: Overhead | float | None = None,
        slotted: bool = False,
        base_vram_gib: float | None = None,
        max_resident: int = 1,
        max_per_batch: int = 1,
        activate_s: float | None = None,
        load_channels: int | None = None,
        switch_price_per_s: float = 0.5,
        latency_price_per_s: float = 0.05,
        late_price: float = 0.0,
        horizon_ticks: int | None = None,
    ) -> None:
        """Start a model without GPUs, adapters and requests.

        Args:
            name: The instance's name.
            profile: Service profile, a name or a TOML file, of every figure that is None.
            tick_s: Seconds per tick.
            step_s: Seconds per step: one number for any batch size, or a :class:`StepTime`.
            overhead_s: Seconds per batch besides its steps.
            slotted: Whether the model is the documents' slotted one (a batch takes one tick).
            base_vram_gib: GiB of the base model on each GPU.
            max_resident: Adapters that a GPU can hold.
            max_per_batch: Adapters per batch.
            activate_s: Seconds to activate a resident adapter.
            load_channels: Loads at a time beside serving; None where a GPU serves nobody while it
                loads.
            switch_price_per_s: Loss per second of switching.
            latency_price_per_s: Loss per second from arrival to completion.
            late_price: Loss per missed deadline.
            horizon_ticks: Tick by which everything must end.

        Raises:
            InputError: There is no such profile.
        """
        if isinstance(step_s, int | float):
            step_s = StepTime(base=float(step_s), per_sample=0.0)
        settings = ServiceSettings(
            profile=profile, tick_s=tick_s, step_s=step_s, overhead_s=overhead_s
        )
        self._name, self._profile, self._slotted = name, profiles.of(settings), slotted
        base = self._profile.base_vram_gib
        self._base_vram_gib = base if base_vram_gib is None else base_vram_gib
        self._switching = Switching(
            max_resident=max_resident,
            max_per_batch=max_per_batch,
            activate_s=self._profile.load.activate_s if activate_s is None else activate_s,
            price_per_s=switch_price_per_s,
            overlap=UNSET if load_channels is None else Overlap(channels=load_channels),
        )
        self._latency_price_per_s, self._late_price = latency_price_per_s, late_price
        self._horizon_ticks = horizon_ticks
        self._gpus: list[Gpu] = []
        self._adapters: dict[str, Adapter] = {}
        self._pairs: list[Transition] = []
        self._requests: list[Request] = []

    def add_gpu(
        self,
        name: str | None = None,
        *,
        vram_gib: float | None = None,
        batch: int | None = None,
        resident: Sequence[str] = (),
        count: int = 1,
    ) -> Self:
        """Add GPUs.

        Args:
            name: Id; by default ``gpu-0``, ``gpu-1`` and so on.
            vram_gib: GiB of memory.
            batch: Largest batch.
            resident: Adapters loaded at tick 0.
            count: Number of equal GPUs.
        """
        if count != 1 and name is not None:
            raise InputError("several GPUs have one name", hint="leave out the name or the count")
        memory = self._profile.memory
        most = memory.max_batch if batch is None else batch
        capacity = {"vram_gib": memory.capacity_gib if vram_gib is None else vram_gib}
        if most is not None:
            capacity["batch"] = float(most)
        for _ in range(count):
            own = name or f"gpu-{len(self._gpus)}"
            self._gpus.append(Gpu(id=own, capacity=capacity, resident=tuple(resident)))
        return self

    def add_adapter(
        self, name: str, *, load_s: float | None = None, vram_gib: float | None = None
    ) -> Self:
        """Add an adapter.

        Args:
            name: Id.
            load_s: Seconds to load it; by default the median of the profile's tier.
            vram_gib: GiB of it on a GPU.
        """
        if name in self._adapters:
            raise InputError(f"adapter {name!r} is there already", hint="give each its own id")
        load = self._profile.load_time(None).median if load_s is None else load_s
        memory = self._profile.memory.adapter_gib if vram_gib is None else vram_gib
        self._adapters[name] = Adapter(id=name, load_s=load, vram_gib=memory)
        return self

    def add_transition(self, source: str | None, target: str, load_s: float) -> Self:
        """Give a transition its own load time; ``source`` None where no adapter is resident."""
        self._pairs.append(Transition(source=source, target=target, load_s=load_s))
        return self

    def add_request(
        self,
        name: str | None = None,
        *,
        adapter: str,
        arrival_s: float = 0.0,
        steps: int | Mapping[int, float] | Sequence[Option] = 30,
        quality: float = 1.0,
        width: int = 1024,
        height: int = 1024,
        demand: Mapping[str, float] | None = None,
        group: str | None = None,
        **others: Any,
    ) -> Self:
        """Add a request.

        Args:
            name: Id; by default ``r0``, ``r1`` and so on.
            adapter: Its adapter, which must be added before the instance is made.
            arrival_s: Seconds from the start.
            steps: Its step count, or several with the quality of each (``{20: 0.95, 30: 1.0}``), or
                options of :mod:`pats_opt.model.instance`.
            quality: Quality of the one step count.
            width: Pixels; with ``height`` they give the memory by the profile.
            height: Pixels.
            demand: Resources that it takes, in place of the profile's memory and one place in a
                batch.
            group: The user's request that this image belongs to.
            others: Any other field of a request: ``weight``, ``deadline_s``, ``reject_loss``,
                ``prompt``, ``negative_prompt``, ``seed``, ``complexity``.

        Raises:
            InputError: A field is unknown.
        """
        known = set(Request.__struct_fields__) - NAMED
        for field in others:
            if field not in known:
                raise InputError(f"a request has no {field!r}", hint=choose(field, sorted(known)))
        if isinstance(steps, Mapping):
            options = tuple(Option(steps=s, quality=q) for s, q in sorted(steps.items()))
        elif isinstance(steps, int):
            options = (Option(steps=steps, quality=quality),)
        else:
            options = tuple(steps)
        memory = self._profile.memory.request_gib(width, height)
        self._requests.append(
            Request(
                id=name or f"r{len(self._requests)}",
                arrival_s=arrival_s,
                adapter=adapter,
                demand=dict(demand or {"vram_gib": memory, "batch": 1.0}),
                options=options,
                width=width,
                height=height,
                group=UNSET if group is None else group,
                **others,
            )
        )
        return self

    def add_requests(self, frame: Any, **columns: str) -> Self:
        """Add a request for each row of a table, and the adapters that are not there yet.

        Args:
            frame: A frame of polars or pandas, or columns by name.
            columns: Names of its columns, by argument of :meth:`add_request` (``id`` for the name):
                ``arrival_s="t"``. By default they are named as the arguments.

        Raises:
            InputError: A column is missing or unknown.
        """
        table = _columns_of(frame)
        renamed = {table_name: argument for argument, table_name in columns.items()}
        for argument, column in columns.items():
            if column not in table:
                raise InputError(
                    f"the frame has no column {column!r} ({argument})",
                    hint=choose(column, list(table)),
                )
        found = {renamed.get(name, name): list(cells) for name, cells in table.items()}
        for name in found:
            if name not in COLUMNS:
                hint = f"{choose(name, list(COLUMNS))}; rename or drop the column"
                raise InputError(f"a request has no {name!r}", hint=hint)
        if "adapter" not in found:
            hint = "name it: add_requests(frame, adapter='lora')"
            raise InputError("the frame has no column of adapters", hint=hint)
        count = len(found["adapter"])
        if uneven := [name for name, cells in found.items() if len(cells) != count]:
            hint = "give every column one cell for each request"
            raise InputError(f"column {uneven[0]!r} is not as long as the others", hint=hint)
        names = found.pop("id", None)
        for i in range(count):
            cells = ((name, _cell(name, column[i])) for name, column in found.items())
            row = {name: cell for name, cell in cells if cell is not None}
            if "adapter" not in row:
                hint = "name it; 'base' will do for the model alone"
                raise InputError("the adapter is missing", place=f"row {i}", hint=hint)
            if row["adapter"] not in self._adapters:
                self.add_adapter(row["adapter"])
            self.add_request(None if names is None else str(names[i]), **row)
        return self

    def instance(self) -> Instance:
        """Return the instance.

        Raises:
            InputError: As for an instance that is read from a file.
        """
        made = Instance(
            name=self._name,
            tick_s=self._profile.tick_s,
            base_vram_gib=self._base_vram_gib,
            gpus=tuple(self._gpus),
            adapters=tuple(self._adapters.values()),
            switching=replace(self._switching, pairs=tuple(self._pairs)),
            service=(SlotService if self._slotted else StepsService)(
                step_s=self._profile.step_s, overhead_s=self._profile.overhead_s
            ),
            requests=tuple(self._requests),
            latency_price_per_s=self._latency_price_per_s,
            late_price=self._late_price,
            horizon_ticks=self._horizon_ticks,
        )
        validate_made(made)
        return made


def _columns_of(frame: Any) -> dict[str, list[Any]]:
    """Return the columns of a frame of polars or pandas, or of a mapping, as lists."""
    if isinstance(frame, Mapping):
        return {str(name): list(cells) for name, cells in frame.items()}
    if hasattr(frame, "to_dicts"):  # polars
        return {str(name): frame[name].to_list() for name in frame.columns}
    if hasattr(frame, "to_dict"):  # pandas
        return {str(name): cells for name, cells in frame.to_dict("list").items()}
    hint = "take a frame of polars or pandas, or a dict of columns"
    raise InputError(f"a {type(frame).__name__} is no table of requests", hint=hint)


def _cell(name: str, value: Any) -> Any:
    """Return a cell, None where it is missing; pandas has whole numbers as floats beside gaps."""
    if value is None or value != value:  # noqa: PLR0124 (NaN)
        return None
    whole = name in ("steps", "seed", "width", "height")
    return int(value) if whole and isinstance(value, float) and value == int(value) else value
