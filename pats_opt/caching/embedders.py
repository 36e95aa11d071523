"""Embedders by name.

``words`` is built in. ``minilm:FOLDER`` is all-MiniLM-L6-v2, or another sentence encoder, from a
folder. ``module:function`` names a function from a prompt to a list of numbers.
"""

from __future__ import annotations

from typing import Any

from pats_opt.caching.dense import DenseEmbedder
from pats_opt.caching.embedding import Embedder
from pats_opt.caching.sentences import sentence_encoder
from pats_opt.caching.words import WordEmbedder
from pats_opt.errors import InputError
from pats_opt.imported import import_function
from pats_opt.nearest import choose

#: Name of the built-in embedder.
WORDS = "words"

#: Beginning of the name of a sentence encoder; its folder follows.
MINILM = "minilm:"


def embedder(spec: str = WORDS) -> Embedder[Any]:
    """Make the embedder of a name.

    Args:
        spec: ``words``, ``minilm:FOLDER`` or ``module:function``.

    Raises:
        InputError: There is no such embedder, module or function.
    """
    if spec == WORDS:
        return WordEmbedder()
    if spec.startswith(MINILM):
        return DenseEmbedder(sentence_encoder(spec.removeprefix(MINILM)), spec)
    if ":" not in spec:
        raise InputError(
            f"there is no embedder {spec!r}",
            hint=f"{choose(spec, [WORDS, MINILM + 'FOLDER'])}; or write it as module:function",
        )
    return DenseEmbedder(import_function(spec, "embedder", "a prompt to a list of numbers"), spec)
