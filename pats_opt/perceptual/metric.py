"""What a metric is, and how pictures become tensors."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Protocol


class Metric(Protocol):
    """Compares a picture with a reference of the same size.

    Attributes:
        name: Its name, as in :data:`pats_opt.perceptual.METRICS`.
        similarity: Whether equal pictures give 1; else they give 0.
        smallest: Pixels of the smaller side that it needs.
    """

    name: ClassVar[str]
    similarity: ClassVar[bool]
    smallest: ClassVar[int]

    def __init__(self, device: str, weights: str | None) -> None: ...

    @staticmethod
    def missing(weights: str | None) -> str | None:
        """Why it cannot be used here; None where it can."""
        ...

    def __call__(self, reference: Any, other: Any) -> float:
        """The score of two pictures (``PIL.Image``)."""
        ...


def folder_of(package: str) -> Path | None:
    """Where a package is installed, without importing it; None where it is not."""
    found = find_spec(package)
    places = list(found.submodule_search_locations or ()) if found is not None else []
    return Path(places[0]) if places else None


def tensor(picture: Any, device: str) -> Any:
    """A picture as a tensor (1, 3, height, width) in [0, 1]."""
    import numpy as np
    import torch

    pixels = np.array(picture.convert("RGB"), dtype=np.float32) / 255.0
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].to(device)
