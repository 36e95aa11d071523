"""The two models that need no download: SDXL's architecture at full size, and a tiny one.

Weights are random and seeded. The tiny model has SDXL's topology with 2 million parameters and runs
on any CPU; the full-size one has the shapes of SDXL 1.0, so that times and memory on a GPU are
those of the real model. Their tokenizer is built in code: bytes, no merges.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

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

TINY = Architecture(
    text_encoder={
        "vocab_size": TOKENS,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "projection_dim": 32,
    },
    text_encoder_2={
        "vocab_size": TOKENS,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "projection_dim": 32,
        "hidden_act": "gelu",
    },
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
    text_encoder={
        "vocab_size": 49408,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "projection_dim": 768,
        "hidden_act": "quick_gelu",
    },
    text_encoder_2={
        "vocab_size": 49408,
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 20,
        "projection_dim": 1280,
        "hidden_act": "gelu",
    },
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
