"""Sentence encoders from a folder on this machine, such as all-MiniLM-L6-v2.

The folder is as the hub of Hugging Face stores a model (``config.json``, ``tokenizer.json``,
``model.safetensors``); nothing is fetched. A prompt's vector is the mean of the last layer over its
tokens, as such encoders are trained. Torch and transformers are of the extra ``execute``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pats_opt.errors import InputError, one_line

#: Most tokens of a prompt that are read, as all-MiniLM-L6-v2 was trained.
MOST_TOKENS = 256


def sentence_encoder(folder: str) -> Callable[[str], Sequence[float]]:
    """Load the encoder of a folder, and return its function from a prompt to numbers.

    Raises:
        InputError: The extra is not installed, or the folder holds no such model.
    """
    try:
        import torch
        from transformers import AutoModel, AutoTokenizer, logging
    except ImportError as error:
        raise InputError(
            f"sentence encoders need {error.name or 'torch'}",
            hint="install the extra: pip install 'pats-opt[execute]'",
        ) from None
    if not Path(folder).is_dir():
        raise InputError("there is no such folder", file=folder, hint="name a model's folder")
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        ).eval()
    except Exception as error:  # the libraries raise many kinds, of faulty files too
        reason = one_line(str(error).strip().split("\n", 1)[0])
        raise InputError(
            f"this is no sentence encoder ({reason})",
            file=folder,
            hint="name a folder with config.json, tokenizer.json and model.safetensors",
        ) from None
    finally:
        if bars:
            logging.enable_progress_bar()

    def encode(prompt: str) -> list[float]:
        if not prompt.strip():
            return [0.0] * int(model.config.hidden_size)
        tokens = tokenizer(prompt, truncation=True, max_length=MOST_TOKENS, return_tensors="pt")
        with torch.no_grad():
            layer = model(**tokens).last_hidden_state[0]
        found: list[float] = layer.mean(dim=0).double().tolist()
        return found

    return encode
