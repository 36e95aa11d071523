"""Compositions: several adapters with scales in one slot, and adapters that come and go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pats_opt.errors import InputError
from pats_opt.execute.adapter_set import AdapterPart, AdapterSet
from pats_opt.execute.adapters import make_adapters
from pats_opt.execute.engine.lora_file import Delta
from pats_opt.execute.engine.slots import Layout, SlotError
from pats_opt.execute.record import Tier
from tests.execute.engine.conftest import alone, composed, member, pixels, run
from tests.execute.engine.test_slots import opened

BOTH = (AdapterPart("l1", 0.8), AdapterPart("other", -0.5))


@pytest.mark.parametrize("scales", [(0.8, -0.5), (1.0, 1.0), (0.6,)], ids=str)
def test_a_composition_is_diffusers_own(
    files: dict[str, str], pipeline: Any, scales: tuple[float, ...]
) -> None:
    """With the weights of ``set_adapters``, in the UNet and the text encoders alike."""
    names = ("l1", "other")[: len(scales)]
    parts = tuple(map(AdapterPart, names, scales))
    engine = opened(files, 2, compositions={"x": parts}, resident=("x", "l1"))
    assert engine.setup.rank == 4 * len(scales)
    one = member("one", "x", negative_prompt="cats")
    expected = composed(pipeline, one, {files[p.name]: p.scale for p in parts})
    assert abs(pixels(run(engine, [one])[0]["one"]) - expected).max() <= 1
    assert abs(expected - alone(pipeline, one, files["l1"])).max() > 10
    plain = member("plain", "l1")
    got = pixels(run(engine, [plain])[0]["plain"])
    assert abs(got - alone(pipeline, plain, files["l1"])).max() <= 1


def test_a_composition_in_a_batch_with_others(files: dict[str, str], pipeline: Any) -> None:
    engine = opened(files, 2, compositions={"x": BOTH}, resident=("x", "l10"))
    some = [member("a", "x"), member("b", "l10"), member("c", None)]
    done, _ = run(engine, some)
    scales = {files[part.name]: part.scale for part in BOTH}
    assert abs(pixels(done["a"]) - composed(pipeline, some[0], scales)).max() <= 1
    assert abs(pixels(done["b"]) - alone(pipeline, some[1], files["l10"])).max() <= 1


@pytest.mark.parametrize("tier", list(Tier))
def test_adapters_come_and_go(files: dict[str, str], pipeline: Any, tier: Tier) -> None:
    """A further file and a composition of it, in an engine with room for two parts."""
    known = {"l1": files["l1"]}
    engine = opened(known, 1, max_parts=2, tier=tier)
    new = AdapterSet(files={"other": files["other"]}, compositions={"x": BOTH})
    engine.change_adapters(new, ())
    one = member("one", "x")
    engine.switch(["x"], [])
    got = pixels(run(engine, [one])[0]["one"])
    expected = composed(pipeline, one, {files[part.name]: part.scale for part in BOTH})
    assert abs(got - expected).max() <= 1
    engine.change_adapters(AdapterSet(), ["x", "other"])
    assert np.array_equal(pixels(run(engine, [one])[0]["one"]), got)  # it is still resident
    engine.switch(["l1"], ["x"])
    with pytest.raises(InputError, match="no adapter 'x' any more"):
        engine.adapters.fetch("x")


def test_an_adapter_that_slots_have_no_room_for(tmp_path: Path, files: dict[str, str]) -> None:
    engine = opened({"l1": files["l1"]}, 1)
    larger = make_adapters("tiny", ["large"], tmp_path, 8)
    with pytest.raises(SlotError, match="'large' has rank 8, and slots have 4"):
        engine.change_adapters(AdapterSet(files=larger), ())
    both = AdapterSet(files={"other": files["other"]}, compositions={"x": BOTH})
    with pytest.raises(SlotError, match="'x' has rank 8"):
        engine.change_adapters(both, ())
    assert list(engine.adapters.held) == ["l1"]
    with pytest.raises(SlotError, match="which slots do not cover"):
        Layout([]).refuse("x", {("unet", "x"): Delta(torch.zeros(0, 1), torch.zeros(1, 0), 1.0)})
