"""Reading an adapter's file, and refusing one that does not fit the model.

diffusers translates the formats in use (its own, kohya's, older ones) and then ignores keys that
the model does not have; here such an adapter is refused, as its images would silently be wrong.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from pats_opt.errors import InputError, one_line
from pats_opt.execute.engine.model import BUILT_IN, modules, quiet
from pats_opt.model.files import replace_bytes

#: The pipeline's components that an adapter can change.
COMPONENTS = ("unet", "text_encoder", "text_encoder_2")

_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"

#: Parts of the keys of files of other kinds, which neither diffusers nor this reader applies.
OTHER_KINDS = {
    "dora_scale": "a DoRA",
    "magnitude_vector": "a DoRA",
    "hada_w": "a LoHa",
    "lokr_w": "a LoKr",
    "ia3_l": "an IA3",
    ".on_input": "an IA3",
    ".oft_": "an OFT",
    ".boft_": "a BOFT",
    "vera_lambda": "a VeRA",
    "lllite_": "a ControlNet",
    "emb_params": "a textual inversion",
    "model.diffusion_model.": "a whole model",
}

#: How diffusers names kohya's alphas: after the matrix they came with.
_ALPHA = ".lora_A.weight.alpha"


class Delta(Struct, frozen=True):
    """Change of one layer by an adapter: ``scale * up @ down`` (tensors on the CPU)."""

    down: Any
    up: Any
    scale: float

    @property
    def rank(self) -> int:
        """Its rank."""
        return int(self.down.shape[0])


#: By component and module, in the model's names.
Deltas = dict[tuple[str, str], Delta]


def read_lora(path: str, pipeline: Any) -> Deltas:
    """Read a ``.safetensors`` LoRA file made for SDXL.

    Raises:
        InputError: It cannot be read, is of another kind (such as LoHa), or does not fit the model.
    """
    if not path.endswith(".safetensors"):
        raise InputError(
            "adapters are read from safetensors only, as other formats can run code",
            file=path,
            hint="convert it to .safetensors",
        )
    state, metadata = _translated(path, pipeline)
    alphas = {k: float(state.pop(k)) for k in sorted(state) if k.endswith(_ALPHA)}
    deltas: Deltas = {}
    modules = {
        name: dict(getattr(pipeline, name).named_modules())
        for name in COMPONENTS
        if getattr(pipeline, name) is not None
    }
    for key in sorted(state):
        if key.endswith(_UP):
            if key.removesuffix(_UP) + _DOWN not in state:
                raise _misfit(path, key, "its lora_A is missing")
            continue
        if not key.endswith(_DOWN):
            raise _misfit(path, key, "it is no part of a plain LoRA")
        stem = key.removesuffix(_DOWN)
        if stem + _UP not in state:
            raise _misfit(path, key, "its lora_B is missing")
        component, _, name = stem.partition(".")
        inside = modules.get(component, {})
        if name not in inside:
            name = name.removeprefix("text_model.")  # newer text encoders have no such level
        if name not in inside:
            raise _misfit(path, key, "the model has no such layer")
        down, up = state[key], state[stem + _UP]
        _check_shapes(path, key, inside[name], down, up)
        scale = _scale(alphas.get(stem + _ALPHA), metadata, component, stem, down.shape[0])
        deltas[component, name] = Delta(down, up, scale)
    if not deltas:
        raise InputError("this file holds no LoRA layer", file=path, hint="name another file")
    return deltas


def combined(parts: Sequence[tuple[Deltas, float]]) -> Deltas:
    """Return adapters with scales as one adapter: their matrices side by side, which is exact.

    As diffusers' ``set_adapters`` does, a scale counts for UNet and text encoders alike.
    """
    import torch

    if len(parts) == 1:
        (deltas, scale), *_ = parts
        return {key: replace(delta, scale=delta.scale * scale) for key, delta in deltas.items()}
    together: Deltas = {}
    for key in sorted({key for deltas, _ in parts for key in deltas}):
        some = [(deltas[key], scale) for deltas, scale in parts if key in deltas]
        down = torch.cat([delta.down for delta, _ in some])
        up = torch.cat([delta.up * (delta.scale * scale) for delta, scale in some], dim=1)
        together[key] = Delta(down, up, 1.0)
    return together


def _translated(path: str, pipeline: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The file in peft's names, alphas among them, and the configuration it carries."""
    from diffusers.utils import (
        convert_state_dict_to_diffusers,
        convert_state_dict_to_peft,
        convert_unet_state_dict_to_peft,
    )
    from safetensors.torch import load_file

    try:
        raw = load_file(path)
        refuse_other_kinds(path, raw)
        with quiet():
            state, alphas, metadata = type(pipeline).lora_state_dict(
                dict(raw), unet_config=pipeline.unet.config, return_lora_metadata=True
            )
            metadata = metadata or _metadata(path)
            if dora := [
                key for key, value in metadata.items() if key.endswith("use_dora") and value
            ]:
                raise _other_kind(path, min(dora), "a DoRA")
            state = {**state, **(alphas or {})}  # translated alike
            parts = {name: _part(state, name) for name in COMPONENTS}
            strange = set(state) - {f"{n}.{k}" for n, part in parts.items() for k in part}
            if strange:
                raise _misfit(path, min(strange), "the model has no such part")
            translated: dict[str, Any] = {}
            for name, part in parts.items():
                if not part:
                    continue
                if name != "unet":
                    plain = convert_state_dict_to_peft(convert_state_dict_to_diffusers(part))
                elif any("lora_A" in key for key in part):
                    plain = part
                else:
                    plain = convert_unet_state_dict_to_peft(part)
                translated |= {f"{name}.{key}": value for key, value in plain.items()}
    except InputError:
        raise
    except Exception as error:  # safetensors, torch and diffusers raise many kinds
        reason = one_line((str(error) or type(error).__name__).strip().splitlines()[0])
        raise InputError(
            f"this adapter cannot be read ({reason})", file=path, hint="get the file again"
        ) from None
    return translated, metadata


