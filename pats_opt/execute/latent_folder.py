"""A folder of latents for approximate caching, shared by requests, workers and runs.

Each file has the latents of one prompt after so many steps (its level). What is stored, looked up
and given up follows :mod:`pats_opt.caching`; files are written whole or not at all, and what a file
holds is checked by size and CRC before it is used. Nothing here needs torch: latents are bytes, as
``safetensors`` makes them.
"""

from __future__ import annotations

import hashlib
import logging
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from filelock import FileLock
from msgspec import Struct

from pats_opt.caching.cache import CacheScope
from pats_opt.caching.embedders import embedder
from pats_opt.caching.entries import PromptEntries
from pats_opt.caching.eviction import Eviction
from pats_opt.caching.levels import CacheLevels
from pats_opt.errors import InputError
from pats_opt.execute.latent_index import (
    INDEX,
    IndexLine,
    LatentEviction,
    LatentFile,
    LatentIndex,
    LatentsStored,
    LatentsUsed,
)
from pats_opt.model.files import replace_bytes
from pats_opt.runs.folder import RunFolder
from pats_opt.wording import counted

log = logging.getLogger(__name__)

#: Value of the key ``format`` in the metadata of a file.
FORMAT = "pats-opt/latents"

#: Locked while a process reads or writes. A run's own folder is locked under another name.
LOCK = "index.lock"

#: Seconds to wait while another process reads or writes latents.
PATIENCE_S = 60.0

_NAME = re.compile(r"([0-9a-f]{32})-([1-9]\d{0,6})\.safetensors")
_LEFTOVER = re.compile(r"\.\w+\.part")


class LatentCacheSettings(Struct, frozen=True, kw_only=True):
    """Settings of a folder of latents.

    Attributes:
        folder: Its path.
        limit: Most bytes of all its files of latents.
        eviction: Latents to give up where there is no room for others.
        scope: Prompts that a request may start from: those of its adapter, or all.
        levels: Levels that options of the instance skip, and the similarity that each needs.
        totals: Steps, skipped ones included, of the options that skip any.
        embedder: Name of the embedder, as :func:`pats_opt.caching.embedders.embedder` takes it.
    """

    folder: str
    limit: int
    levels: CacheLevels
    totals: tuple[int, ...]
    eviction: Eviction = "lcbfu"
    scope: CacheScope = "adapter"
    embedder: str = "words"


class LookupResult(NamedTuple):
    """Result of a look-up.

    Attributes:
        level: Level of the latents; 0 where there are none to start from.
        similarity: Cosine of the nearest prompt; None where none is at all similar.
        missed: Whether no earlier prompt will do, so that the request's own latents are wanted.
        vector: Vector of the prompt.
        source: Key, prompt and request of the nearest prompt, where there are latents.
        data: Content of the file.
    """

    level: int
    similarity: float | None
    missed: bool
    vector: Any
    source: LatentsStored | None = None
    data: bytes = b""


class _Kept(NamedTuple):
    """A prompt with latents: its entry, how it was stored, and its files by level."""

    entry: int
    line: LatentsStored
    files: dict[int, LatentFile]


