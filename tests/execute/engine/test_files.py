"""Models and adapters from files: safetensors only, and refused when they do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pats_opt.errors import InputError
from pats_opt.execute.adapter_set import AdapterPart
from pats_opt.execute.adapters import adapters_in, find_adapters, make_adapters
from pats_opt.execute.engine.lora_file import read_lora
from pats_opt.execute.engine.model import open_pipeline
from pats_opt.profiling.adapters import describe
from tests.execute.engine.conftest import alone, member

Tensors = dict[str, torch.Tensor]


def renamed(tensors: Tensors) -> Tensors:
    """A layer that the model does not have."""
    return {k.replace("mid_block", "middle_block"): v for k, v in tensors.items()}


def unpaired(tensors: Tensors) -> Tensors:
    """A layer with half of its matrices."""
    return dict(list(tensors.items())[1:])


def reshaped(tensors: Tensors) -> Tensors:
    """A layer for a wider model."""
    key = next(k for k in tensors if k.startswith("unet.") and "lora_A" in k)
    return {**tensors, key: torch.zeros(4, 999)}


def broken(tensors: Tensors) -> Tensors:
    """A number that is none."""
    key = min(tensors)
    return {**tensors, key: torch.full_like(tensors[key], float("nan"))}


def foreign(tensors: Tensors) -> Tensors:
    """A part that no SDXL model has."""
    return {**tensors, "transformer.x.lora_A.weight": torch.zeros(4, 4)}


def checkpoint(_: Tensors) -> Tensors:
    """No adapter at all."""
    return {"unet.conv_in.weight": torch.zeros(4, 4)}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (renamed, "the model has no such layer"),
        (unpaired, "is missing"),
        (reshaped, "its shape does not fit"),
        (broken, "not finite"),
        (foreign, "no such part"),
        (checkpoint, "safetensors: "),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(
    tmp_path: Path,
    files: dict[str, str],
    pipeline: Any,
    spoil: Callable[[Tensors], Tensors],
    reason: str,
) -> None:
    """Each of these diffusers takes, or half takes, without a word or with one that says little."""
    path = tmp_path / "spoilt.safetensors"
    save_file(spoil(load_file(files["l1"])), path)
    with pytest.raises(InputError, match=reason) as caught:
        read_lora(str(path), pipeline)
    assert caught.value.file == str(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("unet.x.dora_scale", "a DoRA"),
        ("unet.x.lora_magnitude_vector", "a DoRA"),
        ("lora_unet_mid_block_attentions_0_proj_in.hada_w1_a", "a LoHa"),
        ("base_model.model.mid_block.attentions.0.proj_in.hada_w1_a", "a LoHa"),
        ("lora_unet_mid_block_attentions_0_proj_in.lokr_w2_b", "a LoKr"),
        ("base_model.model.mid_block.attentions.0.to_k.ia3_l", "an IA3"),
        ("lora_unet_mid_block_attentions_0_to_k.on_input", "an IA3"),
        ("base_model.model.mid_block.attentions.0.to_k.oft_R.weight", "an OFT"),
        ("model.diffusion_model.input_blocks.0.0.weight", "a whole model"),
    ],
)
def test_a_file_of_another_kind_is_named_as_what_it_is(
    tmp_path: Path, files: dict[str, str], pipeline: Any, key: str, kind: str
) -> None:
    """Alone or beside layers of a LoRA, in ``execute`` and in ``profile``."""
    path = tmp_path / "other.safetensors"
    alone: Tensors = {}
    for others in (alone, load_file(files["l1"])):
        save_file({**others, key: torch.zeros(4, 4)}, path)
        for read in (lambda: read_lora(str(path), pipeline), lambda: describe({"a": str(path)})):
            with pytest.raises(InputError, match=f"this is {kind}, not a plain LoRA") as caught:
                read()
            assert (caught.value.file, caught.value.place) == (str(path), key)


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}", b"not safetensors at all"])
def test_a_corrupt_file_is_refused(tmp_path: Path, pipeline: Any, content: bytes) -> None:
    path = tmp_path / "corrupt.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"corrupt\.safetensors"):
        read_lora(str(path), pipeline)


def test_a_truncated_file_is_refused(tmp_path: Path, files: dict[str, str], pipeline: Any) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(Path(files["l1"]).read_bytes()[:-100])
    with pytest.raises(InputError, match="cannot be read"):
        read_lora(str(path), pipeline)


def test_pickles_are_refused_unread(tmp_path: Path, pipeline: Any) -> None:
    """A file that would run code if it were unpickled."""
    ran = tmp_path / "ran"
    path = tmp_path / "evil.bin"
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(ran).encode() + b"'\ntR.")
    with pytest.raises(InputError, match="safetensors only"):
        read_lora(str(path), pipeline)
    with pytest.raises(InputError, match="safetensors only"):
        open_pipeline(str(path), "cpu", "float32")
    assert not ran.exists()


def test_random_adapters_depend_on_their_id_only(tmp_path: Path) -> None:
    one = make_adapters("tiny", ["../../a", "b"], tmp_path / "one")
    two = make_adapters("tiny", ["b", "c"], tmp_path / "two")
    assert Path(one["b"]).read_bytes() == Path(two["b"]).read_bytes()
    assert Path(one["b"]).read_bytes() != Path(two["c"]).read_bytes()
    assert all(Path(f).parent == tmp_path / "one" for f in one.values())


def test_adapters_are_found_by_name_or_mapping(tmp_path: Path) -> None:
    for name in ("a.safetensors", "other.safetensors"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "adapters.json").write_text(json.dumps({"x/y": "other.safetensors"}))
    found = find_adapters(tmp_path, ["a", "x/y", "missing", "../a", ""])
    assert found.files == {
        "a": str(tmp_path / "a.safetensors"),
        "x/y": str(tmp_path / "other.safetensors"),
    }


def test_compositions_are_found(tmp_path: Path) -> None:
    for name in ("a.safetensors", "other.safetensors"):
        (tmp_path / name).write_bytes(b"")
    both = [{"name": "a", "scale": 0.5}, {"name": "b"}]
    mapping = {"b": "other.safetensors", "both": both, "soft": [{"name": "a", "scale": 0.5}]}
    (tmp_path / "adapters.json").write_text(json.dumps(mapping))
    found = adapters_in(tmp_path)
    assert list(found) == ["a", "b", "both", "soft"]
    assert found.parts("both") == (AdapterPart("a", 0.5), AdapterPart("b"))
    some = find_adapters(tmp_path, ["both"])
    assert some == found.only(["both"])
    assert set(some.files) == {"a", "b"}
    digests = {found.digest(name) for name in found}
    assert len(digests) == 3  # the two files are empty alike


@pytest.mark.parametrize(
    ("mapping", "reason"),
    [
        ('{"a": "gone.safetensors"}', "not there"),
        ('{"a": 3}', "no mapping"),
        ("{", "adapters.json"),
        ('{"a": []}', "no mapping"),
        ('{"a": [{"name": "b"}, {"name": "b"}]}', "each part once"),
        ('{"a": [{"name": "b", "weight": 1}]}', "no mapping"),
        ('{"a": [{"name": "b"}]}', "'b', which is no adapter file"),
        ('{"a": [{"name": "c"}], "c": [{"name": "a"}]}', "'c', which is no adapter file"),
    ],
)
def test_a_wrong_mapping_is_refused(tmp_path: Path, mapping: str, reason: str) -> None:
    (tmp_path / "adapters.json").write_text(mapping)
    with pytest.raises(InputError, match=reason):
        find_adapters(tmp_path, ["a"])
    with pytest.raises(InputError, match="no such folder"):
        find_adapters(tmp_path / "gone", ["a"])


def test_a_model_from_a_folder_is_the_same(tmp_path: Path, pipeline: Any) -> None:
    pipeline.save_pretrained(tmp_path / "model")
    opened = open_pipeline(str(tmp_path / "model"), "cpu", "float32")
    one = member("x", steps=2)
    assert np.array_equal(alone(opened, one), alone(pipeline, one))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: (f / "model_index.json").write_text('{"_class_name": "FluxPipeline"}'), "Flux"),
        (lambda f: (f / "unet" / "diffusion_pytorch_model.safetensors").unlink(), "safetensors"),
        (lambda f: (f / "model_index.json").unlink(), "no such file"),
    ],
)
def test_a_folder_that_is_no_sdxl_in_safetensors_is_refused(
    tmp_path: Path, pipeline: Any, change: Callable[[Path], object], reason: str
) -> None:
    """Also one whose weights are there as a pickle only."""
    folder = tmp_path / "model"
    pipeline.save_pretrained(folder)
    weights = {k: v.clone() for k, v in pipeline.unet.state_dict().items()}
    torch.save(weights, folder / "unet" / "diffusion_pytorch_model.bin")
    change(folder)
    with pytest.raises(InputError, match=reason):
        open_pipeline(str(folder), "cpu", "float32")


@pytest.mark.parametrize(
    ("model", "device", "dtype", "reason"),
    [
        ("tinny", "cpu", "float32", "there is no model 'tinny'"),
        ("/nowhere/model", "cpu", "float32", "there is no model"),
        ("tiny", "cpu", "int8", "there is no precision 'int8'"),
        ("tiny", "warp:9", "float32", "device 'warp:9' cannot be used"),
    ],
)
def test_what_cannot_be_opened_is_named(model: str, device: str, dtype: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        open_pipeline(model, device, dtype)
