"""Adapters in fixed slots: a load is one copy of memory, a change of adapter sets a few names.

Every slot is a peft adapter that covers all layers any adapter of the run changes, padded to the
largest rank, with its weights as views of one flat buffer. Host memory holds each adapter in the
same flat layout (pinned on CUDA), so that making it resident is a single copy and peft's slow
injection happens once, at the start. Padding is zeros: it adds nothing to the sums but may change
their order, so images with padding differ by rounding.

Slot names never contain one another, as peft's hot-swapping matches names by substring.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.execute.engine.lora_file import COMPONENTS, Deltas
from pats_opt.execute.engine.model import quiet

#: Name of the slot that batches run from where the active adapter is copied.
STAGE = "stage_"

#: An adapter, or None for the bare model, and how many rows of a batch use it.
Group = tuple[str | None, int]

#: Tensors of a flat buffer begin at multiples of this many elements, as fast kernels want it.
ALIGNMENT = 64


class SlotError(InputError):
    """An adapter does not fit the slots; those of an engine that is opened with it have room."""


class Layer(Struct, frozen=True):
    """A layer that the slots cover: where it is, and its two shapes at the padded rank."""

    component: str
    name: str
    down: tuple[int, ...]
    up: tuple[int, ...]


class Layout:
    """Where every layer's matrices lie in a flat buffer.

    Args:
        adapters: The adapters of a run.
        rank: Rank that slots have at least.
    """

    def __init__(self, adapters: Iterable[Deltas], rank: int = 0) -> None:
        shapes: dict[tuple[str, str], tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self.rank = rank
        for deltas in adapters:
            for key, delta in deltas.items():
                self.rank = max(self.rank, delta.rank)
                shapes[key] = tuple(delta.down.shape[1:]), tuple(delta.up.shape)
        self.layers = [
            Layer(component, name, (self.rank, *inputs), (outputs, self.rank, *kernel))
            for (component, name), (inputs, (outputs, _, *kernel)) in sorted(shapes.items())
        ]
        self.places: list[tuple[int, int]] = []
        self.size = 0
        for layer in self.layers:
            self.places.append((self._take(layer.down), self._take(layer.up)))

    def refuse(self, name: str, deltas: Deltas) -> None:
        """Refuse an adapter for which slots have no room.

        Raises:
            SlotError: Its rank is too large, or it changes a layer that slots do not cover.
        """
        covered = {(layer.component, layer.name) for layer in self.layers}
        strange = sorted(".".join(key) for key in deltas if key not in covered)
        rank = max(delta.rank for delta in deltas.values())
        if rank > self.rank:
            raise SlotError(f"adapter {name!r} has rank {rank}, and slots have {self.rank}")
        if strange:
            raise SlotError(f"adapter {name!r} changes {strange[0]}, which slots do not cover")

    def _take(self, shape: tuple[int, ...]) -> int:
        at = self.size
        self.size += -(-math.prod(shape) // ALIGNMENT) * ALIGNMENT
        return at

    def views(self, flat: Any) -> list[tuple[Any, Any]]:
        """The matrices of every layer as views of a flat buffer."""
        return [
            (
                flat[a : a + math.prod(layer.down)].view(layer.down),
                flat[b : b + math.prod(layer.up)].view(layer.up),
            )
            for layer, (a, b) in zip(self.layers, self.places, strict=True)
        ]

    def pack(self, deltas: Deltas, dtype: Any, *, pin: bool) -> Any:
        """An adapter in this layout, padded, in host memory: a flat tensor.

        Its scales are multiplied in, so that slots have none (alphas are mostly powers of two times
        the rank, for which that changes no bit).
        """
        import torch

        flat = torch.zeros(self.size, dtype=dtype, pin_memory=pin)
        for layer, (down, up) in zip(self.layers, self.views(flat), strict=True):
            delta = deltas.get((layer.component, layer.name))
            if delta is not None:
                down[: delta.rank].copy_(delta.down)
                up[:, : delta.rank].copy_(delta.up * delta.scale)
        return flat


class Slots:
    """The slots of one pipeline, and which of them are active.

    Args:
        pipeline: The diffusers pipeline; its UNet, and text encoders where an adapter changes them,
            get peft layers.
        layout: What the slots cover.
        count: How many.
        staged: Whether the UNet's active adapter is copied to one more slot, which all batches then
            use: a graph captured with it serves every adapter.
    """

    def __init__(self, pipeline: Any, layout: Layout, count: int, *, staged: bool = False) -> None:
        import torch

        self._names = [f"slot_{i}_" for i in range(count)]
        self._stage = STAGE if staged and count else None
        self._staged: str | None = None  # the adapter whose copy is there
        self._holding: dict[str, int] = {}
        self._filling: dict[str, int] = {}  # reserved, not ready to be used
        self._changing = threading.Lock()  # of the two, and of the staged copy
        parts: dict[str, dict[str, Any]] = {}
        for component in COMPONENTS:
            names = [layer.name for layer in layout.layers if layer.component == component]
            if names and count:
                slots = [*self._names, *([self._stage] if self._stage else [])]
                parts[component] = _inject(getattr(pipeline, component), names, slots, layout.rank)
        self._layers = [parts[x.component][x.name] for x in layout.layers] if count else []
        self._unet = list(parts.get("unet", {}).values())
        self._encoders = [m for c, part in parts.items() if c != "unet" for m in part.values()]
        device, dtype = pipeline.unet.device, pipeline.unet.dtype
        self._buffers = []
        for name in [*self._names, *([self._stage] if self._stage else [])]:
            flat = torch.zeros(layout.size, dtype=dtype, device=device)
            for module, (down, up) in zip(self._layers, layout.views(flat), strict=True):
                module.lora_A[name].weight.data = down
                module.lora_B[name].weight.data = up
            self._buffers.append(flat)
        self._hooks: list[Any] = []
        self._groups: tuple[tuple[str | None, int], ...] = ()
        self._active: dict[str, str | None] = {"unet": "?", "encoders": "?"}  # not known yet
        self._set("unet", self._unet, None)
        self._set("encoders", self._encoders, None)

    @property
    def resident(self) -> frozenset[str]:
        """Adapters that a slot holds."""
        return frozenset(self._holding)

    def put(self, adapter: str, packed: Any) -> None:
        """Make an adapter resident in a free slot; the copy may still be under way on a GPU.

        Args:
            adapter: Its id.
            packed: Its flat tensor, in host memory (:meth:`Layout.pack`).

        Raises:
            ValueError: It is resident already, or every slot is taken.
        """
        self.reserve(adapter)
        self._copy(adapter, packed)
        self._ready(adapter)

    def reserve(self, adapter: str) -> None:
        """Take a free slot for an adapter, which cannot be used before :meth:`fill`.

        Raises:
            ValueError: It is resident already, or every slot is taken.
        """
        with self._changing:
            held = {**self._holding, **self._filling}
            free = [i for i in range(len(self._names)) if i not in held.values()]
            if adapter in held or not free:
                reason = "is resident" if adapter in held else "finds no free slot"
                raise ValueError(f"adapter {adapter!r} {reason}")
            self._filling[adapter] = free[0]

    def fill(self, adapter: str, packed: Any, stream: Any) -> None:
        """Fill the slot that was reserved for an adapter, beside whatever the device does.

        Returns once the copy is done, so that all work handed to the device from now on sees it.
        Nothing that was handed over before uses the slot: the batch that last did has ended.

        Args:
            adapter: Its id.
            packed: Its flat tensor, in host memory.
            stream: A CUDA stream to copy on; None on a CPU.
        """
        import torch

        if stream is None:
            self._copy(adapter, packed)
        else:
            with torch.cuda.stream(stream):
                self._copy(adapter, packed)
                done = torch.cuda.Event(blocking=True)  # the waiting thread sleeps
                done.record(stream)
            # Buffer and host copy outlive this, so neither needs 'record_stream'.
            done.synchronize()
        self._ready(adapter)

    def _copy(self, adapter: str, packed: Any) -> None:
        self._buffers[self._filling[adapter]].copy_(packed, non_blocking=True)

    def _ready(self, adapter: str) -> None:
        with self._changing:
            self._holding[adapter] = self._filling.pop(adapter)

    def evict(self, adapter: str) -> None:
        """Free an adapter's slot; it keeps the memory, which the slots own for good.

        Raises:
            ValueError: It is not resident.
        """
        with self._changing:
            if self._holding.pop(adapter, None) is None:
                raise ValueError(f"adapter {adapter!r} is not resident")
            if self._staged == adapter:
                self._staged = None

    def use(self, groups: Sequence[Group]) -> None:
        """Say which adapters the UNet's next calls use, for which rows of the batch.

        One adapter for all rows runs through peft's layers as usual. For several, the layers run
        bare and hooks add each group's part: peft's own path for this indexes with lists, which
        makes the host wait for a GPU at every layer.

        Args:
            groups: Adapters (None for the bare model) and how many rows each has, in their order.
        """
        if len({adapter for adapter, _ in groups}) == 1:
            for hook in self._hooks:
                hook.remove()
            self._hooks = []
            self._use_one(groups[0][0])
            return
        self._groups = tuple((None if a is None else self._name(a), rows) for a, rows in groups)
        self._set("unet", self._unet, None)
        if not self._hooks:
            self._hooks = [module.register_forward_hook(self._add) for module in self._unet]

    def _use_one(self, adapter: str | None) -> None:
        if adapter is None or self._stage is None:
            self._set("unet", self._unet, None if adapter is None else self._name(adapter))
            return
        with self._changing:
            if self._staged != adapter:
                self._buffers[-1].copy_(self._buffers[self._slot(adapter)])
                self._staged = adapter
        self._set("unet", self._unet, self._stage)

    def _add(self, module: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Add each group's LoRA to its rows of a layer's output."""
        at = 0
        for name, rows in self._groups:
            if name is not None:
                mine = slice(at, at + rows)
                low = module.lora_A[name](inputs[0][mine])
                output[mine] += module.lora_B[name](low)
            at += rows

    def in_use(self, adapters: Sequence[str | None]) -> bool:
        """Whether using these adapters would change nothing."""
        if len(set(adapters)) > 1:
            return False
        adapter = adapters[0]
        if adapter is None or self._stage is None:
            name = None if adapter is None else self._name(adapter)
            return not self._hooks and self._active["unet"] == name
        return not self._hooks and self._staged == adapter and not self.bare

    @property
    def mixed(self) -> bool:
        """Whether the UNet's next calls use several adapters."""
        return bool(self._hooks)

    @property
    def bare(self) -> bool:
        """Whether peft's layers of the UNet add nothing."""
        return self._active["unet"] is None

    def use_in_encoders(self, adapter: str | None) -> None:
        """Make one adapter, or none, the text encoders' active one."""
        name = None if adapter is None else self._name(adapter)
        self._set("encoders", self._encoders, name)

    def _set(self, part: str, layers: Sequence[Any], name: str | None) -> None:
        if self._active[part] != name:
            for module in layers:
                # The attribute itself, as 'set_adapters' takes twenty times as long.
                module._active_adapter = [] if name is None else [name]
            self._active[part] = name

    def _name(self, adapter: str) -> str:
        return self._names[self._slot(adapter)]

    def _slot(self, adapter: str) -> int:
        slot = self._holding.get(adapter)
        if slot is None:
            # peft takes an unknown name for the bare model without a word.
            how = "is being loaded" if adapter in self._filling else "is not resident"
            raise ValueError(f"adapter {adapter!r} {how}")
        return slot


def _inject(model: Any, layers: Sequence[str], slots: Sequence[str], rank: int) -> dict[str, Any]:
    """Give a model peft layers with these adapters; the layers by their names."""
    import torch
    from peft import LoraConfig

    config = LoraConfig(
        r=rank, lora_alpha=rank, target_modules=list(layers), init_lora_weights=False
    )
    with quiet(), torch.random.fork_rng(devices=[]):
        for slot in slots:
            model.add_adapter(config, adapter_name=slot)
    model.requires_grad_(False).eval()
    wrapped = dict(model.named_modules())
    return {name: wrapped[name] for name in layers}
