"""One request on its way from noise to an image: its own scheduler, generator and latents.

Requests at different steps can share a forward pass of the UNet, but never a scheduler (its step
index and history are one request's) nor a generator (noise would depend on the position in the
batch). Noise is drawn on the CPU, so it is the same on every device.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

from msgspec import Struct

from pats_opt.execute.engine.conditioning import Conditioning
from pats_opt.execute.work import Member


class Kind(Struct, frozen=True, kw_only=True):
    """What all requests of a model share; read once, as diffusers searches for some of it.

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
    def of(cls, pipeline: Any) -> Kind:
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

    def fresh_scheduler(self) -> Any:
        """A scheduler for one request."""
        return type(self.scheduler).from_config(self.scheduler.config)


class Sampling:
    """A request's denoising: what it is conditioned on, and how far it is.

    Args:
        member: The request.
        kind: What its model is like.
        conditioning: Embeddings of its prompt (see :class:`Conditioning`).
        start: Latents to start from after ``member.skip`` steps, or None to start from noise.
        stop: Steps after which it is done; None for all.

    Raises:
        ValueError: The size or the number of steps is not one that the model can do.
    """

    def __init__(
        self,
        member: Member,
        kind: Kind,
        conditioning: Conditioning,
        *,
        start: Any = None,
        stop: int | None = None,
    ) -> None:
        import torch
        from diffusers.utils.torch_utils import randn_tensor

        check(member, kind)
        self.member, self.conditioning = member, conditioning
        self.error: str | None = None
        self.scheduler = kind.fresh_scheduler()
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


def check(member: Member, kind: Kind) -> None:
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
