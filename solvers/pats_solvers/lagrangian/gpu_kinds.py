"""Kinds of GPUs: those of equal capacity share their prices."""

from __future__ import annotations

from dataclasses import dataclass

from pats_opt.model.problem import Problem


@dataclass(frozen=True, slots=True)
class GpuKind:
    """GPUs of equal capacity: their indices, and how many adapters each can hold."""

    gpus: tuple[int, ...]
    places: int


def gpu_kinds(problem: Problem) -> list[GpuKind]:
    """GPUs by capacity."""
    site = problem.site
    found: dict[tuple[int | None, ...], list[int]] = {}
    for gpu in site.gpus:
        found.setdefault(gpu.capacity, []).append(gpu.index)
    return [GpuKind(tuple(gpus), _places(problem, gpus[0])) for gpus in found.values()]


def _places(problem: Problem, gpu: int) -> int:
    """Adapters that can be resident on a GPU at once."""
    site = problem.site
    left = site.room(gpu, frozenset())[0]
    if left is None:
        return site.max_resident
    count = 0
    for vram in sorted(site.adapter_vram)[: site.max_resident]:
        left -= vram
        if left < 0:
            break
        count += 1
    return count