def _part(state: dict[str, Any], component: str) -> dict[str, Any]:
    prefix = f"{component}."
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _metadata(path: str) -> dict[str, Any]:
    """The LoraConfig that diffusers stores in a file's header, flat: ``unet.lora_alpha``."""
    import json

    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get("lora_adapter_metadata")
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {}


def _scale(
    given: float | None, metadata: dict[str, Any], component: str, stem: str, rank: int
) -> float:
    """Scale of a layer's LoRA: alpha by the rank.

    Args:
        given: Kohya's alpha of the layer, or None.
        metadata: The configuration that diffusers stores, which may say it; else it is the rank.
        component: The layer's component.
        stem: Its name, the component included.
        rank: Its rank.
    """
    name = stem.removeprefix(f"{component}.")
    pattern = metadata.get(f"{component}.alpha_pattern") or {}
    own = [value for key, value in pattern.items() if name == key or name.endswith(f".{key}")]
    stored = own[0] if own else metadata.get(f"{component}.lora_alpha")
    alpha = next((float(a) for a in (given, stored) if a is not None), float(rank))
    # Rank-stabilised LoRA (Kalajdzievski 2023) divides by the root of the rank.
    return alpha / (math.sqrt(rank) if metadata.get(f"{component}.use_rslora") else rank)


def _check_shapes(path: str, key: str, module: Any, down: Any, up: Any) -> None:
    """Refuse a layer whose matrices do not multiply to the shape of the module's weight."""
    weight = getattr(module, "weight", None)
    if weight is None or weight.ndim not in (2, 4):
        raise _misfit(path, key, "this layer cannot have a LoRA")
    right = (
        down.ndim == up.ndim == weight.ndim
        and down.shape[0] == up.shape[1]
        and down.shape[1] == weight.shape[1]
        and up.shape[0] == weight.shape[0]
        and down.shape[2:] == weight.shape[2:]
        and all(size == 1 for size in up.shape[2:])
    )
    if not right:
        shapes = f"{tuple(up.shape)} x {tuple(down.shape)} for {tuple(weight.shape)}"
        raise _misfit(path, key, f"its shape does not fit ({shapes})")
    if not bool(down.isfinite().all() and up.isfinite().all()):
        raise _misfit(path, key, "it holds numbers that are not finite")


def refuse_other_kinds(path: str, keys: Iterable[str]) -> None:
    """Refuse a file whose keys are those of another kind of adapter, or of a model.

    Raises:
        InputError: It is of another kind; the message names it.
    """
    for key in sorted(keys):
        for part, kind in OTHER_KINDS.items():
            if part in key:
                raise _other_kind(path, key, kind)


def _other_kind(path: str, key: str, kind: str) -> InputError:
    problem = f"this is {kind}, not a plain LoRA"
    return InputError(problem, file=path, place=key, hint="convert it to a LoRA, or name another")


def _misfit(path: str, key: str, reason: str) -> InputError:
    return InputError(
        f"this adapter does not fit the model: {reason}",
        file=path,
        place=key,
        hint="use an adapter made for SDXL",
    )


#: Layers a random adapter changes, by component.
TARGETS = {
    "unet": ("to_q", "to_k", "to_v", "to_out.0"),
    "text_encoder": ("q_proj", "k_proj", "v_proj", "out_proj"),
    "text_encoder_2": ("q_proj", "k_proj", "v_proj", "out_proj"),
}

#: Standard deviation of an adapter's effect on a unit input, relative to the layer's own.
STRENGTH = 0.5


def write_random(model: str, adapters: Iterable[tuple[str, Path]], rank: int | None = None) -> None:
    """Write an adapter file for each id; the same id, model and rank give the same file.

    Args:
        model: ``tiny`` or ``sdxl-random``.
        adapters: Ids and the files to write.
        rank: Of the LoRA; None for the model's usual one.
    """
    import torch
    from safetensors.torch import save

    architecture = BUILT_IN[model]
    rank = rank or architecture.rank
    with torch.device("meta"):
        layers = _layers(modules(architecture), architecture.text_encoders)
    for name, path in adapters:
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
        generator = torch.Generator("cpu").manual_seed(seed)
        tensors = {}
        for key, (outputs, inputs) in layers.items():
            down = torch.randn(rank, inputs, generator=generator) / inputs**0.5
            up = torch.randn(outputs, rank, generator=generator) * STRENGTH / rank**0.5
            half = torch.float32 if model == "tiny" else torch.bfloat16
            tensors[f"{key}.lora_A.weight"] = down.to(half)
            tensors[f"{key}.lora_B.weight"] = up.to(half)
        replace_bytes(path, save(tensors, metadata={"format": "pt"}))


def _layers(found: dict[str, Any], text_encoders: bool) -> dict[str, tuple[int, int]]:
    """Outputs and inputs of every layer that gets a LoRA."""
    shapes = {}
    for component, targets in TARGETS.items():
        if component != "unet" and not text_encoders:
            continue
        for name, module in found[component].named_modules():
            if name.endswith(targets):
                shapes[f"{component}.{name}"] = tuple(module.weight.shape)
    return shapes
