"""CUDA graphs of the UNet: one launch a step instead of some ten thousand.

SDXL's UNet with LoRA layers issues so many small kernels that at small batches a GPU waits for the
host. A captured call repeats them all at once, with the same results bit for bit. A shape is
captured at its second call, as the first one warms up. Shapes for which it does not pay, or the
memory is short, run as usual: a capture that fails leaves torch in a bad way, so it is not risked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

#: Shapes that are kept; each needs some memory of its own.
MOST = 64

#: Latents' elements above which a GPU is busy anyway: six images of 1024 x 1024, guided. (On an
#: H100 a graph was 4 times as fast for one such image, 1.4 for four, and no faster for eight.)
LARGEST = 2 * 6 * 4 * 128 * 128

#: Memory that SDXL's UNet needs, as a multiple of its latents' bytes, with a margin of two.
NEEDED = 2600


class CapturedGraph(Struct):
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
        self._captured: dict[object, CapturedGraph] = {}
        self._seen: set[object] = set()
        self._largest_gib = 0.0
        self._over = False

    def __call__(self, variant: str, *tensors: Any) -> Any:
        """One call of the UNet.

        Args:
            variant: What besides the tensors' shapes decides which kernels run.
            tensors: The UNet's inputs, the latents first.
        """
        key = (variant, *((tuple(t.shape), t.dtype) for t in tensors))
        found = self._captured.get(key)
        if found is None and key in self._seen and self._may_capture(tensors[0]):
            found = self._captured[key] = self._capture(tensors)
        if found is None:
            result = self._unet(*tensors)
            self._seen.add(key)
            return result
        for fixed, given in zip(found.inputs, tensors, strict=True):
            fixed.copy_(given)
        found.graph.replay()
        self._largest_gib = max(self._largest_gib, found.gib)
        return found.output.clone()

    def _may_capture(self, latents: Any) -> bool:
        """Whether a graph for these latents pays and certainly fits."""
        import torch

        if self._over or latents.numel() > LARGEST or len(self._captured) >= MOST:
            return False
        free, _ = torch.cuda.mem_get_info(latents.device)
        # What is cached is given back before a capture.
        free += torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return bool(free > NEEDED * latents.numel() * latents.element_size())

    def _capture(self, tensors: tuple[Any, ...]) -> CapturedGraph:
        """Capture a call."""
        import torch

        fixed = tuple(t.clone() for t in tensors)
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        graph = torch.cuda.CUDAGraph()
        # Other threads may use CUDA meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            output = self._unet(*fixed)
        gib = (torch.cuda.max_memory_allocated() - before) / 2**30
        return CapturedGraph(graph, fixed, output, gib)

    def take_peak_gib(self) -> float:
        """Memory of the largest graph that ran since this was last asked; the counters miss it."""
        largest, self._largest_gib = self._largest_gib, 0.0
        return largest

    def give_up(self) -> bool:
        """Let go of all graphs for good, as memory is short; whether there were any."""
        had = bool(self._captured)
        self._captured.clear()
        self._over = True
        return had
