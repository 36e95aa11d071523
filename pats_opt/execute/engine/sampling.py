"""One request on its way from noise to an image: its own scheduler, generator and latents.

Requests at different steps can share a forward pass of the UNet, but never a scheduler (its step
index and history are one request's) nor a generator (noise would depend on the position in the
batch). Noise is drawn on the CPU, so it is the same on every device.
"""

from __future__ import annotations

from typing import Any

from pats_opt.execute.work import Member


class Sampling:
    """A request's denoising: what it is conditioned on, and how far it is.

    Args:
        member: The request.
        pipeline: Gives the scheduler's kind and the latents' shape.
        conditioning: Embeddings of its prompt (see :class:`Conditioning`).
        start: Latents to start from after ``member.skip`` steps, or None to start from noise.
        stop: Steps after which it is done; None for all.

    Raises:
        ValueError: The size or the number of steps is not one that the model can do.
    """

    def __init__(
        self,
        member: Member,
        pipeline: Any,
        conditioning: Conditioning,
        *,
        start: Any = None,
        stop: int | None = None,
    ) -> None:
        import torch
        from diffusers.utils.torch_utils import randn_tensor

        check(member, pipeline)
        unet = pipeline.unet
        self.member, self.conditioning = member, conditioning
        self.error: str | None = None
        self.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
        self.scheduler.set_timesteps(member.steps + member.skip, device=unet.device)
        self.timesteps = self.scheduler.timesteps
        self.done, self.stop = 0, len(self.timesteps) if stop is None else stop
        self._generator = torch.Generator("cpu").manual_seed(member.seed)
        self._extra = pipeline.prepare_extra_step_kwargs(self._generator, 0.0)
        if start is None:
            factor = pipeline.vae_scale_factor
            shape = (1, unet.config.in_channels, member.height // factor, member.width // factor)
            noise = randn_tensor(
                shape, generator=self._generator, device=unet.device, dtype=unet.dtype
            )
            self.latents = noise * self.scheduler.init_noise_sigma
        else:
            self.latents, self.done = start.to(unet.device, unet.dtype), member.skip
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


class Conditioning:
    """What a request's UNet calls are conditioned on, each a tensor with one row.

    Attributes:
        embeds: Prompt embeddings.
        pooled: Pooled ones.
        negative_embeds: Of the negative prompt; None without guidance.
        negative_pooled: Likewise.
        time_ids: SDXL's sizes and crop.
    """

    def __init__(
        self, embeds: Any, pooled: Any, negative_embeds: Any, negative_pooled: Any, time_ids: Any
    ) -> None:
        self.embeds, self.pooled = embeds, pooled
        self.negative_embeds, self.negative_pooled = negative_embeds, negative_pooled
        self.time_ids = time_ids


def check(member: Member, pipeline: Any) -> None:
    """Refuse what diffusers would garble or fail at late.

    Raises:
        ValueError: with the reason.
    """
    factor = pipeline.vae_scale_factor
    if member.width % factor or member.height % factor:
        raise ValueError(
            f"size {member.width}x{member.height} is no multiple of {factor}; use one that is"
        )
    most = pipeline.scheduler.config.num_train_timesteps
    if member.steps + member.skip > most:
        raise ValueError(f"{member.steps + member.skip} steps are more than the model's {most}")
