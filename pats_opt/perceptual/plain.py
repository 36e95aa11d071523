"""Metrics without weights: SSIM, MS-SSIM and FLIP."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, ClassVar

from pats_opt.perceptual.metric import tensor


class _Structural:
    """What SSIM and MS-SSIM have in common."""

    similarity: ClassVar[bool] = True

    def __init__(self, device: str, weights: str | None) -> None:  # noqa: ARG002
        self._device = device

    @staticmethod
    def missing(weights: str | None) -> str | None:  # noqa: ARG004
        """Why it cannot be used here; None where it can."""
        return None if find_spec("torchmetrics") else "it needs the package torchmetrics"


class Ssim(_Structural):
    """Structural similarity."""

    name: ClassVar[str] = "ssim"
    smallest: ClassVar[int] = 16

    def __call__(self, reference: Any, other: Any) -> float:
        """The similarity."""
        from torchmetrics.functional.image import structural_similarity_index_measure as ssim

        pictures = (tensor(p, self._device).double() for p in (other, reference))
        return float(ssim(*pictures, data_range=1.0))


class MsSsim(_Structural):
    """Structural similarity at five scales."""

    name: ClassVar[str] = "ms_ssim"
    smallest: ClassVar[int] = 176

    def __call__(self, reference: Any, other: Any) -> float:
        """The similarity; 0 where the structures are opposed."""
        from torchmetrics.functional.image import (
            multiscale_structural_similarity_index_measure as ms_ssim,
        )

        pictures = (tensor(p, self._device).double() for p in (other, reference))
        return float(ms_ssim(*pictures, data_range=1.0, normalize="relu"))


class Flip:
    """FLIP: the mean difference that is seen in flipping between two pictures on a usual screen."""

    name: ClassVar[str] = "flip"
    similarity: ClassVar[bool] = False
    smallest: ClassVar[int] = 16

    def __init__(self, device: str, weights: str | None) -> None: ...

    @staticmethod
    def missing(weights: str | None) -> str | None:  # noqa: ARG004
        """Why it cannot be used here; None where it can."""
        return None if find_spec("flip_evaluator") else "it needs the package flip-evaluator"

    def __call__(self, reference: Any, other: Any) -> float:
        """The mean distance."""
        import flip_evaluator  # type: ignore[import-untyped]
        import numpy as np

        pictures = [
            np.array(picture.convert("RGB"), dtype=np.float32) / 255.0
            for picture in (reference, other)
        ]
        _, mean, _ = flip_evaluator.evaluate(*pictures, "LDR")
        return float(mean)
