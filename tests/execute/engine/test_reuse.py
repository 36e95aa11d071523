"""Approximate caching with the tiny model: requests that start from earlier prompts' latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from pats_opt.caching.levels import CacheLevels
from pats_opt.errors import InputError
from pats_opt.execute.engine import open_engine
from pats_opt.execute.engine.sampling import Sampling
from pats_opt.execute.engine.sdxl import SdxlEngine
from pats_opt.execute.latent_folder import LatentCacheSettings
from pats_opt.execute.record import LatentLookup, Phase
from pats_opt.execute.work import EngineSettings, MeasuredRun, Member
from tests.execute.engine.conftest import (
    latents_of,
    member,
    pixels,
    run,
    take_a_scheduler_with_history,
)
from tests.execute.engine.test_sdxl import CLOSE

FOX, SOUP = "a red fox in the snow", "bowl of hot soup"


@pytest.fixture
def cached(settings: EngineSettings, tmp_path: Path) -> EngineSettings:
    """Settings with a folder of latents at levels 2 and 4 of 6 steps."""
    return replace(settings, cache=folder(tmp_path / "latents"))


def folder(path: Path, **others: Any) -> LatentCacheSettings:
    """Settings of a folder."""
    levels = CacheLevels(levels=(2, 4), thresholds=(0.2, 0.6))
    given: dict[str, Any] = {"limit": 10**6, "levels": levels, "totals": (6,)}
    return LatentCacheSettings(folder=str(path), **{**given, **others})


def asks(name: str, prompt: str, skip: int, adapter: str | None = None, seed: int = 1) -> Member:
    """A request of six steps that may skip some."""
    return member(name, adapter, prompt=prompt, steps=6 - skip, skip=skip, seed=seed)


def steps(ran: MeasuredRun) -> list[int]:
    """Members of each step."""
    return [span.n for span in ran.spans if span.phase is Phase.STEP]


def test_the_same_prompt_again_is_the_same_image_in_fewer_steps(cached: EngineSettings) -> None:
    """Bit for bit, whatever its seed: the noise is the first one's."""
    engine = open_engine(cached, lambda: 0.0)
    first, ran = run(engine, [asks("first", FOX, 4)])
    assert steps(ran) == [1] * 6  # there is nothing to start from yet
    assert first["first"].latents == LatentLookup(asked=4, stored=(2, 4))
    assert (first["first"].member.steps, first["first"].member.skip) == (6, 0)
    for name, skip in (("deep", 4), ("shallow", 2), ("between", 3)):
        again, ran = run(engine, [asks(name, FOX, skip, seed=9)])
        level = 2 if skip == 3 else skip
        assert steps(ran) == [1] * (6 - level)
        assert again[name].latents == LatentLookup(
            asked=skip, level=level, similarity=1.0, prompt=FOX, request="first"
        )
        assert (again[name].member.steps, again[name].member.skip) == (6 - level, level)
        assert np.array_equal(pixels(again[name]), pixels(first["first"]))
    phases = [span.phase for span in ran.spans]
    assert phases.count(Phase.LATENTS) == 2


