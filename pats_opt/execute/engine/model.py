"""Models: opened from a folder, a file or a hub (safetensors only), or built in code.

Two need no download: SDXL's architecture at full size, and a tiny one. Their weights are random and
seeded. The tiny model has SDXL's topology with 2 million parameters and runs on any CPU; the
full-size one has the shapes of SDXL 1.0, so that times and memory on a GPU are those of the real
model. Their tokenizer is built in code: bytes, no merges.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from pats_opt.errors import InputError, one_line

#: Bytes, bytes at a word's end, start and end of text.
TOKENS = 2 * 256 + 2


class Architecture(Struct, frozen=True, kw_only=True):
    """Configurations of a model, and what its random adapters are like.

    Attributes:
        rank: Rank of a random adapter.
        text_encoders: Whether random adapters change the text encoders too.
    """

    text_encoder: dict[str, Any]
    text_encoder_2: dict[str, Any]
    unet: dict[str, Any]
    vae: dict[str, Any]
    rank: int
    text_encoders: bool


_BLOCKS = ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D")
_UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": _BLOCKS,
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "addition_embed_type": "text_time",
    "use_linear_projection": True,
}
_VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
    "scaling_factor": 0.13025,
}


def _encoder(hidden: int, intermediate: int, layers: int, heads: int, act: str) -> dict[str, Any]:
    """Configuration of a CLIP text encoder, but for its vocabulary."""
    return {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "projection_dim": hidden,
        "hidden_act": act,
    }


TINY = Architecture(
    text_encoder={"vocab_size": TOKENS, **_encoder(32, 64, 2, 4, "quick_gelu")},
    text_encoder_2={"vocab_size": TOKENS, **_encoder(32, 64, 2, 4, "gelu")},
    unet={
        **_UNET,
        "sample_size": 8,
        "block_out_channels": (32, 64, 64),
        "transformer_layers_per_block": (1, 1, 2),
        "attention_head_dim": (2, 4, 4),
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 32 + 6 * 8,
        "cross_attention_dim": 64,
        "norm_num_groups": 8,
    },
    vae={
        **_VAE,
        "block_out_channels": (16, 16, 32, 32),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "sample_size": 64,
    },
    rank=4,
    text_encoders=True,
)

#: The published configuration of SDXL 1.0 (base).
FULL = Architecture(
    text_encoder={"vocab_size": 49408, **_encoder(768, 3072, 12, 12, "quick_gelu")},
    text_encoder_2={"vocab_size": 49408, **_encoder(1280, 5120, 32, 20, "gelu")},
    unet={
        **_UNET,
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 1280 + 6 * 256,
        "cross_attention_dim": 2048,
    },
    vae={
        **_VAE,
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "sample_size": 1024,
    },
    rank=16,
    text_encoders=False,
)

BUILT_IN = {"tiny": TINY, "sdxl-random": FULL}


def tokenizer() -> Any:
    """A CLIP tokenizer of bytes, made without any file."""
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def modules(architecture: Architecture) -> dict[str, Any]:
    """Text encoders, UNet and VAE with freshly initialised weights, on torch's default device."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    special = {"bos_token_id": TOKENS - 2, "eos_token_id": TOKENS - 1, "pad_token_id": TOKENS - 1}
    return {
        "text_encoder": CLIPTextModel(CLIPTextConfig(**architecture.text_encoder, **special)),
        "text_encoder_2": CLIPTextModelWithProjection(
            CLIPTextConfig(**architecture.text_encoder_2, **special)
        ),
        "unet": UNet2DConditionModel(**architecture.unet),
        "vae": AutoencoderKL(**architecture.vae),
    }


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
    from pats_opt.model.files import read_bytes
    from pats_opt.model.parsing import parse_json

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


def versions() -> dict[str, str]:
    """Versions of what the images depend on."""
    import platform

    import diffusers
    import peft
    import torch
    import transformers

    packages = {p.__name__: str(p.__version__) for p in (torch, diffusers, transformers, peft)}
    cuda = {"cuda": str(torch.version.cuda)} if torch.version.cuda else {}
    return {"python": platform.python_version(), **packages, **cuda}


#: Held while the libraries are quiet: their settings are the process's, and threads load adapters.
_quiet = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' notices about harmless things off the terminal; one thread at a time."""
    import diffusers
    import transformers

    with _quiet:
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
