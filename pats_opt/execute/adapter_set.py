"""Adapters of a run as plain data: LoRA files, and compositions of several files with scales."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from pats_opt.errors import InputError


class AdapterPart(Struct, frozen=True, order=True, forbid_unknown_fields=True):
    """An adapter in a composition, and the scale of its weights there."""

    name: str
    scale: float = 1.0


#: Adapters that are used together as one, with diffusers' meaning of their weights.
Composition = tuple[AdapterPart, ...]


class AdapterSet(Struct, frozen=True, kw_only=True):
    """Adapters by id.

    Attributes:
        files: The file of each adapter that is one file.
        compositions: The parts of each other one; a part is one of ``files``.
    """

    files: Mapping[str, str] = {}
    compositions: Mapping[str, Composition] = {}

    def __contains__(self, name: object) -> bool:
        return name in self.files or name in self.compositions

    def __iter__(self) -> Iterator[str]:
        return iter([*self.files, *self.compositions])

    def __len__(self) -> int:
        return len(self.files) + len(self.compositions)

    def parts(self, name: str) -> Composition:
        """Return the files that an adapter is made of; a file's only part is itself."""
        return self.compositions.get(name, (AdapterPart(name),))

    def only(self, names: Collection[str]) -> AdapterSet:
        """Return some of the adapters, and the files that they are made of."""
        needed = {part.name for name in names for part in self.parts(name)}
        return AdapterSet(
            files={name: path for name, path in self.files.items() if name in needed},
            compositions={k: parts for k, parts in self.compositions.items() if k in names},
        )

    def alone(self, name: str) -> AdapterSet:
        """Return one of the adapters by itself: of a composition, without its parts' files."""
        if name in self.compositions:
            return AdapterSet(compositions={name: self.compositions[name]})
        return AdapterSet(files={name: self.files[name]})

    def joined(self, other: AdapterSet) -> AdapterSet:
        """Return these adapters and others, which come first where ids are the same."""
        return AdapterSet(
            files={**self.files, **other.files},
            compositions={**self.compositions, **other.compositions},
        )

    def without(self, names: Collection[str]) -> AdapterSet:
        """Return the adapters but some."""
        return AdapterSet(
            files={k: path for k, path in self.files.items() if k not in names},
            compositions={k: parts for k, parts in self.compositions.items() if k not in names},
        )

    def digest(self, name: str) -> str:
        """Return the digest of an adapter's content.

        Raises:
            InputError: A file cannot be read.
        """
        if name in self.compositions:
            parts = [(self.digest(part.name), part.scale) for part in self.compositions[name]]
            return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()
        path = self.files[name]
        try:
            with Path(path).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror})", file=path) from None
