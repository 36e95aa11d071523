"""Slots: padding, scales, and that nothing of an adapter outlives its eviction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pats_opt.execute.adapters import make_adapters
from pats_opt.execute.engine import open_engine, sdxl
from pats_opt.execute.engine.lora_file import read_lora
from pats_opt.execute.engine.sdxl import SdxlEngine
from pats_opt.execute.engine.slots import Slots
from pats_opt.execute.work import EngineSettings
from tests.execute.engine.conftest import GUIDANCE, alone, latents_of, member, pixels, run


def opened(files: dict[str, str], slots: int, **changed: Any) -> SdxlEngine:
    """An engine over these adapters."""
    given: dict[str, Any] = {"model": "tiny", "device": "cpu", "dtype": "float32"}
    return open_engine(
        EngineSettings(**given, guidance=GUIDANCE, adapter_files=files, slots=slots, **changed),
        lambda: 0.0,
    )


def test_a_slot_reused_is_the_new_adapters_alone(files: dict[str, str], engine: SdxlEngine) -> None:
    """One slot, three adapters in turn and back: each time the image of a fresh engine."""
    single = opened(files, 1)
    for adapter, evicted in (("l1", []), ("other", ["l1"]), ("l10", ["other"]), ("l1", ["l10"])):
        single.switch([adapter], evicted)
        one = member("x", adapter)
        assert np.array_equal(
            pixels(run(single, [one])[0]["x"]), pixels(run(engine, [one])[0]["x"])
        )
    single.switch([], ["l1"])
    bare = member("x", None)
    assert np.array_equal(pixels(run(single, [bare])[0]["x"]), pixels(run(engine, [bare])[0]["x"]))


def test_ranks_are_padded_with_nothing(tmp_path: Path, pipeline: Any) -> None:
    """An adapter of rank 2 in a slot of rank 8 is the pipeline's, up to rounding."""
    files = {
        **make_adapters("tiny", ["small"], tmp_path / "2", 2),
        **make_adapters("tiny", ["large"], tmp_path / "8", 8),
    }
    padded = opened(files, 1, resident=("small",))
    assert padded.setup.rank == 8
    one = member("x", "small")
    got, expected = pixels(run(padded, [one])[0]["x"]), alone(pipeline, one, files["small"])
    assert abs(got - expected).max() <= 1
    assert abs(expected - alone(pipeline, member("x"))).max() > 20


def test_adapters_of_different_layers_share_the_slots(
    tmp_path: Path, files: dict[str, str], pipeline: Any
) -> None:
    """One changes the UNet only, and not all of it; text encoders then stay bare for it."""
    tensors = load_file(files["l1"])
    narrow = tmp_path / "narrow.safetensors"
    save_file({k: v for k, v in tensors.items() if ".attn2.to_k." in k}, narrow)
    both = opened({"wide": files["l1"], "narrow": str(narrow)}, 2, resident=("wide", "narrow"))
    for adapter, file in (("narrow", str(narrow)), ("wide", files["l1"]), ("narrow", str(narrow))):
        one = member("x", adapter)
        assert abs(pixels(run(both, [one])[0]["x"]) - alone(pipeline, one, file)).max() <= 1


def test_kohya_alpha_scales(tmp_path: Path, files: dict[str, str], pipeline: Any) -> None:
    """A file in kohya's names with alphas gives what diffusers gives for it."""
    tensors = {}
    for key, value in load_file(files["other"]).items():
        if not key.startswith("unet."):
            continue
        stem, _, part = key.removesuffix(".weight").rpartition(".lora_")
        name = "lora_unet_" + stem.removeprefix("unet.").replace(".", "_")
        tensors[f"{name}.lora_{'down' if part == 'A' else 'up'}.weight"] = value
        tensors[f"{name}.alpha"] = torch.tensor(1.0)
    path = tmp_path / "kohya.safetensors"
    save_file(tensors, path)
    engine = opened({"k": str(path), "full": files["other"]}, 2, resident=("k", "full"))
    one = member("x", "k")
    got = pixels(run(engine, [one])[0]["x"])
    assert abs(got - alone(pipeline, one, str(path))).max() <= 1
    assert abs(got - pixels(run(engine, [member("x", "full")])[0]["x"])).max() > 10


