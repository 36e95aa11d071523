"""Images of a prompt and seed at every step count, compared with the full one."""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import Any

from pats_opt.errors import PatsError, one_line
from pats_opt.execute.record import Phase
from pats_opt.execute.saver import describe, encode
from pats_opt.execute.work import Engine, Finished, MeasuredRun, Member
from pats_opt.model.files import write_bytes
from pats_opt.perceptual import ImageMetric, open_metrics
from pats_opt.profiling.measurements import ComparedImage
from pats_opt.profiling.plan import ProfilingPlan, Prompt

_log = logging.getLogger(__name__)


class ImageError(PatsError):
    """An image of the quality measurement could not be made."""


class ImageComparer:
    """Makes the images of a prompt and seed, and compares them.

    All step counts are one batch, whose members leave as they are done. An image does not depend on
    its neighbours.

    Args:
        plan: The measurements, with images.
        device: A torch device for the metrics.
        folder: Folder of the images; their paths are relative to its parent.
    """

    def __init__(self, plan: ProfilingPlan, device: str, folder: Path) -> None:
        assert plan.quality is not None, "there are images to compare"
        self._quality, self._device, self._folder = plan.quality, device, folder
        self._size = plan.shrunk(plan.reference)

    @cached_property
    def _metrics(self) -> list[ImageMetric]:
        """The metrics, opened after the device's memory was measured."""
        return open_metrics(self._quality.metrics, self._device, self._quality.weights)

    def __call__(self, engine: Engine, prompt: Prompt, seed: int) -> list[ComparedImage]:
        """Make the images of all step counts and compare each with the full one.

        The full one is compared with itself.

        Raises:
            ImageError: One could not be made.
        """
        number = self._quality.prompts.index(prompt)
        members = [
            Member(
                id=f"{number:03d}-{seed}-{steps:03d}",
                option=0,
                adapter=None,
                prompt=prompt.text,
                negative_prompt="",
                seed=seed,
                width=self._size[0],
                height=self._size[1],
                steps=steps,
            )
            for steps in sorted({*self._quality.steps, self._quality.full})
        ]
        finished: list[Finished] = []
        ran = engine.run(members, finished.append)
        pictures = {}
        for done in finished:
            if done.error is not None:
                raise ImageError(f"an image of {done.member.steps} steps failed: {done.error}")
            pictures[done.member.id] = done.picture
        compared = []
        for member in members:
            picture, file = pictures[member.id], self._folder / f"{member.id}.png"
            write_bytes(file, encode(picture, describe(member, {})))
            compared.append(
                ComparedImage(
                    prompt=prompt.text,
                    complexity=prompt.complexity,
                    seed=seed,
                    steps=member.steps,
                    full=self._quality.full,
                    scores=self._scores(pictures[members[-1].id], picture),
                    seconds=_share_s(member, ran),
                    file=f"{self._folder.name}/{file.name}",
                )
            )
        return compared

    def _scores(self, reference: Any, picture: Any) -> dict[str, float]:
        """Score a picture by every metric; on the CPU once the device has no room for it."""
        try:
            return {metric.name: metric(reference, picture) for metric in self._metrics}
        except RuntimeError as error:  # out of memory is one
            if self._device == "cpu":
                raise
            _log.warning("images are compared on the CPU: %s", one_line(str(error)))
            self._device = "cpu"
            del self._metrics
        return self._scores(reference, picture)


def _share_s(member: Member, ran: MeasuredRun) -> float:
    """Seconds of a member: its share of its batch's steps, and its decoding."""
    return sum(
        span.seconds / (span.n if span.phase is Phase.STEP else 1)
        for span in ran.spans
        if span.phase in (Phase.STEP, Phase.DECODE) and member.id in span.ids
    )
