"""The SDXL engine: own denoising loop, one scheduler per request, adapters in fixed slots.

Torch, diffusers, peft and transformers (the extra ``execute``) are imported only once an engine is
opened.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pats_opt.errors import InputError

#: What the engine imports.
PACKAGES = ("torch", "diffusers", "transformers", "peft", "safetensors", "PIL")


def require() -> None:
    """Refuse to go on without the extra.

    Raises:
        InputError: naming what is missing and how to install it.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(
            f"running a model needs {', '.join(missing)}",
            hint="install the extra: pip install 'pats-opt[execute]'",
        )


if TYPE_CHECKING:
    from pats_opt.execute.engine.sdxl import SdxlEngine
    from pats_opt.execute.work import EngineSettings

__all__ = ["default_device", "open_engine", "require"]


def open_engine(settings: EngineSettings, clock: Callable[[], float]) -> SdxlEngine:
    """Open the model and the adapters, and prepare a device for orders.

    Args:
        settings: What to open.
        clock: Seconds since the run's start (negative before it).

    Raises:
        InputError: The extra is not installed, or the model, an adapter or the device is not fit.
    """
    require()
    from pats_opt.execute.engine.sdxl import SdxlEngine

    return SdxlEngine(settings, clock)


def default_device() -> str:
    """``cuda`` where there is one, else ``cpu``.

    Raises:
        InputError: The extra is not installed.
    """
    require()
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
