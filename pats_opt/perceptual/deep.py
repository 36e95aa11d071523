"""Distances of learned features: LPIPS, and its shift-tolerant variant.

Both run AlexNet's five convolutions on both pictures, normalise the features at each place to unit
vectors, and sum their squared differences by learned weights. They are implemented here so that
torchvision is not needed; the tests compare them with the originals.
"""

from __future__ import annotations

import hashlib
import os
import re
from abc import abstractmethod
from pathlib import Path
from typing import Any

from typing_extensions import override

from pats_opt.errors import InputError
from pats_opt.perceptual.metric import ImageMetric, folder_of, tensor

#: Mean and deviation of ImageNet's pixels, for pixels in [-1, 1].
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)

Weights = dict[str, Any]


class _FeatureDistance(ImageMetric):
    """Weighted distance of five layers of features."""

    smallest = 64

    def __init__(self, device: str, weights: str | None, heads: Path) -> None:
        super().__init__(device, weights)
        found = _read(heads)
        self._heads = [found[f"lin{i}.model.1.weight"].to(device) for i in range(5)]

    @abstractmethod
    def features(self, pixels: Any) -> list[Any]:
        """Return five layers of features."""

    @override
    def __call__(self, reference: Any, other: Any) -> float:
        import torch

        shift = torch.tensor(_SHIFT, device=self._device)[None, :, None, None]
        scale = torch.tensor(_SCALE, device=self._device)[None, :, None, None]
        with torch.no_grad():
            layers = [
                self.features((2 * tensor(picture, self._device) - 1 - shift) / scale)
                for picture in (reference, other)
            ]
            total = 0.0
            for head, one, two in zip(self._heads, *layers, strict=True):
                difference = (_unit(one) - _unit(two)) ** 2
                total += float(torch.nn.functional.conv2d(difference, head).mean())
        return total


class Lpips(_FeatureDistance):
    """LPIPS with AlexNet, version 0.1."""

    name = "lpips"

    def __init__(self, device: str, weights: str | None) -> None:
        backbone, heads = _alexnet(weights), _lpips_heads()
        assert backbone, "missing() refuses this"
        assert heads, "missing() refuses this"
        super().__init__(device, weights, heads)
        found = _read(backbone)
        try:
            self._convolutions = [
                (found[f"features.{i}.weight"].to(device), found[f"features.{i}.bias"].to(device))
                for i in (0, 3, 6, 8, 10)
            ]
        except KeyError as error:
            raise InputError(
                f"this file has no {error}", file=str(backbone), hint="name torchvision's AlexNet"
            ) from None

    @override
    @classmethod
    def missing(cls, weights: str | None) -> str | None:
        if _alexnet(weights) is None:
            if weights is not None:
                return f"there is no file {weights!r}"
            return f"AlexNet's weights (alexnet-owt-*.pth) are not in {_checkpoints()}"
        return None if _lpips_heads() else "LPIPS needs its heads, from torchmetrics or lpips"

    @override
    def features(self, pixels: Any) -> list[Any]:
        from torch.nn.functional import conv2d, max_pool2d, relu

        found: list[Any] = []
        for i, (weight, bias) in enumerate(self._convolutions):
            inside = max_pool2d(found[-1], 3, 2) if i in (1, 2) else (found or [pixels])[-1]
            stride, padding = ((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))[i]
            found.append(relu(conv2d(inside, weight, bias, stride=stride, padding=padding)))
        return found


class ShiftTolerantLpips(_FeatureDistance):
    """Shift-tolerant LPIPS with AlexNet: a blur in the place of each stride."""

    name = "stlpips"
    package = "stlpips-pytorch"

    def __init__(self, device: str, weights: str | None) -> None:
        path = _shift_tolerant()
        assert path, "missing() refuses this"
        super().__init__(device, weights, path)
        found = _read(path)
        names = ("slice1.0", "slice2.5", "slice3.9", "slice4.11", "slice5.13")
        self._convolutions = [
            (found[f"net.{n}.weight"].to(device), found[f"net.{n}.bias"].to(device)) for n in names
        ]
        self._blurs = [
            found[f"net.{n}.filt"].to(device) for n in ("slice1.1", "slice2.4", "slice3.8")
        ]

    @override
    @classmethod
    def missing(cls, weights: str | None) -> str | None:
        return None if _shift_tolerant() else f"it needs the package {cls.package}"

    @override
    def features(self, pixels: Any) -> list[Any]:
        from torch.nn.functional import conv2d, max_pool2d, relu

        first, *others = self._convolutions
        found = [relu(self._blur(conv2d(pixels, *first, padding=2), 0))]
        for i, (weight, bias) in enumerate(others, 1):
            inside = found[-1]
            if i in (1, 2):
                inside = self._blur(max_pool2d(inside, 3, 1), i)
            found.append(relu(conv2d(inside, weight, bias, padding=2 if i == 1 else 1)))
        return found

    def _blur(self, inside: Any, which: int) -> Any:
        """Blur and halve the size, the border reflected."""
        from torch.nn.functional import conv2d, pad

        padded = pad(inside, (2, 2, 2, 2), mode="reflect")
        return conv2d(padded, self._blurs[which], stride=2, groups=inside.shape[1])


def _unit(features: Any) -> Any:
    """Normalise the features at every place to unit vectors."""
    return features / ((features**2).sum(dim=1, keepdim=True).sqrt() + 1e-10)


def _read(path: Path) -> Weights:
    """Read the tensors of a file, and nothing that could run."""
    import torch

    name = re.search(r"-([0-9a-f]{8})\.pth$", path.name)  # torch names files by their digest
    if name and not hashlib.sha256(path.read_bytes()).hexdigest().startswith(name[1]):
        raise InputError("this file is damaged", file=str(path), hint="get it again")
    try:
        found: Weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise many kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "unreadable"
        raise InputError(
            f"these weights cannot be read ({reason})", file=str(path), hint="get the file again"
        ) from None
    return found


def _checkpoints() -> Path:
    """Torch's folder of downloaded weights."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", f"{cache}/torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def _alexnet(weights: str | None) -> Path | None:
    found = sorted(_checkpoints().glob("alexnet-owt-*.pth")) if weights is None else [Path(weights)]
    return next(filter(Path.is_file, found), None)


def _inside(package: str, file: str) -> Path | None:
    """Find a file of a package without importing it; None where there is none."""
    folder = folder_of(package)
    return path if folder and (path := folder / file).is_file() else None


def _lpips_heads() -> Path | None:
    return _inside("lpips", "weights/v0.1/alex.pth") or _inside(
        "torchmetrics", "functional/image/lpips_models/alex.pth"
    )


def _shift_tolerant() -> Path | None:
    return _inside("stlpips_pytorch", "weights/vST0.0/alex_shift_tolerant.pth")
