"""Interfaces: an embedder turns prompts into vectors of its own kind, an index searches these."""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeVar

V = TypeVar("V")
V_contra = TypeVar("V_contra", contravariant=True)


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
