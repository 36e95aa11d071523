"""Slots filled beside a batch of the tiny model: images stay the same to the last bit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pats_opt.execute.drivers import ScheduleDriver
from pats_opt.execute.engine.sdxl import SdxlEngine
from pats_opt.execute.options import Options
from pats_opt.execute.orders import OrderBuilder
from pats_opt.execute.record import Pace, Phase, Tier
from pats_opt.execute.run import execute
from pats_opt.execute.work import EngineSettings
from pats_opt.execute.worker import open_sdxl
from tests.execute.engine.conftest import member, pixels, run
from tests.execute.engine.test_slots import opened
from tests.execute.runs import beside, of
from tests.support.zoo import adapter, gpu, request

#: Seconds that a slow load takes: as long as several steps of the tiny model.
SLOW_S = 0.05


def open_slow(settings: EngineSettings, clock: Callable[[], float]) -> Any:
    """The tiny model with loads that take their time, in the background as in the foreground."""
    engine: Any = open_sdxl(settings, clock)
    fetch = engine.adapters.fetch

    def slow(name: str) -> Any:
        time.sleep(SLOW_S)
        return fetch(name)

    engine.adapters.fetch = slow
    return engine


@pytest.mark.parametrize("tier", list(Tier))
def test_images_are_those_without_overlap(tmp_path: Path, tier: Tier) -> None:
    """A schedule with loads beside serving, against the same batches with blocking switches."""
    story = of(
        *(
            request(f"r{i}", 3 + i % 2, adapter=name, demand={"vram_gib": 3.0}, seed=i)
            for i, name in enumerate("abcabc")
        ),
        adapters=[adapter(name, vram_gib=0.1, load_s=0.05) for name in "abc"],
        gpus=[gpu(resident=("a",))],
        switching={"max_resident": 2, "overlap": {"channels": 1}},
    )
    plan = beside(story, 1)
    options = Options(devices=("cpu",), threads=1, tier=tier)
    driver = ScheduleDriver(story, plan, Pace.FAST)
    outcome = execute(story, driver, options, tmp_path / "out", open_engine=open_slow)
    assert outcome.error is None
    (only,) = outcome.execution.gpus
    assert any(load.hidden > 0 for load in only.loads)
    assert {load.tier for load in only.loads} == {tier}
    assert not any(s.phase is Phase.LOAD for batch in only.batches for s in batch.spans)
    files = {path.stem: path for path in (tmp_path / "out" / "adapters").iterdir()}
    by_id = {load: str(path) for load, path in zip("abc", _in_order(files), strict=True)}
    blocking = opened(by_id, 1)
    builder = OrderBuilder(story, (), options.shrink)
    for batch in only.batches:
        members = [builder.member(m.id, m.option) for m in batch.members]
        wanted = members[0].adapter
        assert wanted is not None
        if wanted not in blocking.slots.resident:
            blocking.switch([wanted], list(blocking.slots.resident))
        done, _ = run(blocking, members)
        for m in members:
            made = np.asarray(Image.open(tmp_path / "out" / "images" / f"{m.id}.png"))
            assert np.array_equal(made.astype(np.int64), pixels(done[m.id]))


def _in_order(files: dict[str, Path]) -> list[Path]:
    """The files of ``a``, ``b`` and ``c``, which are named by digests of those."""
    import hashlib

    digests = [hashlib.sha256(name.encode()).hexdigest()[:16] for name in "abc"]
    return [next(path for stem, path in files.items() if d in stem) for d in digests]


def test_a_slot_that_is_being_filled_is_never_used(
    files: dict[str, str], engine: SdxlEngine
) -> None:
    """Nor counts as resident; once it is filled, the image is the adapter's."""
    own = opened(files, 2, resident=("other",))
    own.reserve("l1", [])
    assert own.slots.resident == {"other"}
    with pytest.raises(ValueError, match="'l1' is being loaded"):
        own.slots.use([("l1", 2)])
    with pytest.raises(ValueError, match="'l1' is resident"):
        own.reserve("l1", [])
    with pytest.raises(ValueError, match="'l10' finds no free slot"):
        own.reserve("l10", [])
    done, _ = run(own, [member("x", "l1")])
    assert done["x"].error is not None
    assert "is being loaded" in done["x"].error
    span = own.fill("l1")
    assert (span.phase, span.ids, span.tier) == (Phase.LOAD, ("l1",), Tier.HOST)
    assert own.slots.resident == {"other", "l1"}
    one = member("x", "l1")
    assert np.array_equal(pixels(run(own, [one])[0]["x"]), pixels(run(engine, [one])[0]["x"]))


@pytest.mark.parametrize("tier", list(Tier))
def test_slots_filled_while_a_batch_runs(
    files: dict[str, str], engine: SdxlEngine, tier: Tier
) -> None:
    """Over and over, by two threads, from memory or from files: the batch's image is its own."""
    own = opened(files, 3, resident=("other",), tier=tier)
    ended, errors = threading.Event(), list[BaseException]()

    def fill(name: str) -> None:
        out: list[str] = []
        try:
            while not ended.is_set():
                own.reserve(name, out)
                own.fill(name)
                out = [name]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=fill, args=(name,)) for name in ("l1", "l10")]
    for thread in threads:
        thread.start()
    one = member("x", "other", steps=6)
    got = pixels(run(own, [one])[0]["x"])
    ended.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert np.array_equal(got, pixels(run(engine, [one])[0]["x"]))
    for name in ("l1", "l10"):
        one = member("x", name)
        assert np.array_equal(pixels(run(own, [one])[0]["x"]), pixels(run(engine, [one])[0]["x"]))