class LatentFolder:
    """A folder of latents, as one process sees it.

    Args:
        settings: Its settings.

    Raises:
        InputError: The folder cannot be used, or there is no such embedder.
    """

    def __init__(self, settings: LatentCacheSettings) -> None:
        self._settings, self._path = settings, Path(settings.folder)
        self._embedder = embedder(settings.embedder)
        self._index = LatentIndex(self._path)
        self._forget_all()
        with RunFolder(self._path, "cache").usable():
            self._path.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self._path / LOCK, timeout=PATIENCE_S, poll_interval=0.005)
            with self._locked():
                self._index.append(())  # it must be writable

    def verify(self) -> None:
        """Compare the index with the files, before a run.

        Latents whose file is gone or has another size leave the index; files that it lacks enter it
        where they are latents. Other files are left alone. One warning counts what is left out.

        Raises:
            InputError: The folder cannot be used.
        """
        with RunFolder(self._path, "cache").usable(), self._locked():
            missing, damaged, foreign = self._compare()
            if self._settings.eviction != "none":
                self._make_room(0)
            if self._index.count > 64 + 4 * len(self._entries.order):
                self._index.replace(self._lines())
        spoilt = self._index.spoilt
        counts = (missing, "missing"), (damaged, "damaged"), (foreign, "foreign")
        parts = [counted(n, f"{what} file") for n, what in counts if n]
        if spoilt:
            parts.append(f"{counted(spoilt, 'unreadable line')} of {INDEX}")
        if parts:
            log.warning("%s: left out: %s", self._path, ", ".join(parts))

    def look_up(self, prompt: str, scope: str, most: int) -> LookupResult:
        """Look a prompt up, and read the latents to start from.

        Those are of the largest level up to ``most`` that the nearest earlier prompt has; that
        prompt must be similar enough for the least level. Latents that cannot be read are dropped.

        Args:
            prompt: The prompt.
            scope: Digest of all that latents must share.
            most: Steps that the request may skip; at 0 nothing is read.

        Raises:
            OSError: The folder cannot be used.
        """
        with self._locked():
            vector = self._embedder.embed(prompt)
            while True:
                near = self._entries.nearest(scope, vector)
                if near is None:
                    return LookupResult(0, None, True, vector)
                similarity = near.similarity
                if not self._settings.levels.of(similarity):
                    return LookupResult(0, similarity, True, vector)
                level = self._entries.deepest(near.entry, most)
                if not level:
                    return LookupResult(0, similarity, most > 0, vector)
                kept = self._kept[self._keys[near.entry]]
                data = self._read(kept, level)
                if data is not None:
                    self._write([LatentsUsed(key=kept.line.key, level=level)])
                    return LookupResult(level, similarity, False, vector, kept.line, data)
                self._write([LatentEviction(key=kept.line.key, level=level)])

    def drop(self, found: LookupResult) -> None:
        """Drop latents that were found, and are not what their file's name says.

        Raises:
            OSError: The folder cannot be used.
        """
        if found.source is not None:
            log.warning("%s: these latents are damaged, and left out", self._path)
            with self._locked():
                self._write([LatentEviction(key=found.source.key, level=found.level)])

    def store(
        self, found: LookupResult, line: LatentsStored, latents: Mapping[int, bytes]
    ) -> tuple[int, ...]:
        """Store latents of a prompt that was looked up; those that are there already stay.

        Nothing is stored of a prompt that no look-up could find, and where there is no room.

        Args:
            found: The look-up.
            line: Key, scope, prompt and request; its files do not count.
            latents: Content of each level's file.

        Returns:
            The levels that were stored.

        Raises:
            OSError: The folder cannot be used.
        """
        with self._locked():
            there = self._kept[line.key].files if line.key in self._kept else {}
            new = {level: data for level, data in sorted(latents.items()) if level not in there}
            needed = sum([len(data) for data in new.values()])
            if not new or found.vector is None or needed > self._settings.limit:
                return ()
            if self._settings.eviction == "none" and self._size + needed > self._settings.limit:
                return ()
            self._make_room(needed)
            for level, data in new.items():
                try:
                    replace_bytes(self._file(line.key, level), data)
                except InputError as error:
                    raise OSError(error.problem) from None
            files = [LatentFile(level, len(d), zlib.crc32(d)) for level, d in new.items()]
            stored = msgspec.structs.replace(line, files=tuple(files))
            self._write([stored], vector=found.vector)
            return tuple(new)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes out, and learn what they did."""
        with self._lock:
            anew, lines = self._index.news()
            if anew:
                self._forget_all()
            for line in lines:
                self._replay(line)
            yield

    def _forget_all(self) -> None:
        self._entries = PromptEntries(self._settings.eviction, self._embedder)
        self._kept: dict[str, _Kept] = {}
        self._keys: dict[int, str] = {}  # by entry
        self._size = 0

    def _write(self, lines: list[IndexLine], vector: Any = None) -> None:
        """Append lines, and do what they say."""
        self._index.append(lines)
        for line in lines:
            self._replay(line, vector)

    def _replay(self, line: IndexLine, vector: Any = None) -> None:
        """Do what a line says; one that speaks of what is not there says nothing."""
        kept = self._kept.get(line.key)
        if isinstance(line, LatentsStored):
            self._add(line, kept, vector)
        elif kept is not None and line.level in kept.files:
            if isinstance(line, LatentsUsed):
                self._entries.order.hit(kept.entry, line.level, line.times)
            else:
                self._entries.drop(kept.entry, line.level)
                self._remove(kept, line.level)

    def _add(self, line: LatentsStored, kept: _Kept | None, vector: Any) -> None:
        there = {} if kept is None else kept.files
        files = {file.level: file for file in line.files if file.level not in there}
        if not files or line.key != key_of(line.scope, line.prompt):
            return
        if kept is None:
            vector = self._embedder.embed(line.prompt) if vector is None else vector
            if vector is None:
                return
            entry = self._entries.add(line.scope, vector, files)
            self._kept[line.key], self._keys[entry] = _Kept(entry, line, files), line.key
        else:
            self._entries.extend(kept.entry, files)
            kept.files.update(files)
        self._size += sum([file.size for file in files.values()])

    def _remove(self, kept: _Kept, level: int) -> None:
        """Forget a file, and the prompt with its last one."""
        self._size -= kept.files.pop(level).size
        if not kept.files:
            del self._kept[kept.line.key], self._keys[kept.entry]

    def _make_room(self, needed: int) -> None:
        """Give latents up until so many bytes fit."""
        dropped: list[IndexLine] = []
        while self._entries.order and self._size + needed > self._settings.limit:
            entry, level = self._entries.evict()
            kept = self._kept[self._keys[entry]]
            self._file(kept.line.key, level).unlink(missing_ok=True)
            dropped.append(LatentEviction(key=kept.line.key, level=level))
            self._remove(kept, level)
        if dropped:
            self._index.append(dropped)

    def _read(self, kept: _Kept, level: int) -> bytes | None:
        """Content of a file; None where it is not what was stored."""
        path, file = self._file(kept.line.key, level), kept.files[level]
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # given up by hand
            return None
        if len(data) != file.size or zlib.crc32(data) != file.crc:
            log.warning("%s: these latents are damaged, and left out", path)
            return None
        return data

    def _file(self, key: str, level: int) -> Path:
        return self._path / f"{key}-{level}.safetensors"

    def _compare(self) -> tuple[int, int, int]:
        """Bring the index in line with the files; count those missing, damaged and foreign."""
        sizes, foreign = self._listed()
        lines: list[IndexLine] = []
        missing = damaged = 0
        for kept in self._kept.values():
            for level, file in kept.files.items():
                size = sizes.pop(self._file(kept.line.key, level).name, None)
                if size != file.size:
                    missing, damaged = missing + (size is None), damaged + (size is not None)
                    lines.append(LatentEviction(key=kept.line.key, level=level))
        known = [described(self._path / name) for name in sizes]
        lines += [line for line in known if line is not None]
        self._write(lines)
        return missing, damaged, foreign + known.count(None)

    def _listed(self) -> tuple[dict[str, int], int]:
        """Sizes of the files named as latents are, and the number of others; leftovers go."""
        sizes, others = {}, 0
        for path in self._path.iterdir():
            if _LEFTOVER.fullmatch(path.name):
                path.unlink()
            elif _NAME.fullmatch(path.name) and path.is_file():
                sizes[path.name] = path.stat().st_size
            else:
                others += path.name not in (INDEX, LOCK)
        return sizes, others

    def _lines(self) -> Iterator[IndexLine]:
        """The fewest lines that say what there is, in order of use."""
        for _, kept in sorted((kept.entry, kept) for kept in self._kept.values()):
            yield msgspec.structs.replace(kept.line, files=tuple(kept.files.values()))
        for entry, level, use in self._entries.order.uses():
            if use.hits:
                yield LatentsUsed(key=self._keys[entry], level=level, times=use.hits)


def key_of(scope: str, prompt: str) -> str:
    """Digest of a scope and a prompt."""
    text = msgspec.json.encode((scope, prompt))
    return hashlib.sha256(text).hexdigest()[:32]


def metadata(line: LatentsStored) -> dict[str, str]:
    """Return the metadata of a file, from which the index can be made again."""
    return {
        "format": FORMAT,
        "scope": line.scope,
        "prompt": line.prompt,
        "request": line.request,
    }


def described(path: Path) -> LatentsStored | None:
    """Return what a file's metadata say of it; None where it is no whole file of latents."""
    named = _NAME.fullmatch(path.name)
    try:
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        about = msgspec.json.decode(data[8 : 8 + size])
        said = about["__metadata__"]
        whole = 8 + size + max(about["latents"]["data_offsets"])
        line = LatentsStored(
            key=key_of(said["scope"], said["prompt"]),
            scope=said["scope"],
            prompt=said["prompt"],
            request=said["request"],
            files=(LatentFile(int(named[2]), len(data), zlib.crc32(data)),) if named else (),
        )
    except (OSError, msgspec.MsgspecError, KeyError, TypeError, ValueError, RecursionError):
        return None
    ours = named is not None and said.get("format") == FORMAT and line.key == named[1]
    return line if ours and whole == len(data) else None
