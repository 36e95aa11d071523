"""Adapters of a server: those with a name, and the combinations that requests ask for.

An id stands for one content for ever, so that whoever holds an adapter of that id holds the right
one. Everything here happens in the event loop.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from urllib.parse import quote

from msgspec import Struct

from pats_opt.execute.adapter_set import AdapterPart, AdapterSet
from pats_opt.model.instance import Adapter
from pats_opt.model.problem import Problem
from pats_opt.serving.api import BASE, ImageRequest, RequestAdapter, refuse_model
from pats_opt.serving.errors import ApiError
from pats_opt.serving.model import ServerModel


class AdapterChange(Struct, frozen=True):
    """Adapters from now on.

    Attributes:
        adapters: As the policy knows them, the bare model included.
        files: As the workers know them.
    """

    adapters: tuple[Adapter, ...]
    files: AdapterSet


class ServedAdapterSet:
    """Adapters that requests can name and combine.

    Args:
        model: The model with its adapters.
        problem: The instance that was made of it.
        most: Most combinations that are kept at a time.

    Attributes:
        changed: Called when there are others.
    """

    def __init__(self, model: ServerModel, problem: Problem, most: int) -> None:
        self._price, self._most = model.adapter, most
        self._adapters = {adapter.id: adapter for adapter in problem.instance.adapters}
        self._files = model.adapters
        self._ids = {name: name for name in self._adapters}  # name that clients give -> id
        self._combined: OrderedDict[str, RequestAdapter] = OrderedDict()  # the last used is last
        self._pending: Counter[str] = Counter()
        self.changed: Callable[[AdapterChange], None] = lambda _: None

    @property
    def names(self) -> tuple[str, ...]:
        """Names that a request can give."""
        return tuple(self._ids)

    def choose(self, given: ImageRequest) -> RequestAdapter:
        """Return the adapter of a request; nothing is changed.

        Raises:
            ApiError: It names one that is not served, or combines what cannot be combined.
        """
        asked = None if given.pats_opt is None else given.pats_opt.adapters
        if asked is None:
            return self._named(given.model or BASE, "model")
        parts = sorted([self._part(part) for part in asked])
        if len(parts) == 1 and parts[0].scale == 1.0:
            return self._named(asked[0].name, "pats_opt.adapters")
        composition = tuple(parts)
        for name, same in self._files.compositions.items():
            if tuple(sorted(same)) == composition:
                return RequestAdapter(self._adapters[name], same)
        name = "+".join([f"{part.scale!r}*{quote(part.name, ' /@:')}" for part in parts])
        if name in self._files:
            raise ApiError(
                400,
                f"pats_opt.adapters: an adapter is called {name!r}; name it as the model",
                code="invalid_value",
                param="pats_opt.adapters",
            )
        return RequestAdapter(self._price(name, len(parts)), composition)

    def _named(self, name: str, param: str) -> RequestAdapter:
        if name not in self._ids:
            raise refuse_model(name, self.names, param)
        known = self._ids[name]
        parts = self._files.parts(known) if known in self._files else ()
        return RequestAdapter(self._adapters[known], parts)

    def _part(self, part: AdapterPart) -> AdapterPart:
        known = self._named(part.name, "pats_opt.adapters")
        if known.adapter.id not in self._files.files:
            kind = "a composition itself" if known.parts else "the bare model"
            raise ApiError(
                400,
                f"pats_opt.adapters: {part.name!r} is {kind}, which cannot be a part",
                code="invalid_value",
                param="pats_opt.adapters",
            )
        return AdapterPart(known.adapter.id, part.scale)

    def admit(self, chosen: RequestAdapter, images: int, *, bounded: bool = True) -> Sequence[str]:
        """Have an adapter ready for images that wait from now on.

        Args:
            chosen: The adapter.
            images: How many there are.
            bounded: Whether it is refused where too many combinations are waited for.

        Returns:
            Ids of combinations that gave way.

        Raises:
            ApiError: Too many combinations are waited for.
        """
        name, gone = chosen.adapter.id, list[str]()
        if name in self._combined:
            self._combined.move_to_end(name)
        elif name not in self._adapters:
            idle = [other for other in self._combined if not self._pending[other]]
            excess = len(self._combined) + 1 - self._most
            if bounded and excess > len(idle):
                raise ApiError(
                    429,
                    f"images of {len(self._combined)} combinations of adapters wait or run; "
                    "try again",
                    code="combinations_full",
                    retry_after_s=1,
                )
            gone = idle[: max(0, excess)]
            for other in gone:
                del self._combined[other]
            self._combined[name] = chosen
            self._announce()
        self._pending[name] += images
        return gone

    def release(self, name: str) -> None:
        """Note that an image of an adapter is over."""
        self._pending[name] -= 1
        if not self._pending[name]:
            del self._pending[name]

    def drop(self, name: str) -> None:
        """Forget an adapter that workers cannot read."""
        if self._combined.pop(name, None) is not None:
            self._announce()

    def _announce(self) -> None:
        combined = {name: chosen.parts for name, chosen in self._combined.items()}
        self.changed(
            AdapterChange(
                (*self._adapters.values(), *[c.adapter for c in self._combined.values()]),
                self._files.joined(AdapterSet(compositions=combined)),
            )
        )
