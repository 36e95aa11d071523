"""Options that skip steps: they start from latents made beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from pats_opt.errors import InputError
from pats_opt.execute.engine import open_engine
from pats_opt.execute.record import Phase
from pats_opt.execute.work import EngineSettings
from tests.execute.engine.conftest import (
    alone,
    member,
    pixels,
    run,
    take_a_scheduler_with_history,
)

SKIPPING = [
    member("s", "l1", steps=4, skip=3),
    member("t", None, steps=5, skip=2, seed=8),
    member("full", "l1", steps=7),
]


def test_skipping_gives_the_image_of_all_steps(
    settings: EngineSettings, pipeline: Any, files: dict[str, str], tmp_path: Path
) -> None:
    """In fewer steps, alone and in a batch; latents are kept and not made again."""
    primed = msgspec.structs.replace(
        settings, prime=tuple(SKIPPING[:2]), latents=str(tmp_path), resident=("l1",), slots=1
    )
    engine = open_engine(primed, lambda: 0.0)
    assert [s.phase for s in engine.setup.primed] == [Phase.PRIME] * 2
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    for one, file in ((SKIPPING[0], files["l1"]), (SKIPPING[1], None)):
        done, ran = run(engine, [one])
        assert np.array_equal(pixels(done[one.id]), alone(pipeline, one, file))
        assert sum(s.phase is Phase.STEP for s in ran.spans) == one.steps
    together, _ = run(engine, SKIPPING)
    assert list(together) == ["s", "t", "full"]
    assert abs(pixels(together["s"]) - pixels(together["full"])).max() <= 1
    assert open_engine(primed, lambda: 0.0).setup.primed == ()


def test_a_spoilt_latent_is_made_again(settings: EngineSettings, tmp_path: Path) -> None:
    primed = msgspec.structs.replace(
        settings, prime=(SKIPPING[0],), latents=str(tmp_path), resident=(), slots=1
    )
    open_engine(primed, lambda: 0.0)
    (file,) = tmp_path.glob("*.safetensors")
    good = file.read_bytes()
    file.write_bytes(good[:40])
    assert len(open_engine(primed, lambda: 0.0).setup.primed) == 1
    assert file.read_bytes() == good


def test_a_scheduler_with_history_is_refused(
    settings: EngineSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_a_scheduler_with_history(monkeypatch)
    with pytest.raises(InputError, match=r"DPMSolverMultistepScheduler.*EulerDiscreteScheduler"):
        open_engine(msgspec.structs.replace(settings, prime=(SKIPPING[0],)), lambda: 0.0)


def test_a_request_that_cannot_be_primed_is_named(settings: EngineSettings) -> None:
    odd = member("odd", None, steps=2, skip=1, width=100)
    with pytest.raises(InputError, match=r"'odd' cannot be primed.*multiple of 8"):
        open_engine(msgspec.structs.replace(settings, prime=(odd,)), lambda: 0.0)