@pytest.mark.parametrize("stabilised", [False, True])
def test_a_stored_configuration_scales(
    tmp_path: Path, files: dict[str, str], pipeline: Any, stabilised: bool
) -> None:
    """Alpha, one layer's own, and rank stabilisation, from the header that diffusers writes."""
    tensors = {k: v for k, v in load_file(files["l1"]).items() if k.startswith("unet.")}
    names = sorted({k.removeprefix("unet.").split(".lora_")[0] for k in tensors})
    config = {
        "unet.r": 4,
        "unet.lora_alpha": 2,
        "unet.alpha_pattern": {names[0]: 1},
        "unet.target_modules": names,
        "unet.use_rslora": stabilised,
    }
    path = tmp_path / "configured.safetensors"
    save_file(tensors, path, metadata={"lora_adapter_metadata": json.dumps(config)})
    deltas = read_lora(str(path), pipeline)
    divisor = 2 if stabilised else 4
    assert {d.scale for d in deltas.values()} == {1 / divisor, 2 / divisor}
    engine = opened({"c": str(path)}, 1, resident=("c",))
    one = member("x", "c")
    got = pixels(run(engine, [one])[0]["x"])
    assert abs(got - alone(pipeline, one, str(path))).max() <= 1


def test_loading_does_not_alias_the_host_copy(files: dict[str, str], engine: SdxlEngine) -> None:
    """Changes of a slot never reach the copy in host memory (nor another slot)."""
    own = opened(files, 2, resident=("l1", "l10"))
    before = own.adapters.held["l1"].clone()
    own.slots._buffers[0].add_(1.0)
    assert torch.equal(own.adapters.held["l1"], before)
    one = member("x", "l10")
    assert np.array_equal(pixels(run(own, [one])[0]["x"]), pixels(run(engine, [one])[0]["x"]))
    own.switch(["l1"], ["l1"])
    one = member("x", "l1")
    assert np.array_equal(pixels(run(own, [one])[0]["x"]), pixels(run(engine, [one])[0]["x"]))


def test_text_encoders_do_not_keep_an_adapter(engine: SdxlEngine) -> None:
    """With diffusers, the last adapter stays in them when the next is for the UNet only."""
    alone_first = latents_of(engine, [member("x", None)])["x"]
    latents_of(engine, [member("y", "l1")])
    assert torch.equal(latents_of(engine, [member("x", None)])["x"], alone_first)


def test_full_and_unknown_slots_are_refused(files: dict[str, str]) -> None:
    engine = opened(files, 1)
    engine.switch(["l1"], [])
    with pytest.raises(ValueError, match="'l10' finds no free slot"):
        engine.switch(["l10"], [])
    with pytest.raises(ValueError, match="'l1' is resident"):
        engine.switch(["l1"], [])
    with pytest.raises(ValueError, match="'other' is not resident"):
        engine.switch([], ["other"])
    with pytest.raises(ValueError, match="'other' is not resident"):
        engine.slots.use([("other", 2)])


def test_a_staged_slot_follows_the_active_adapter(
    files: dict[str, str], engine: SdxlEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU with graphs: batches run from a copy, which a new load of an id renews."""
    monkeypatch.setattr(sdxl, "Slots", lambda *given, **_: Slots(*given, staged=True))
    own = opened(files, 2)
    own.switch(["l1", "other"], [])
    for adapter in ("l1", "other", None, "other", "l1"):
        one = member("x", adapter)
        expected = pixels(run(engine, [one])[0]["x"])
        assert np.array_equal(pixels(run(own, [one])[0]["x"]), expected)
        assert own.slots.in_use([adapter])
        assert own.slots.bare == (adapter is None)
    own.adapters.held["l1"] = own.adapters.held["l10"]  # another adapter under the same id
    own.switch([], ["l1"])
    own.switch(["l1"], [])
    assert not own.slots.in_use(["l1"])
    expected = pixels(run(engine, [member("x", "l10")])[0]["x"])
    assert np.array_equal(pixels(run(own, [member("x", "l1")])[0]["x"]), expected)
