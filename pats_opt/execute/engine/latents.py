"""Latents: kept after the first K steps for options that skip them, and decoded to pictures.

A latent is kept under a digest of all that it depends on. Only schedulers whose step depends on
nothing but the latents can start in the middle: Euler and DDIM, for which the result is that of the
full run bit for bit.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from pats_opt.errors import InputError
from pats_opt.execute.adapter_set import AdapterSet
from pats_opt.execute.work import Member

#: Schedulers without history or randomness in a step.
RESTARTABLE = ("EulerDiscreteScheduler", "DDIMScheduler")


class Latents:
    """Keeps latents, in a folder or in memory.

    Args:
        folder: Where, or None for memory only.
        made_by: What they depend on besides the member: model, precision, guidance, scheduler.
        adapters: The adapters, which count by their content.
    """

    def __init__(self, folder: str | None, made_by: tuple[str, ...], adapters: AdapterSet) -> None:
        self._folder = None if folder is None else Path(folder)
        self._made_by, self._adapters = made_by, adapters
        self._digests: dict[str | None, str] = {None: ""}
        self._held: dict[str, Any] = {}

    def get(self, member: Member) -> Any:
        """The latents of a member after ``member.skip`` steps, or None where there are none."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        key = self._key(member)
        if key not in self._held and self._folder is not None:
            try:
                self._held[key] = load_file(self._folder / f"{key}.safetensors")["latents"]
            except (OSError, KeyError, SafetensorError):
                return None  # it is made again
        return self._held.get(key)

    def keep(self, member: Member, latents: Any) -> None:
        """Keep a member's latents."""
        from safetensors.torch import save_file

        key = self._key(member)
        self._held[key] = latents.cpu().clone()
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            part = self._folder / f".{key}.part"
            save_file({"latents": self._held[key]}, part)
            part.replace(self._folder / f"{key}.safetensors")

    def _key(self, member: Member) -> str:
        adapter = member.adapter
        if adapter not in self._digests:
            self._digests[adapter] = self._adapters.digest(str(adapter))
        what = (
            *self._made_by,
            self._digests[adapter],
            member.prompt,
            member.negative_prompt,
            member.seed,
            member.width,
            member.height,
            member.steps + member.skip,
            member.skip,
        )
        return hashlib.sha256(msgspec.json.encode(what)).hexdigest()[:32]


def require_restartable(scheduler: str) -> None:
    """Refuse to skip steps with a scheduler that cannot start in the middle.

    Raises:
        InputError: naming those that can.
    """
    if scheduler not in RESTARTABLE:
        raise InputError(
            f"options that skip steps cannot run with {scheduler}, whose steps have a history",
            hint=f"use a model with one of: {', '.join(RESTARTABLE)}",
        )


def decode(vae: Any, latents: Any) -> Any:
    """Latents to a ``PIL.Image``, as the pipeline does it.

    Args:
        vae: The model's ``AutoencoderKL``.
        latents: Of one image.
    """
    import torch
    from PIL import Image

    config = vae.config
    latents = latents.to(next(vae.post_quant_conv.parameters()).dtype)
    mean, deviation = (getattr(config, f"latents_{x}", None) for x in ("mean", "std"))
    if mean is not None and deviation is not None:
        like = {"device": latents.device, "dtype": latents.dtype}
        mean = torch.tensor(mean, **like).view(1, 4, 1, 1)
        deviation = torch.tensor(deviation, **like).view(1, 4, 1, 1)
        latents = latents * deviation / config.scaling_factor + mean
    else:
        latents = latents / config.scaling_factor
    image = vae.decode(latents, return_dict=False)[0][0]
    # As the pipeline's image processor, but rounded on the device: a quarter of the bytes.
    levels = ((image / 2 + 0.5).clamp(0, 1).float() * 255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().cpu().numpy())
