"""Memory of a device: how much there is, the most that was used, and attempts that may run out."""

from __future__ import annotations

import gc
from collections.abc import Callable

from msgspec import Struct

from pats_opt.errors import InputError, one_line


class DeviceMemory:
    """Memory of one device; not measured on a CPU.

    Args:
        device: A torch device's name.
        limit_gib: Use no more than this; None for all there is.

    Attributes:
        device_name: Such as ``NVIDIA A100-SXM4-80GB``, or the processor's.
        total_gib: What may be used, or None.

    Raises:
        InputError: A bound on a device that cannot be bound, or the device cannot be used.
    """

    def __init__(self, device: str, limit_gib: float | None) -> None:
        import torch

        try:
            self._device = torch.device(device)
        except RuntimeError:
            raise InputError(f"there is no device {device!r}", hint="use cpu or cuda:0") from None
        self._cuda = torch.cuda if self._device.type == "cuda" else None
        self.device_name, self.total_gib = _processor(), None
        if self._cuda is None:
            if limit_gib is not None:
                raise InputError("memory can be bound on CUDA only", hint="leave --memory out")
            return
        if not self._cuda.is_available():
            raise InputError("there is no CUDA device", hint="use --device cpu")
        if self._device.index is None:  # torch's functions do not all take it without
            self._device = torch.device("cuda", self._cuda.current_device())
        properties = self._cuda.get_device_properties(self._device)
        self.device_name = str(properties.name)
        self.total_gib = properties.total_memory / 2**30
        if limit_gib is not None:
            share = min(1.0, limit_gib / self.total_gib)
            self._cuda.set_per_process_memory_fraction(share, self._device)
            self.total_gib *= share

    def reset_peak(self) -> None:
        """Begin to measure the peak."""
        if self._cuda is not None:
            self._cuda.reset_peak_memory_stats(self._device)

    def peak_gib(self, unseen_gib: float = 0.0) -> float | None:
        """The most allocated since :meth:`reset_peak`, without the driver's own share.

        Args:
            unseen_gib: Memory in use at some time that the allocator does not count then.
        """
        if self._cuda is None:
            return None
        counted = float(self._cuda.max_memory_allocated(self._device)) / 2**30
        return max(counted, float(self._cuda.memory_allocated(self._device)) / 2**30 + unseen_gib)

    def give_back(self) -> None:
        """Return what is cached to the device."""
        gc.collect()
        if self._cuda is not None:
            self._cuda.empty_cache()


def _processor() -> str:
    """The processor's name, where the system has it."""
    import platform
    from pathlib import Path

    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


class Failure(Struct, frozen=True):
    """Why an attempt failed: in one line, and whether memory ran out."""

    reason: str
    out_of_memory: bool


def attempt(do: Callable[[], object]) -> Failure | None:
    """Do something; None where it went well.

    What to do about a failure is decided after this returns, as a traceback that is still handled
    holds every tensor of the failed call.
    """
    import torch

    try:
        do()
    except torch.OutOfMemoryError as error:
        return Failure(f"out of memory: {_first_line(error)}", out_of_memory=True)
    except Exception as error:  # whatever the model's code raises is this request's failure
        return Failure(f"{type(error).__name__}: {_first_line(error)}", out_of_memory=False)
    return None


def _first_line(error: Exception) -> str:
    return one_line((str(error).strip() or "no reason given").splitlines()[0])
