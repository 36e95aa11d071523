"""How long what a GPU was given to do has taken, once it is idle again."""

from __future__ import annotations

from typing import Generic, TypeVar

from pats_opt.core.policy import GpuState

Note = TypeVar("Note")


class Stopwatch(Generic[Note]):
    """Measures what a live server would: from a decision's tick to the one when the GPU is idle."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[int, Note]] = {}

    def start(self, gpu: int, tick: int, note: Note) -> None:
        """A batch was started at ``tick``, its switch first; ``note`` says what to remember."""
        self._running[gpu] = tick, note

    def read(self, gpu: GpuState) -> tuple[int, Note] | None:
        """Of an idle GPU: the ticks its last batch took, switch included, and the note, once."""
        began = self._running.pop(gpu.index, None)
        return None if began is None else (gpu.free_at - began[0], began[1])
