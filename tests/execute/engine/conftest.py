"""The tiny model on the CPU: adapters, engines, and diffusers' own pipeline to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pats_opt.execute.adapters import make_adapters
from pats_opt.execute.engine import open_engine, sdxl
from pats_opt.execute.engine.model import open_pipeline, quiet
from pats_opt.execute.engine.sdxl import SdxlEngine
from pats_opt.execute.work import EngineSettings, Finished, MeasuredRun, Member
from tests.support import scale

GUIDANCE = 5.0

#: Steps of a request where its number does not matter.
STEPS = 6 if scale.FULL else 3

Pixels = NDArray[np.int64]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Three random adapters; one id contains another, which peft's hot-swapping mixes up."""
    return make_adapters("tiny", ["l1", "l10", "other"], tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="session")
def settings(files: dict[str, str]) -> EngineSettings:
    """EngineSettings of the tiny model on the CPU."""
    return EngineSettings(
        model="tiny",
        device="cpu",
        dtype="float32",
        guidance=GUIDANCE,
        adapter_files=files,
        slots=3,
        resident=tuple(files),
    )


@pytest.fixture(scope="session")
def engine(settings: EngineSettings) -> SdxlEngine:
    """An engine with all three adapters resident; tests leave it so."""
    return open_engine(settings, perf_counter)


@pytest.fixture(scope="session")
def pipeline() -> Any:
    """Diffusers' pipeline of the same model."""
    return open_pipeline("tiny", "cpu", "float32")


def member(name: str, adapter: str | None = None, **changed: Any) -> Member:
    """A request of 64 x 64 pixels."""
    given: dict[str, Any] = {
        "option": 0,
        "prompt": "a corgi in the snow",
        "negative_prompt": "",
        "seed": 3,
        "width": 64,
        "height": 64,
        "steps": STEPS,
    }
    return Member(id=name, adapter=adapter, **{**given, **changed})


def run(engine: SdxlEngine, members: Sequence[Member]) -> tuple[dict[str, Finished], MeasuredRun]:
    """Results of the members, in the order they left, and the measurements."""
    done: dict[str, Finished] = {}

    def finished(one: Finished) -> None:
        assert one.member.id not in done
        done[one.member.id] = one

    return done, engine.run(members, finished)


def pixels(done: Finished) -> Pixels:
    """The picture's levels."""
    assert done.error is None
    return np.asarray(done.picture).astype(np.int64)


def alone(pipeline: Any, one: Member, file: str | None = None) -> Pixels:
    """Image of diffusers' pipeline for a request, with its adapter loaded the usual way."""
    return composed(pipeline, one, {} if file is None else {file: 1.0})


def composed(pipeline: Any, one: Member, scales: Mapping[str, float]) -> Pixels:
    """The same with several files' adapters, each with a weight."""
    names = [f"number_{i}" for i in range(len(scales))]
    with quiet():
        for name, file in zip(names, scales, strict=True):
            pipeline.load_lora_weights(
                str(Path(file).parent), weight_name=Path(file).name, adapter_name=name
            )
        if names:
            pipeline.set_adapters(names, adapter_weights=list(scales.values()))
    try:
        image = pipeline(
            one.prompt,
            negative_prompt=one.negative_prompt or None,
            num_inference_steps=one.steps + one.skip,
            width=one.width,
            height=one.height,
            guidance_scale=GUIDANCE,
            generator=torch.Generator("cpu").manual_seed(one.seed),
        ).images[0]
    finally:
        if names:
            pipeline.unload_lora_weights()
    return np.asarray(image).astype(np.int64)


def latents_of(engine: SdxlEngine, members: Sequence[Member]) -> dict[str, torch.Tensor]:
    """Final latents of each member; they are not decoded."""
    found: list[torch.Tensor] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "decode", lambda latents: found.append(latents.clone()))
        done, _ = run(engine, members)
    assert all(one.error is None for one in done.values())
    return dict(zip(done, found, strict=True))


def take_a_scheduler_with_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pipelines open with a scheduler whose steps depend on those before."""
    opened = open_pipeline

    def other(*args: Any) -> Any:
        pipeline = opened(*args)
        kind = diffusers.DPMSolverMultistepScheduler
        pipeline.scheduler = kind.from_config(pipeline.scheduler.config)
        return pipeline

    monkeypatch.setattr(sdxl, "open_pipeline", other)
