"""Adapters of an engine, packed for slots: kept in host memory, or read from their files each time.

Each is read once at first: to refuse what does not fit, and to know what slots must cover.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import nullcontext
from typing import Any

from pats_opt.errors import InputError
from pats_opt.execute.adapter_set import AdapterSet
from pats_opt.execute.engine.lora_file import Deltas, combined, read_lora
from pats_opt.execute.engine.slots import Layout
from pats_opt.execute.record import Tier
from pats_opt.execute.work import EngineSettings


class AdapterStore:
    """Adapters that can be loaded into slots; some may come and go while the engine runs.

    Args:
        pipeline: The model.
        settings: Of the engine: its adapters, whether they are kept in host memory, and the parts
            of a composition for which slots have room.
        dtype: Of the model.

    Attributes:
        layout: Layout of a slot.
        held: Packed adapters in host memory.

    Raises:
        InputError: An adapter does not fit the model.
    """

    def __init__(self, pipeline: Any, settings: EngineSettings, dtype: Any) -> None:
        self._pipeline, self._dtype = pipeline, dtype
        self._keep = settings.tier is Tier.HOST
        self._adapters = adapters = settings.adapters
        files = {name: read_lora(path, pipeline) for name, path in adapters.files.items()}
        deltas = {
            name: combined([(files[part.name], part.scale) for part in adapters.parts(name)])
            for name in adapters
        }
        largest = max([delta.rank for file in files.values() for delta in file.values()], default=0)
        self.layout = Layout(deltas.values(), settings.max_parts * largest)
        self.held = {name: self._pack(deltas[name]) for name in deltas} if self._keep else {}

    def _pack(self, deltas: Deltas) -> Any:
        import torch

        device = self._pipeline.unet.device
        on_cuda = device.type == "cuda"
        # A thread's current device is the first one, in whose context memory would be pinned.
        with torch.cuda.device(device) if on_cuda else nullcontext():
            return self.layout.pack(deltas, self._dtype, pin=on_cuda)

    def fetch(self, adapter: str) -> Any:
        """An adapter in host memory.

        Raises:
            InputError: It is not known (any more), or its file cannot be read.
        """
        held = self.held.get(adapter)
        return self._pack(self._read(self._adapters, adapter)) if held is None else held

    def _read(self, adapters: AdapterSet, name: str) -> Deltas:
        if name not in adapters:
            raise InputError(f"there is no adapter {name!r} any more")
        parts = [(adapters.files[part.name], part.scale) for part in adapters.parts(name)]
        return combined([(read_lora(path, self._pipeline), scale) for path, scale in parts])

    def change(self, added: AdapterSet, removed: Collection[str]) -> None:
        """Read further adapters and forget others; see :meth:`Engine.change_adapters`."""
        adapters = self._adapters.without(removed).joined(added)
        packed = {}
        for name in added:
            deltas = self._read(adapters, name)
            self.layout.refuse(name, deltas)
            packed[name] = self._pack(deltas)
        self._adapters = adapters
        for name in removed:
            self.held.pop(name, None)
        if self._keep:
            self.held.update(packed)

    def clear(self) -> None:
        """Let go of the copies in host memory."""
        self.held.clear()
