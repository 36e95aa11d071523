"""One request on its way from noise to an image: its prompt, scheduler, generator and latents.

Requests at different steps can share a forward pass of the UNet, but never a scheduler (its step
index and history are one request's) nor a generator (noise would depend on the position in the
batch). Noise is drawn on the CPU, so it is the same on every device.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from inspect import signature
from typing import Any

from msgspec import Struct

from pats_opt.execute.work import Member


class Conditioning(Struct, frozen=True, eq=False):
    """Conditioning of one request's UNet calls; each part is a tensor with one row.

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


class BatchConditioning:
    """Conditioning of a UNet call, row by row; that of the last call is kept, as most recur.

    Args:
        guided: Whether rows without text come before those with it.
    """

    def __init__(self, *, guided: bool) -> None:
        self._guided = guided
        self.clear()

    def clear(self) -> None:
        """Let go of the tensors."""
        self._last: tuple[tuple[Conditioning, ...], Any] = ((), None)

    def __call__(self, groups: Sequence[Sequence[Conditioning]]) -> Any:
        """Return embeddings, pooled ones and time ids; the rows of a group are together."""
        import torch

        key = tuple(one for some in groups for one in some)
        if self._last[0] != key:
            rows = [row for some in groups for row in self._rows(some)]
            self._last = key, tuple(torch.cat(column) for column in zip(*rows, strict=True))
        return self._last[1]

    def _rows(self, some: Sequence[Conditioning]) -> list[tuple[Any, Any, Any]]:
        without = [(c.negative_embeds, c.negative_pooled, c.time_ids) for c in some]
        with_text = [(c.embeds, c.pooled, c.time_ids) for c in some]
        return [*(without if self._guided else ()), *with_text]


def adapter_of(member: Member) -> str:
    """Return the adapter of a request, empty for the bare model, so that requests can be sorted."""
    return member.adapter or ""


def encoded_with(member: Member) -> tuple[str, bool]:
    """Return the properties that requests share whose prompts are encoded together."""
    return adapter_of(member), bool(member.negative_prompt)


class ModelKind(Struct, frozen=True, kw_only=True):
    """Properties that all requests of a model share; read once, as diffusers searches for some.

    Attributes:
        scheduler: The pipeline's; each request gets a fresh one of its kind.
        takes_generator: Whether its ``step`` draws noise.
        channels: Of the latents.
        factor: Pixels a latent's side.
        most_steps: Steps the model was trained with.
    """

    scheduler: Any
    takes_generator: bool
    channels: int
    factor: int
    most_steps: int
    device: Any
    dtype: Any

    @classmethod
    def of(cls, pipeline: Any) -> ModelKind:
        """The kind of a diffusers pipeline."""
        scheduler = pipeline.scheduler
        return cls(
            scheduler=scheduler,
            takes_generator="generator" in signature(scheduler.step).parameters,
            channels=pipeline.unet.config.in_channels,
            factor=pipeline.vae_scale_factor,
            most_steps=scheduler.config.num_train_timesteps,
            device=pipeline.unet.device,
            dtype=pipeline.unet.dtype,
        )


class Sampling:
    """A request's denoising: what it is conditioned on, and how far it is.

    Args:
        member: The request.
        kind: What its model is like.
        conditioning: Embeddings of its prompt (see :class:`Conditioning`).
        start: Latents to start from after ``member.skip`` steps, or None to start from noise.
        stop: Steps after which it is done; None for all.
        keep: Steps after which its latents are kept.

    Attributes:
        kept: The latents that were kept, by step.

    Raises:
        ValueError: The size or the number of steps is not one that the model can do.
    """

    def __init__(
        self,
        member: Member,
        kind: ModelKind,
        conditioning: Conditioning,
        *,
        start: Any = None,
        stop: int | None = None,
        keep: Collection[int] = (),
    ) -> None:
        import torch
        from diffusers.utils.torch_utils import randn_tensor

        check(member, kind)
        self.member, self.conditioning = member, conditioning
        self.error: str | None = None
        self._keep, self.kept = keep, dict[int, Any]()
        self.scheduler = type(kind.scheduler).from_config(kind.scheduler.config)
        self.scheduler.set_timesteps(member.steps + member.skip, device=kind.device)
        self.timesteps = self.scheduler.timesteps
        self.done, self.stop = 0, len(self.timesteps) if stop is None else stop
        self._generator = torch.Generator("cpu").manual_seed(member.seed)
        self._extra = {"generator": self._generator} if kind.takes_generator else {}
        if start is None:
            size = member.height // kind.factor, member.width // kind.factor
            noise = randn_tensor(
                (1, kind.channels, *size),
                generator=self._generator,
                device=kind.device,
                dtype=kind.dtype,
            )
            self.latents = noise * self.scheduler.init_noise_sigma
        else:
            self.latents, self.done = start.to(kind.device, kind.dtype), member.skip
        if hasattr(self.scheduler, "set_begin_index"):
            # It is known, and finding it would make the host wait for the device.
            self.scheduler.set_begin_index(self.done)

    @property
    def timestep(self) -> Any:
        """The timestep of its next step."""
        return self.timesteps[self.done]

    @property
    def finished(self) -> bool:
        """Whether it has all its steps, or failed."""
        return self.error is not None or self.done >= self.stop

    def scaled(self) -> Any:
        """Its latents as the UNet takes them at its next step."""
        return self.scheduler.scale_model_input(self.latents, self.timestep)

    def step(self, prediction: Any) -> None:
        """Take its next step, wholly or, where memory runs out in it, not at all."""
        scheduler = self.scheduler
        before = {k: v.copy() if type(v) is list else v for k, v in vars(scheduler).items()}
        random = self._generator.get_state()
        try:
            latents = scheduler.step(
                prediction, self.timestep, self.latents, **self._extra, return_dict=False
            )[0]
        except BaseException:
            vars(scheduler).update(before)
            self._generator.set_state(random)
            raise
        self.latents, self.done = latents, self.done + 1
        if self.done in self._keep:
            self.kept[self.done] = latents


def check(member: Member, kind: ModelKind) -> None:
    """Refuse what diffusers would garble or fail at late.

    Raises:
        ValueError: with the reason.
    """
    if member.width % kind.factor or member.height % kind.factor:
        raise ValueError(
            f"size {member.width}x{member.height} is no multiple of {kind.factor}; use one that is"
        )
    if (steps := member.steps + member.skip) > kind.most_steps:
        raise ValueError(f"{steps} steps are more than the {kind.most_steps} of the model")
