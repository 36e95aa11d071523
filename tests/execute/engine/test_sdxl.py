"""The engine's images: those of diffusers' pipeline, whoever else is in the batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from pats_opt.execute.engine import open_engine
from pats_opt.execute.engine.sampling import ModelKind
from pats_opt.execute.engine.sdxl import SdxlEngine
from pats_opt.execute.record import Phase, Tier
from pats_opt.execute.work import EngineSettings
from tests.execute.engine.conftest import STEPS, alone, latents_of, member, pixels, run
from tests.support import scale

#: Latents have a deviation of about 11; differences of up to 5.3e-5 were seen.
CLOSE = 1e-3

MIXED = [
    member("a", "l1", steps=STEPS - 1, seed=1),
    member("b", "l10", steps=STEPS + 2, seed=2, negative_prompt="ugly"),
    member("c", None, steps=STEPS, seed=3, prompt="a teapot"),
    member("d", "other", steps=STEPS - 1, seed=4, width=128),
    member("e", "l1", steps=STEPS + 1, seed=5, height=96),
]


@contextmanager
def scheduled(engine: SdxlEngine, pipeline: Any, name: str) -> Iterator[None]:
    """Give both another scheduler."""
    before, kind = pipeline.scheduler, engine._kind
    other = getattr(diffusers, name).from_config(before.config)
    pipeline.scheduler = other
    engine.pipeline.scheduler = other
    engine._kind = ModelKind.of(engine.pipeline)
    try:
        yield
    finally:
        pipeline.scheduler = engine.pipeline.scheduler = before
        engine._kind = kind


@pytest.mark.parametrize("adapter", [None, "l1", "l10"])
def test_a_batch_of_one_is_the_pipelines_image_bit_for_bit(
    engine: SdxlEngine, pipeline: Any, files: dict[str, str], adapter: str | None
) -> None:
    one = member("x", adapter, negative_prompt="" if adapter else "dark")
    done, _ = run(engine, [one])
    expected = alone(pipeline, one, files[adapter] if adapter else None)
    assert np.array_equal(pixels(done["x"]), expected)
    assert expected.std() > 10  # it is a picture of something


@pytest.mark.parametrize(
    "name",
    [
        "DDIMScheduler",
        "DPMSolverMultistepScheduler",
        "EulerAncestralDiscreteScheduler",
        "HeunDiscreteScheduler",
        "UniPCMultistepScheduler",
    ],
)
def test_every_scheduler_gives_the_pipelines_image(
    engine: SdxlEngine, pipeline: Any, name: str
) -> None:
    one = member("x")
    with scheduled(engine, pipeline, name):
        done, _ = run(engine, [one])
        assert np.array_equal(pixels(done["x"]), alone(pipeline, one))


@pytest.mark.parametrize(
    "name", ["DPMSolverMultistepScheduler", *(["EulerDiscreteScheduler"] if scale.FULL else [])]
)
def test_neighbours_change_nothing(engine: SdxlEngine, pipeline: Any, name: str) -> None:
    """Adapters, step counts, sizes and negative prompts mixed; each as if it were alone."""
    with scheduled(engine, pipeline, name):
        together = latents_of(engine, MIXED)
        for one in MIXED:
            single = latents_of(engine, [one])[one.id]
            assert torch.allclose(together[one.id], single, atol=CLOSE, rtol=0)


def test_adapters_change_the_image(engine: SdxlEngine) -> None:
    """A check that could not fail otherwise: with silent base output all would be equal."""
    made = latents_of(engine, [member(f"{a}", a) for a in ("l1", "l10", "other", None)])
    values = list(made.values())
    for i, first in enumerate(values):
        for second in values[i + 1 :]:
            assert (first - second).abs().max() > 0.5


def test_members_leave_in_order_of_their_steps(engine: SdxlEngine) -> None:
    """And every step is timed with the members still in it."""
    done, ran = run(
        engine, [member("long", steps=5), member("short", steps=2), member("mid", steps=3)]
    )
    assert list(done) == ["short", "mid", "long"]
    steps = [span.n for span in ran.spans if span.phase is Phase.STEP]
    assert steps == [3, 3, 2, 1, 1]
    assert all(
        s.unet_s is not None and 0 < s.unet_s <= s.seconds
        for s in ran.spans
        if s.phase is Phase.STEP
    )
    assert [s.ids for s in ran.spans if s.phase is Phase.DECODE] == [
        ("short",),
        ("mid",),
        ("long",),
    ]
    ends = [s.start_s + s.seconds for s in ran.spans]
    assert all(later.start_s >= end - 1e-9 for end, later in zip(ends, ran.spans[1:], strict=False))


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"width": 100}, "no multiple of 8"),
        ({"steps": 1001}, "more than the 1000"),
        ({"skip": 3}, "no latents of its first 3 steps"),
        ({"adapter": "unknown"}, "not resident"),
    ],
)
def test_a_request_that_cannot_be_run_fails_alone(
    engine: SdxlEngine, broken: dict[str, Any], reason: str
) -> None:
    adapter = broken.pop("adapter", "l1")
    done, _ = run(engine, [member("good", "l1"), member("bad", adapter, **broken), member("too")])
    assert done["bad"].error is not None
    assert reason in done["bad"].error
    expected = run(engine, [member("good", "l1")])[0]["good"]
    assert abs(pixels(done["good"]) - pixels(expected)).max() <= 1
    assert done["too"].error is None


def test_one_whose_step_fails_leaves_the_others_alone(
    engine: SdxlEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler of one request raises at its third step."""
    from pats_opt.execute.engine.sampling import Sampling

    step = Sampling.step

    def fails(self: Sampling, prediction: Any) -> None:
        if self.member.id == "bad" and self.done == 2:
            raise RuntimeError("two\nlines")
        step(self, prediction)

    monkeypatch.setattr(Sampling, "step", fails)
    done, ran = run(engine, [member("good"), member("bad", seed=9)])
    assert done["bad"].error == "RuntimeError: two"
    assert np.array_equal(
        pixels(done["good"]), pixels(run(engine, [member("good")])[0]["good"])
    ) or (abs(pixels(done["good"]) - pixels(run(engine, [member("good")])[0]["good"])).max() <= 1)
    assert ran.splits == 0