def test_a_similar_prompt_shares_the_first_steps(
    cached: EngineSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its latents are those of a run whose prompt changes after four steps."""
    engine, plain = (
        open_engine(each, lambda: 0.0) for each in (cached, replace(cached, cache=None))
    )
    fox, near = asks("fox", FOX, 0), asks("near", "red fox", 4)
    noted: list[torch.Tensor] = []
    step = Sampling.step

    def note(self: Sampling, prediction: Any) -> None:
        step(self, prediction)
        if self.member.id == "fox" and self.done == 4:
            noted.append(self.latents)

    monkeypatch.setattr(Sampling, "step", note)
    run(plain, [fox])
    run(engine, [fox])
    monkeypatch.setattr(plain._latents, "get", lambda _: noted[0])
    started, shared = (latents_of(each, [near])["near"] for each in (engine, plain))
    assert torch.equal(started, shared)
    own = latents_of(plain, [asks("own", "red fox", 0)])["own"]
    assert not torch.allclose(started, own, atol=CLOSE)


def test_batches_mix_starts(cached: EngineSettings) -> None:
    """Hits at different levels, a miss, and one that skips nothing; each as if it were alone."""
    engine = open_engine(cached, lambda: 0.0)
    run(engine, [asks("fox", FOX, 0), asks("soup", SOUP, 0, seed=2)])
    batch = [
        asks("deep", "red fox", 4),
        asks("shallow", "hot soup", 2),
        asks("miss", "quiet village church", 4, seed=3),
        asks("other", "red fox", 4, "l1", seed=4),
        asks("full", "purple dragon", 0, seed=5),
    ]
    done, ran = run(engine, batch)
    assert steps(ran) == [5, 5, 4, 4, 3, 3]
    assert {name: one.latents.level for name, one in done.items() if one.latents} == {
        "deep": 4,
        "shallow": 2,
        "miss": 0,
        "other": 0,
        "full": 0,
    }
    stored = {name for name, one in done.items() if one.latents and one.latents.stored}
    assert stored == {"miss", "other", "full"}
    for one in batch[:2]:
        single, _ = run(engine, [one])
        assert abs(pixels(done[one.id]) - pixels(single[one.id])).max() <= 1


def test_latents_outlive_the_engine(cached: EngineSettings) -> None:
    """And are of the model, precision, guidance, size, steps and adapter that made them."""
    first, _ = run(open_engine(cached, lambda: 0.0), [asks("first", FOX, 4, "l1")])
    again = open_engine(cached, lambda: 0.0)

    def level(engine: SdxlEngine, one: Member) -> int:
        done, _ = run(engine, [one])
        assert done[one.id].latents is not None
        return done[one.id].latents.level  # type: ignore[union-attr]

    same, _ = run(again, [asks("again", FOX, 4, "l1", seed=7)])
    assert np.array_equal(pixels(same["again"]), pixels(first["first"]))
    assert level(again, asks("bare", FOX, 4)) == 0
    assert level(again, asks("wide", FOX, 4, "l1")) == 4
    wide = replace(asks("wide", FOX, 4, "l1"), width=128)
    assert level(again, wide) == 0
    other = open_engine(replace(cached, guidance=2.0), lambda: 0.0)
    assert level(other, asks("guided", FOX, 4, "l1")) == 0
    assert cached.cache is not None
    shared = replace(cached, cache=replace(cached.cache, scope="global"))
    everyone = open_engine(shared, lambda: 0.0)
    assert level(everyone, asks("bare", FOX, 4)) == 0
    assert level(everyone, asks("adapted", FOX, 4, "l1")) == 4


def test_requests_of_other_step_counts_stay_out(cached: EngineSettings) -> None:
    """No option that skips steps has them, so nobody could start from their latents."""
    engine = open_engine(cached, lambda: 0.0)
    done, _ = run(engine, [member("seven", prompt=FOX, steps=7)])
    assert done["seven"].latents == LatentLookup(asked=0)
    assert cached.cache is not None
    assert not list(Path(cached.cache.folder).glob("*.safetensors"))


@pytest.mark.parametrize("content", ["noise", "another size", "another tensor"])
def test_a_file_of_something_else_is_a_miss(
    cached: EngineSettings, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Even where it says that it holds the latents; the request runs all its steps."""
    from safetensors.torch import load, save

    from pats_opt.execute.latent_folder import LatentFolder, described, metadata

    assert cached.cache is not None
    path = Path(cached.cache.folder)
    engine = open_engine(cached, lambda: 0.0)
    run(engine, [asks("first", FOX, 4)])
    engine.close()
    for file in path.glob("*.safetensors"):
        line = described(file)
        assert line is not None
        held = load(file.read_bytes())["latents"]
        tensors = {
            "noise": {"latents": held},
            "another size": {"latents": held[..., :-1].contiguous()},
            "another tensor": {"latents": held[0].contiguous()},
        }[content]
        data = save(tensors, metadata(line))
        file.write_bytes(data[:-3] + b"abc" if content == "noise" else data)
    if content != "noise":
        (path / "index.jsonl").unlink()
    LatentFolder(cached.cache).verify()
    again = open_engine(cached, lambda: 0.0)
    done, ran = run(again, [asks("again", FOX, 4)])
    assert steps(ran) == [1] * 6
    assert done["again"].latents is not None
    assert (done["again"].latents.level, done["again"].latents.stored) == (0, (2, 4))
    assert [record.message for record in caplog.records if "damaged" in record.message]


def test_a_folder_that_fails_stops_nothing(
    cached: EngineSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as a full disk: one line, and all steps."""
    engine = open_engine(cached, lambda: 0.0)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pats_opt.execute.latent_folder.replace_bytes", full)
    for name in ("one", "two"):
        done, _ = run(engine, [asks(name, FOX, 4)])
        assert done[name].latents == LatentLookup(asked=4)
        assert done[name].error is None
    assert len(caplog.records) == 1
    assert "No space left on device" in caplog.text


def test_a_scheduler_with_history_is_refused(
    cached: EngineSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_a_scheduler_with_history(monkeypatch)
    with pytest.raises(InputError, match=r"DPMSolverMultistepScheduler.*EulerDiscreteScheduler"):
        open_engine(cached, lambda: 0.0)
