"""Random adapters for the built-in models: real files, seeded by the adapter's id.

Every attention projection gets a LoRA whose ``up`` is not zero, so that an adapter does change the
image; at the full size a file of rank 16 has the 44.5 MiB of a usual SDXL adapter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pats_opt.execute.engine.architecture import BUILT_IN, modules

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
    from safetensors.torch import save_file

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
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        save_file(tensors, part, metadata={"format": "pt"})
        part.replace(path)


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
