"""CUDA graphs of the UNet: one launch a step instead of some ten thousand.

SDXL's UNet with LoRA layers issues so many small kernels that at small batches a GPU waits for the
host. A captured call repeats them all at once, with the same results bit for bit. A shape is
captured at its second call, as the first one warms up; shapes that cannot be captured run as usual.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

#: Shapes that are kept; each needs some memory of its own.
MOST = 64


class Captured(Struct):
    """A captured call: its fixed inputs, its output, and the memory it takes while it runs."""

    graph: Any
    inputs: tuple[Any, ...]
    output: Any
    gib: float


class Graphs:
    """Calls a UNet, through a graph where one has been captured.

    All graphs share one pool of memory: only one runs at a time, and its output is copied out.

    Args:
        unet: ``unet(inputs, times, embeds, pooled, time_ids)``, from tensors to a tensor.
    """

    def __init__(self, unet: Callable[..., Any]) -> None:
        import torch

        self._unet = unet
        self._pool = torch.cuda.graph_pool_handle()
        self._captured: dict[object, Captured] = {}
        self._seen: set[object] = set()
        self._refused: set[object] = set()
        self._largest_gib = 0.0

    def __call__(self, variant: str, *tensors: Any) -> Any:
        """One call of the UNet.

        Args:
            variant: What besides the tensors' shapes decides which kernels run.
            tensors: The UNet's inputs.
        """
        key = (variant, *((tuple(t.shape), t.dtype) for t in tensors))
        found = self._captured.get(key)
        if found is None and key in self._seen - self._refused and len(self._captured) < MOST:
            found = self._capture(key, tensors)
        if found is None:
            result = self._unet(*tensors)
            self._seen.add(key)
            return result
        for fixed, given in zip(found.inputs, tensors, strict=True):
            fixed.copy_(given)
        found.graph.replay()
        self._largest_gib = max(self._largest_gib, found.gib)
        return found.output.clone()

    def _capture(self, key: object, tensors: tuple[Any, ...]) -> Captured | None:
        """Capture a call; None, and never again for this shape, where memory does not allow it."""
        import torch

        fixed = tuple(t.clone() for t in tensors)
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may use CUDA meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                output = self._unet(*fixed)
        except torch.OutOfMemoryError:
            self._refused.add(key)
            return None
        gib = (torch.cuda.max_memory_allocated() - before) / 2**30
        self._captured[key] = Captured(graph, fixed, output, gib)
        return self._captured[key]

    def take_peak_gib(self) -> float:
        """Memory of the largest graph that ran since this was last asked; the counters miss it."""
        largest, self._largest_gib = self._largest_gib, 0.0
        return largest

    def clear(self) -> None:
        """Give up all graphs and their memory."""
        self._captured.clear()
        self._seen.clear()
