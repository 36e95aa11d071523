"""An image that was accepted: its fate, as its client and the log see it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from msgspec import Struct

from pats_opt.execute.adapter_set import Composition
from pats_opt.model.instance import Adapter, Option, Request
from pats_opt.serving.answers import ImageFacts
from pats_opt.serving.api import RequestAdapter
from pats_opt.serving.log import stamp


class ServedImage(Struct, kw_only=True):
    """An image that was accepted.

    Attributes:
        request: Its request in the problem.
        adapter: Its adapter.
        arrived: When it arrived, Unix seconds.
        work_s: GPU seconds that the estimate of the backlog counts for it.
        done: Its end: the PNG file, or an error.
        started: When its batch started, Unix seconds; None while it waits.
        gpu: Its GPU.
        option: Index of its option.
        members: Members of its batch.
        step: Denoising steps that are done, as last reported.
        resident: Adapters that the GPU held for it.
        expected: When it is predicted to be made, if no switch comes first; None while it waits.
        ended: When it ended.
        changed: Called when its batch starts, takes steps, and when it ends.
    """

    request: Request
    adapter: RequestAdapter
    arrived: float
    work_s: float
    done: asyncio.Future[bytes]
    started: float | None = None
    gpu: int | None = None
    option: int = 0
    members: int = 0
    step: int = 0
    resident: tuple[Adapter, ...] = ()
    expected: float | None = None
    ended: float | None = None
    changed: Callable[[], None] = lambda: None

    @property
    def run(self) -> Option:
        """The option that its batch runs."""
        return self.request.options[self.option]

    @property
    def wait_s(self) -> float:
        """Seconds from arrival to the start of its batch; 0 where it has not started."""
        return 0.0 if self.started is None else max(0.0, self.started - self.arrived)

    @property
    def is_late(self) -> bool:
        """Whether it ended after its deadline."""
        deadline, ended = self.request.deadline_s, self.ended
        return deadline is not None and ended is not None and ended - self.arrived > deadline


def image_url(base_url: str, name: str) -> str:
    """Return the URL of an image that is kept under a name.

    Args:
        base_url: Address of the server.
        name: The name.
    """
    return f"{base_url.rstrip('/')}/images/{name}.png"


def image_facts(image: ServedImage) -> ImageFacts:
    """Return the facts of an image that has ended, for its client."""
    assert image.ended is not None
    option = image.run
    return ImageFacts(
        seed=image.request.seed,
        steps=option.steps,
        quality=option.quality,
        wait_s=round(image.wait_s, 4),
        latency_s=round(max(0.0, image.ended - image.arrived), 4),
        late=image.is_late,
    )


def log_row(
    image: ServedImage,
    outcome: str,
    why: str | None,
    gpu: Callable[[int], str],
    described: Collection[str],
) -> dict[str, Any]:
    """Return an image's line in the log.

    Args:
        image: The image.
        outcome: Its outcome.
        why: Why there is none.
        gpu: Gives the id of a GPU.
        described: Adapters that the description beside the log has.
    """
    request, started, ended = image.request, image.started, image.ended
    group = request.group if isinstance(request.group, str) else None
    parts = image.adapter.parts
    further = {a.id: a for a in (image.adapter.adapter, *image.resident) if a.id not in described}
    return {
        "id": request.id,
        "arrival_time": stamp(image.arrived),
        "model": request.adapter,
        "adapter": [part.name for part in parts],
        "scales": [part.scale for part in parts] if _are_scaled(parts) else [],
        "steps": max(option.steps for option in request.options),
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "complexity": request.complexity,
        "options": request.options,
        "demand": request.demand,
        "width": request.width,
        "height": request.height,
        "weight": request.weight,
        "deadline_s": request.deadline_s,
        "group": group,
        "seed": request.seed,
        "status": outcome,
        "error": why,
        "steps_run": None if started is None else image.run.steps,
        "gpu": None if image.gpu is None else gpu(image.gpu),
        "batch_size": image.members or None,
        "start_time": None if started is None else stamp(started, "microseconds"),
        "resident": [adapter.id for adapter in image.resident],
        "adapters": list(further.values()),
        "wait_s": None if started is None else round(image.wait_s, 4),
        "latency_s": None if ended is None else round(max(0.0, ended - image.arrived), 4),
    }


def _are_scaled(parts: Composition) -> bool:
    """Whether an adapter is more than one file as it is."""
    return len(parts) > 1 or any(part.scale != 1.0 for part in parts)
