"""Latents to pictures."""

from __future__ import annotations

from typing import Any


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
