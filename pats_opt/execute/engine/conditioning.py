"""Prompts to embeddings: what a request's UNet calls are conditioned on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from pats_opt.execute.work import Member


class Conditioning(Struct, frozen=True, eq=False):
    """What one request's UNet calls are conditioned on, each a tensor with one row.

    Attributes:
        embeds: Prompt embeddings.
        pooled: Pooled ones.
        negative_embeds: Of the negative prompt; None without guidance.
        negative_pooled: Likewise.
        time_ids: SDXL's sizes and crop.
    """

    embeds: Any
    pooled: Any
    negative_embeds: Any
    negative_pooled: Any
    time_ids: Any


def encode(
    pipeline: Any, device: Any, members: Sequence[Member], *, guided: bool
) -> list[Conditioning]:
    """Encode prompts together, as the pipeline does, with the adapter active in the encoders.

    Args:
        pipeline: Its tokenizers and text encoders are used.
        device: Where to.
        members: Requests that share the adapter, and whether they have a negative prompt.
        guided: Whether the negative prompt counts.
    """
    negative = [m.negative_prompt for m in members] if members[0].negative_prompt else None
    embeds, negative_embeds, pooled, negative_pooled = pipeline.encode_prompt(
        prompt=[m.prompt for m in members],
        device=device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=guided,
        negative_prompt=negative if guided else None,
    )
    made = []
    for i, member in enumerate(members):
        size = (member.height, member.width)
        time_ids = pipeline._get_add_time_ids(  # the pipeline's own loop does
            size,
            (0, 0),
            size,
            dtype=embeds.dtype,
            text_encoder_projection_dim=pipeline.text_encoder_2.config.projection_dim,
        )
        made.append(
            Conditioning(
                embeds[i : i + 1],
                pooled[i : i + 1],
                negative_embeds[i : i + 1] if guided else None,
                negative_pooled[i : i + 1] if guided else None,
                time_ids.to(device),
            )
        )
    return made


def rows_of(given: Sequence[Conditioning], *, guided: bool) -> list[tuple[Any, Any, Any]]:
    """What the rows of a UNet call are conditioned on: those without text, then those with it."""
    without = [(c.negative_embeds, c.negative_pooled, c.time_ids) for c in given] if guided else []
    return [*without, *((c.embeds, c.pooled, c.time_ids) for c in given)]
