"""Adapters of a server: those with a name, and the combinations that requests ask for.

An id stands for one content for ever, so that whoever holds an adapter of that id holds the right
one. Everything here happens in the event loop.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType
from urllib.parse import quote

from msgspec import Struct

from pats_opt.execute.adapter_set import AdapterPart, AdapterSet, Composition
from pats_opt.execute.record import Tier
from pats_opt.model.instance import Adapter
from pats_opt.model.problem import Problem
from pats_opt.serving.api import BASE, ImageRequest, RequestAdapter, refuse_model
from pats_opt.serving.errors import ApiError
from pats_opt.serving.folder import FolderState
from pats_opt.serving.model import ServerModel


class AdapterChange(Struct, frozen=True):
    """Adapters from now on.

    Attributes:
        adapters: As the policy knows them, the bare model included.
        files: As the workers know them.
        lost: Adapters that no worker can load any more, and why.
    """

    adapters: tuple[Adapter, ...]
    files: AdapterSet
    lost: Mapping[str, str] = {}


class ServedAdapterSet:
    """Adapters that requests can name and combine.

    Args:
        model: The model with its adapters.
        problem: The instance that was made of it.
        found: The folder that they come from; None where there is none.
        most: Most combinations that are kept at a time.

    Attributes:
        changed: Called when there are others.
    """

    def __init__(
        self, model: ServerModel, problem: Problem, found: FolderState | None, most: int
    ) -> None:
        self._price, self._most = model.adapter, most
        self._adapters = {adapter.id: adapter for adapter in problem.instance.adapters}
        self._files = model.adapters
        self._ids = {name: name for name in self._adapters}  # name that clients give -> id
        self._latest = {name: name for name in self._adapters}  # the same, being read included
        self._used = set(self._adapters)  # ids that there have been
        self._marks = {} if found is None else dict(found.marks)  # contents by name
        self._keeps = model.options.tier is Tier.HOST  # whether workers keep what is read
        self._combined: OrderedDict[str, RequestAdapter] = OrderedDict()  # the last used is last
        self._pending: Counter[str] = Counter()
        self._announced: AdapterChange | None = None  # the last one
        self.changed: Callable[[AdapterChange], None] = lambda _: None

    @property
    def names(self) -> tuple[str, ...]:
        """Names that a request can give."""
        return tuple(sorted(self._ids, key=lambda name: (name != BASE, name)))

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the adapters that names mean, and of the combinations that are kept."""
        return (*self._ids.values(), *self._combined)

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

    def admit(self, chosen: RequestAdapter, images: int, *, bounded: bool = True) -> None:
        """Have an adapter ready for images that wait from now on.

        Args:
            chosen: The adapter.
            images: How many there are.
            bounded: Whether it is refused where too many combinations are waited for.

        Raises:
            ApiError: Too many combinations are waited for.
        """
        name = chosen.adapter.id
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
            for other in idle[: max(0, excess)]:
                del self._combined[other]
            self._combined[name] = chosen
            self._announce()
        self._pending[name] += images

    def release(self, name: str) -> None:
        """Note that an image of an adapter is over."""
        self._pending[name] -= 1
        if not self._pending[name]:
            del self._pending[name]

    def refresh(self, found: FolderState) -> None:
        """Take over what has changed in the folder.

        What is gone is refused from now on. What is new is served once every worker has read it
        (:meth:`publish`); until then the name means what it did.
        """
        bare = {BASE} - set(self._files)  # its name is taken
        new = [n for n, mark in found.marks.items() if self._marks.get(n) != mark and n not in bare]
        gone = [n for n in self._marks if n not in found.marks and n not in found.unsettled]
        if not new and not gone:
            return
        for name in gone:
            del self._marks[name]
            self._latest.pop(name, None)
            self._ids.pop(name, None)
        self._latest |= {name: self._new_id(name) for name in new}
        files, compositions = dict[str, str](), dict[str, Composition]()
        for name in new:
            self._marks[name], known = found.marks[name], self._latest[name]
            parts = found.adapters.compositions.get(name, ())
            if parts:
                ids = [self._latest.get(part.name, part.name) for part in parts]
                scales = [part.scale for part in parts]
                compositions[known] = tuple(map(AdapterPart, ids, scales))
            else:
                files[known] = found.adapters.files[name]
            self._adapters[known] = self._price(known, max(1, len(parts)))
        self._files = self._files.joined(AdapterSet(files=files, compositions=compositions))
        self._prune()

    def _new_id(self, name: str) -> str:
        """Return an id that no content has had: the name, else with a number."""
        known, number = name, 2
        while known in self._used:
            known, number = f"{name}@{number}", number + 1
        self._used.add(known)
        return known

    def publish(self, known: str) -> None:
        """Serve an adapter by its name, now that every worker has read it."""
        for name, latest in self._latest.items():
            if latest == known and self._ids.get(name) != known:
                self._ids[name] = known
                self._prune()
                return

    def drop(self, known: str) -> None:
        """Forget an adapter that a worker cannot load."""
        if self._combined.pop(known, None) is not None:
            self._announce()
            return
        self._ids = {name: served for name, served in self._ids.items() if served != known}
        left = {name: latest for name, latest in self._latest.items() if latest != known}
        self._latest = self._ids | left  # a name whose latest content is lost has the one before
        self._prune()

    def _prune(self) -> None:
        """Forget adapters that no name means any more, and combinations of them."""
        served, before = set(self._ids.values()), set(self._files)
        kept = served | set(self._latest.values())
        self._files = self._files.only(kept)
        self._adapters = {name: a for name, a in self._adapters.items() if name in kept}
        gone = before - set(self._files)
        for name, chosen in list(self._combined.items()):
            if any(part.name not in served for part in chosen.parts):
                del self._combined[name]
                gone.add(name)
        self._announce({} if self._keeps else dict.fromkeys(gone, "its file is not what it was"))

    def _announce(self, lost: Mapping[str, str] = MappingProxyType({})) -> None:
        combined = {name: chosen.parts for name, chosen in self._combined.items()}
        change = AdapterChange(
            (*self._adapters.values(), *[c.adapter for c in self._combined.values()]),
            self._files.joined(AdapterSet(compositions=combined)),
            lost,
        )
        if change != self._announced:
            self._announced = change
            self.changed(change)
