"""The folder of adapters as it is at a look."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.execute.adapter_set import AdapterSet
from pats_opt.execute.adapters import FileMark, file_mark, listed_adapters, read_mapping

#: Stands for the content of an adapter: it differs where the content may.
ContentMark = tuple[object, ...]


class FolderState(Struct, frozen=True, kw_only=True):
    """A folder of adapters as it was at a look.

    Attributes:
        adapters: Those that can be used.
        marks: Mark of each one's content.
        unsettled: Names of those whose files may still be written.
        problems: Why others cannot be used, a line each.
    """

    adapters: AdapterSet
    marks: Mapping[str, ContentMark]
    unsettled: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()


class AdapterFolder:
    """A folder of adapters that may change.

    A file counts once two looks in a row have found it the same, as one that is being copied grows.

    Args:
        folder: The folder.

    Attributes:
        first: Its state at first, in which every file counts.

    Raises:
        InputError: Its mapping cannot be read.
    """

    def __init__(self, folder: str) -> None:
        self._root = Path(folder).absolute()
        self._mapping = read_mapping(self._root)
        self._marks: dict[str, FileMark | None] = {}  # of files by path, at the last look
        adapters, _ = listed_adapters(self._root, self._mapping)
        self._marks = {path: file_mark(path) for path in adapters.files.values()}
        self.first = self._state(adapters, frozenset(), ())

    def look(self) -> FolderState:
        """Return its state now; where it cannot be read, as if nothing had changed.

        Raises:
            InputError: It is not there, or cannot be read.
        """
        problems: list[InputError] = []
        if not self._root.is_dir():
            raise InputError("the folder is not there", file=str(self._root))
        try:
            self._mapping = read_mapping(self._root)
        except InputError as error:
            problems.append(error)  # the one before counts
        adapters, refused = listed_adapters(self._root, self._mapping)
        before = self._marks
        self._marks = {path: file_mark(path) for path in adapters.files.values()}
        unsettled = {
            name
            for name, path in adapters.files.items()
            if path not in before or before[path] != self._marks[path]
        }
        unsettled |= {
            name
            for name, parts in adapters.compositions.items()
            if any(part.name in unsettled for part in parts)
        }
        told = tuple([str(error) for error in (*problems, *refused)])
        return self._state(adapters, frozenset(unsettled), told)

    def _state(
        self, adapters: AdapterSet, unsettled: frozenset[str], problems: tuple[str, ...]
    ) -> FolderState:
        marks: dict[str, ContentMark] = {
            name: (path, self._marks[path]) for name, path in adapters.files.items()
        }
        marks |= {
            name: tuple([(part, marks[part.name]) for part in parts])
            for name, parts in adapters.compositions.items()
        }
        settled = {name: mark for name, mark in marks.items() if name not in unsettled}
        return FolderState(adapters=adapters, marks=settled, unsettled=unsettled, problems=problems)
