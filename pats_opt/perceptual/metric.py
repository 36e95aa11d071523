"""The interface of image metrics, and those without weights: SSIM, MS-SSIM and FLIP."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override


class ImageMetric(ABC):
    """Compares a picture with a reference of the same size.

    Args:
        device: A torch device, for metrics that use torch.
        weights: AlexNet's file, for LPIPS; None to look in torch's folder of checkpoints.

    Attributes:
        name: Its name, as in :data:`pats_opt.perceptual.METRICS`.
        package: The package that it needs.
        similarity: Whether equal pictures give 1; else they give 0.
        smallest: Least pixels of the smaller side.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    similarity: ClassVar[bool] = False
    smallest: ClassVar[int] = 16

    def __init__(self, device: str, weights: str | None) -> None:  # noqa: ARG002 - for LPIPS
        self._device = device

    @classmethod
    def missing(cls, weights: str | None) -> str | None:  # noqa: ARG003 - for LPIPS
        """Return why the metric cannot be used here; None where it can."""
        found = find_spec(cls.package.replace("-", "_"))
        return None if found else f"it needs the package {cls.package}"

    @abstractmethod
    def __call__(self, reference: Any, other: Any) -> float:
        """Compare two pictures (``PIL.Image``)."""


class Ssim(ImageMetric):
    """Structural similarity."""

    name = "ssim"
    package = "torchmetrics"
    similarity = True

    @override
    def __call__(self, reference: Any, other: Any) -> float:
        from torchmetrics.functional.image import structural_similarity_index_measure as ssim

        pictures = (tensor(p, self._device).double() for p in (other, reference))
        return float(ssim(*pictures, data_range=1.0))


class MsSsim(ImageMetric):
    """Structural similarity at five scales; 0 where the structures are opposed."""

    name = "ms_ssim"
    package = "torchmetrics"
    similarity = True
    smallest = 176

    @override
    def __call__(self, reference: Any, other: Any) -> float:
        from torchmetrics.functional.image import (
            multiscale_structural_similarity_index_measure as ms_ssim,
        )

        pictures = (tensor(p, self._device).double() for p in (other, reference))
        return float(ms_ssim(*pictures, data_range=1.0, normalize="relu"))


class Flip(ImageMetric):
    """FLIP: mean difference that is visible when two pictures alternate on a usual screen."""

    name = "flip"
    package = "flip-evaluator"

    @override
    def __call__(self, reference: Any, other: Any) -> float:
        import flip_evaluator  # type: ignore[import-untyped]

        _, mean, _ = flip_evaluator.evaluate(pixels(reference), pixels(other), "LDR")
        return float(mean)


def folder_of(package: str) -> Path | None:
    """Find the folder of a package without importing it; None where it is not installed."""
    found = find_spec(package)
    places = list(found.submodule_search_locations or ()) if found is not None else []
    return Path(places[0]) if places else None


def pixels(picture: Any) -> Any:
    """Convert a picture to an array (height, width, 3) in [0, 1]."""
    import numpy as np

    return np.array(picture.convert("RGB"), dtype=np.float32) / 255.0


def tensor(picture: Any, device: str) -> Any:
    """Convert a picture to a tensor (1, 3, height, width) in [0, 1]."""
    import torch

    return torch.from_numpy(pixels(picture)).permute(2, 0, 1)[None].to(device)