def test_what_the_caller_raises_ends_the_batch(engine: SdxlEngine) -> None:
    """Such as a full disk: it is not taken for the request's failure."""

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        engine.run([member("a", steps=1)], full)


def test_progress(engine: SdxlEngine) -> None:
    """Steps by request, as they are when one leaves."""
    seen = []
    engine.run(
        [member("a", steps=1), member("b", steps=2)], lambda _: seen.append(dict(engine.progress()))
    )
    assert seen == [{"a": 1, "b": 1}, {"a": 1, "b": 2}]


def test_the_same_orders_give_the_same_images(settings: EngineSettings, engine: SdxlEngine) -> None:
    """In another engine, with its adapters loaded in another order."""
    import msgspec

    other = open_engine(
        msgspec.structs.replace(settings, resident=(), slots=2, tier=Tier.DISK), lambda: 0.0
    )
    other.switch(["l10"], [])
    other.switch(["l1"], ["l10"])
    ran = other.switch(["other"], [])
    assert [(s.phase, s.ids, s.tier) for s in ran.spans] == [(Phase.LOAD, ("other",), Tier.DISK)]
    assert other.slots.resident == {"l1", "other"}
    for adapter in ("l1", "other"):
        one = member("x", adapter)
        assert np.array_equal(pixels(run(other, [one])[0]["x"]), pixels(run(engine, [one])[0]["x"]))
    other.close()


def test_without_guidance_nothing_is_doubled(settings: EngineSettings, pipeline: Any) -> None:
    """A guidance of 1 runs the UNet once a member, as the pipeline does."""
    import msgspec

    plain = open_engine(msgspec.structs.replace(settings, guidance=1.0), lambda: 0.0)
    rows = []
    plain.pipeline.unet.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    done, _ = run(plain, [member("a", steps=2), member("b", "l1", steps=3)])
    assert rows == [2, 2, 1]
    expected = pipeline(
        "a corgi in the snow",
        num_inference_steps=2,
        width=64,
        height=64,
        guidance_scale=1.0,
        generator=torch.Generator("cpu").manual_seed(3),
    ).images[0]
    assert abs(pixels(done["a"]) - np.asarray(expected).astype(np.int64)).max() <= 1


def test_set_up_describes_the_engine(engine: SdxlEngine) -> None:
    setup = engine.setup
    assert setup.scheduler == "EulerDiscreteScheduler"
    assert setup.rank == 4
    assert setup.versions["torch"] == torch.__version__
    assert setup.device
    assert setup.memory_gib is None
