"""Opening a model: built in code, from a folder or a file, or from a hub; safetensors only."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pats_opt.errors import InputError, one_line
from pats_opt.execute.engine.architecture import BUILT_IN, modules, tokenizer

#: Seed of the random weights of the built-in models.
SEED = 20

DTYPES = ("float32", "float16", "bfloat16")


def open_pipeline(name: str, device: str, dtype: str) -> Any:
    """A diffusers SDXL pipeline on a device, its VAE in single precision where it needs that.

    Args:
        name: ``tiny``, ``sdxl-random``, a diffusers folder, a ``.safetensors`` file or a hub id.
        device: A torch device.
        dtype: One of :data:`DTYPES`.

    Raises:
        InputError: There is no such model or device, or the model is not SDXL in safetensors.
    """
    torch_dtype = _dtype(dtype)
    _check_device(device)
    with quiet():
        if name in BUILT_IN:
            pipeline = _built_in(name, device, torch_dtype)
        else:
            pipeline = _stored(name, torch_dtype)
        pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.watermark = None
    for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
        module.requires_grad_(False).eval()
    if dtype == "float16" and pipeline.vae.config.force_upcast:
        pipeline.upcast_vae()  # once, not there and back for every image
    return pipeline


def _dtype(name: str) -> Any:
    import torch

    if name not in DTYPES:
        raise InputError(f"there is no precision {name!r}", hint=f"use one of {', '.join(DTYPES)}")
    return getattr(torch, name)


def _check_device(name: str) -> None:
    import torch

    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = one_line(str(error).splitlines()[0])
        raise InputError(
            f"device {name!r} cannot be used ({reason})", hint="choose another with --device"
        ) from None


def _built_in(name: str, device: str, dtype: Any) -> Any:
    """One of the models with random weights.

    The tiny one is made on the CPU, so that it is the same wherever it runs; the full-size one on
    the device itself, which saves a minute.
    """
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    device = "cpu" if name == "tiny" else device
    cuda = [torch.device(device)] if torch.device(device).type == "cuda" else []
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=cuda), torch.device(device):
        torch.manual_seed(SEED)
        torch.set_default_dtype(dtype)
        try:
            made = modules(BUILT_IN[name])
        finally:
            torch.set_default_dtype(before)
    return StableDiffusionXLPipeline(
        **{key: module.to(dtype) for key, module in made.items()},
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="leading",
            steps_offset=1,
        ),
        add_watermarker=False,
    )


def _stored(name: str, dtype: Any) -> Any:
    from diffusers import StableDiffusionXLPipeline

    path = Path(name)
    options = {"torch_dtype": dtype, "use_safetensors": True, "add_watermarker": False}
    try:
        if path.is_dir():
            _check_folder(path)
            return StableDiffusionXLPipeline.from_pretrained(path, local_files_only=True, **options)
        if path.is_file():
            _check_file(path)
            return StableDiffusionXLPipeline.from_single_file(str(path), **options)
        if path.suffix or name.startswith((".", os.sep)) or name.count("/") != 1:
            known = ", ".join(BUILT_IN)
            raise InputError(
                f"there is no model {name!r}",
                hint=f"name one of {known}, a folder, a .safetensors file or a hub id",
            )
        return StableDiffusionXLPipeline.from_pretrained(name, **options)
    except InputError:
        raise
    except Exception as error:  # diffusers raises whatever its parts do
        reason = one_line((str(error) or type(error).__name__).strip().splitlines()[0])
        raise InputError(
            f"the model cannot be opened ({reason})",
            file=name,
            hint="it must be SDXL as diffusers stores it, with its weights as safetensors",
        ) from error


def _check_folder(folder: Path) -> None:
    from pats_opt.model.files import parse_json, read_bytes

    index = parse_json(read_bytes(folder / "model_index.json"))
    made_for = index.get("_class_name") if isinstance(index, dict) else None
    if made_for != "StableDiffusionXLPipeline":
        raise InputError(
            f"this model is for {made_for!r}",
            file=str(folder / "model_index.json"),
            place="_class_name",
            hint="name the folder of a StableDiffusionXLPipeline",
        )


def _check_file(path: Path) -> None:
    if path.suffix != ".safetensors":
        raise InputError(
            "weights are read from safetensors only, as other formats can run code",
            file=str(path),
            hint="convert it to .safetensors",
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' notices about harmless things off the terminal."""
    import diffusers
    import transformers

    levels = diffusers.logging.get_verbosity(), transformers.logging.get_verbosity()
    diffusers.logging.set_verbosity_error()
    transformers.logging.set_verbosity_error()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.disable_progress_bar()
    diffusers.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        diffusers.logging.set_verbosity(levels[0])
        transformers.logging.set_verbosity(levels[1])
        if bars:
            transformers.logging.enable_progress_bar()
        diffusers.logging.enable_progress_bar()
