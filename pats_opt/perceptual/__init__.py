"""Perceptual metrics of images, each under its own name.

Only LPIPS is called ``lpips``. Its backbone is not part of any package and is never downloaded.
Without its file other metrics are used, under their own names:

======= ============ ============================= ========================================
name    equal images comes from                    remarks
======= ============ ============================= ========================================
lpips   0            ``alexnet-owt-*.pth``, heads  Zhang et al. 2018, AlexNet, version 0.1
stlpips 0            ``stlpips-pytorch``           shift-tolerant LPIPS, Ghildyal & Liu 2022
ms_ssim 1            ``torchmetrics``              Wang et al. 2003; above 160 pixels
ssim    1            ``torchmetrics``              Wang et al. 2004
flip    0            ``flip-evaluator``            Andersson et al. 2020, LDR
======= ============ ============================= ========================================

Packages are found without importing them, weights are read as tensors only, and torchvision is not
needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from pats_opt.errors import InputError
from pats_opt.perceptual.deep import Lpips, ShiftTolerantLpips
from pats_opt.perceptual.metric import Flip, ImageMetric, MsSsim, Ssim

__all__ = ["METRICS", "ImageMetric", "available", "choose", "open_metrics"]

#: Metrics by name, in order of preference.
METRICS: dict[str, type[ImageMetric]] = {
    kind.name: kind for kind in (Lpips, ShiftTolerantLpips, MsSsim, Ssim, Flip)
}


def available(pixels: int, weights: str | None = None) -> list[str]:
    """List the metrics that can be used here, in order of preference.

    Args:
        pixels: The smaller side of the images.
        weights: AlexNet's file for LPIPS; None to look in torch's folder of checkpoints.
    """
    return [
        name
        for name, kind in METRICS.items()
        if pixels >= kind.smallest and kind.missing(weights) is None
    ]


def choose(names: Sequence[str], pixels: int, weights: str | None = None) -> list[str]:
    """Choose the metrics: those named, or else the best one that can be used.

    Without a learned metric it is MS-SSIM (SSIM for small images) together with FLIP, since neither
    is as good.

    Args:
        names: Of :data:`METRICS`; quality is made of the first.
        pixels: The smaller side of the images.
        weights: As in :func:`available`.

    Raises:
        InputError: A metric is unknown, or lacks its package, its weights or pixels.
    """
    if weights is not None and (reason := METRICS["lpips"].missing(weights)) is not None:
        raise InputError(reason, place="--lpips-weights", hint="name AlexNet's .pth file")
    chosen = list(dict.fromkeys(names)) or _best(available(pixels, weights))
    if not chosen:
        raise InputError(
            f"there is no metric for images of {pixels} pixels",
            hint="install one: pip install stlpips-pytorch, or torchmetrics, or flip-evaluator",
        )
    for name in chosen:
        kind = METRICS.get(name)
        if kind is None:
            raise InputError(
                f"there is no metric {name!r}", hint=f"choose one of: {', '.join(METRICS)}"
            )
        if (reason := kind.missing(weights)) is not None:
            raise InputError(reason, place=name, hint="install it, or choose another --metric")
        if pixels < kind.smallest:
            raise InputError(
                f"{name} needs images of {kind.smallest} pixels or more, not {pixels}",
                hint="make larger images, or choose another --metric",
            )
    return chosen


def open_metrics(
    names: Sequence[str], device: str, weights: str | None = None
) -> list[ImageMetric]:
    """Open metrics that :func:`choose` returned.

    Args:
        names: Of :data:`METRICS`.
        device: A torch device for those that use torch.
        weights: As in :func:`available`.

    Raises:
        InputError: Weights cannot be read.
    """
    return [METRICS[name](device, weights) for name in names]


def _best(usable: list[str]) -> list[str]:
    learned = [name for name in usable if name in ("lpips", "stlpips")]
    return learned[:1] or [name for name in usable if name != "ssim" or "ms_ssim" not in usable]
