"""Interfaces of embedders, and the embedder of a name.

An embedder turns prompts into vectors of its own kind, and makes indices that search these.
``words`` is built in. ``module:function`` names a function from a prompt to a list of numbers, such
as a sentence embedding that runs on your machine.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple, Protocol, TypeVar

from pats_opt.errors import InputError
from pats_opt.nearest import choose

V = TypeVar("V")
V_contra = TypeVar("V_contra", contravariant=True)

#: Name of the built-in embedder.
WORDS = "words"


class NearestPrompt(NamedTuple):
    """The cached prompt that is most similar, and the cosine, which is above 0."""

    entry: int
    similarity: float


class PromptIndex(Protocol[V_contra]):
    """Vectors of cached prompts, by the number of their entry."""

    def add(self, entry: int, vector: V_contra) -> None:
        """Add the vector of an entry; entries come in rising order."""

    def remove(self, entry: int) -> None:
        """Remove an entry."""

    def nearest(self, vector: V_contra) -> NearestPrompt | None:
        """Return the most similar entry, the oldest of equals; None if no cosine is above 0."""

    def __len__(self) -> int: ...


class Embedder(Protocol[V]):
    """Vectors of prompts, in the order of a stream."""

    def embed(self, prompt: str) -> V | None:
        """Return the vector of the next prompt of the stream, or None where it says nothing.

        What an embedder learns from a stream (such as word counts), it learns here.
        """

    def index(self) -> PromptIndex[V]:
        """Return an empty index of such vectors."""


def embedder(spec: str = WORDS) -> Embedder[Any]:
    """Make the embedder of a name.

    Args:
        spec: ``words``, or ``module:function``.

    Raises:
        InputError: There is no such embedder, module or function.
    """
    if spec == WORDS:
        from pats_opt.caching.words import WordEmbedder

        return WordEmbedder()
    module, colon, name = spec.partition(":")
    if not colon:
        raise InputError(
            f"there is no embedder {spec!r}",
            hint=f"{choose(spec, [WORDS])}; or write it as module:function",
        )
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"there is no embedder {spec!r} ({error})",
            hint="write it as module:function, with the module on PYTHONPATH",
        ) from None
    if not callable(function):
        raise InputError(
            f"{spec!r} is no function", hint="name a function from a prompt to a list of numbers"
        )
    from pats_opt.caching.dense import DenseEmbedder

    return DenseEmbedder(function, spec)
