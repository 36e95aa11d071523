"""A folder of latents: what is found, what is given up, and what damage, kills and others do."""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from safetensors.numpy import load, save

from pats_opt.caching.levels import CacheLevels
from pats_opt.errors import InputError
from pats_opt.execute import latent_folder
from pats_opt.execute.latent_folder import (
    LatentCacheSettings,
    LatentFolder,
    LookupResult,
    key_of,
    metadata,
)
from pats_opt.execute.latent_index import INDEX, LatentsStored
from tests.support.killing import kill_at

LEVELS = (5, 10, 25)
FOX, SOUP, HOUSE = "a red fox in the snow", "bowl of hot soup", "old light house at dusk"


def settings(folder: Path, **others: Any) -> LatentCacheSettings:
    """The usual ones."""
    levels = CacheLevels(levels=LEVELS, thresholds=(0.2, 0.4, 0.8))
    given: dict[str, Any] = {
        "folder": str(folder),
        "limit": 10**6,
        "levels": levels,
        "totals": (50,),
    }
    return LatentCacheSettings(**{**given, **others})


def line(prompt: str, scope: str = "s") -> LatentsStored:
    """A prompt, by the request of its first letter."""
    key = key_of(scope, prompt)
    return LatentsStored(key=key, scope=scope, prompt=prompt, request=prompt[:1], files=())


def content(prompt: str, level: int, scope: str = "s") -> bytes:
    """A file of latents that are the level."""
    held = {"latents": np.full((1, 4, 8, 8), level, np.float32)}
    return bytes(save(held, metadata(line(prompt, scope))))


SIZE = len(content(FOX, 5))


def first_letter(prompt: str) -> list[float]:
    """A quick embedder: prompts are alike where they begin alike."""
    return [float(ord(prompt[0]) == i) for i in range(128)]


def store(
    folder: LatentFolder, prompt: str, levels: Iterable[int] = LEVELS, scope: str = "s"
) -> tuple[int, ...]:
    """Store latents of a prompt as one that missed."""
    found = folder.look_up(prompt, scope, 0)
    held = {level: content(prompt, level, scope) for level in levels}
    return folder.store(found, line(prompt, scope), held)


def deepest(folder: LatentFolder, prompt: str, most: int = 25, scope: str = "s") -> int:
    """Look a prompt up; the latents that are found have to be those of their level."""
    found = folder.look_up(prompt, scope, most)
    if found.level:
        assert np.all(load(found.data)["latents"] == found.level)
    return found.level


def files(folder: Path) -> list[str]:
    """Names of the files of latents."""
    return sorted(path.name for path in folder.glob("*.safetensors"))


def test_the_nearest_prompt_and_the_largest_level_up_to_that_asked_for(tmp_path: Path) -> None:
    folder = LatentFolder(settings(tmp_path))
    assert folder.look_up(FOX, "s", 10)[:3] == (0, None, True)
    assert store(folder, FOX) == LEVELS
    assert store(folder, SOUP, (10, 25)) == (10, 25)
    asked = (4, 5, 9, 10, 24, 25, 40)
    assert [deepest(folder, FOX, most) for most in asked] == [0, 5, 5, 10, 10, 25, 25]
    near = folder.look_up("a red fox", "s", 25)  # the option decides, not the cosine's own level
    assert near.source is not None
    assert (near.level, near.source.prompt, near.source.request) == (25, FOX, "a")
    assert 0.4 < (near.similarity or 0) < 0.8
    soup = folder.look_up("hot soup", "s", 5)
    assert (soup.level, soup.missed) == (0, True)  # the nearest has none so shallow
    far = folder.look_up("a red car and a big black dog in the old town at night", "s", 25)
    assert far.similarity is not None
    assert (far.level, far.missed) == (0, True)
    assert folder.look_up(FOX, "s", 0)[:3] == (0, 1.0, False)  # nothing is asked for, or stored
    assert folder.look_up(FOX, "other", 25)[:3] == (0, None, True)
    assert folder.look_up("?!", "s", 25)[:3] == (0, None, True)
    assert store(folder, "?!") == ()  # no look-up could find it


def test_levels_that_were_given_up_are_stored_again(tmp_path: Path) -> None:
    folder = LatentFolder(settings(tmp_path))
    store(folder, FOX, (25,))
    assert store(folder, FOX) == (5, 10)
    assert [deepest(folder, FOX, most) for most in LEVELS] == list(LEVELS)


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ("lcbfu", [(FOX, 10), (FOX, 25)]),
        ("lfu", [(FOX, 10), (SOUP, 5)]),
        ("lru", [(FOX, 25), (SOUP, 5)]),
        ("none", [(p, k) for p in (FOX, SOUP) for k in LEVELS]),
    ],
)
def test_eviction_by_size(tmp_path: Path, rule: str, left: list[tuple[str, int]]) -> None:
    """Five files fit beside six, two of which have been used most in an earlier run."""
    given = settings(tmp_path, limit=6 * SIZE)
    folder = LatentFolder(given)
    store(folder, FOX)
    store(folder, SOUP)
    for prompt, level, times in ((FOX, 10, 2), (FOX, 25, 1), (SOUP, 5, 3)):
        assert [deepest(folder, prompt, level) for _ in range(times)] == [level] * times
    again = LatentFolder(replace(given, limit=5 * SIZE + 200, eviction=rule))
    again.verify()
    new = [(HOUSE, level) for level in store(again, HOUSE)]
    assert len(new) == (0 if rule == "none" else 3)
    names = [f"{key_of('s', prompt)}-{level}.safetensors" for prompt, level in [*left, *new]]
    assert files(tmp_path) == sorted(names)
    LatentFolder(replace(given, limit=2 * SIZE)).verify()
    assert len(files(tmp_path)) == 2


def test_latents_larger_than_the_limit_are_not_stored(tmp_path: Path) -> None:
    folder = LatentFolder(settings(tmp_path, limit=2 * SIZE))
    assert store(folder, FOX) == ()
    assert store(folder, FOX, (5,)) == (5,)


def test_processes_see_what_others_do(tmp_path: Path) -> None:
    one, two = (LatentFolder(settings(tmp_path, limit=4 * SIZE)) for _ in range(2))
    store(one, FOX)
    assert deepest(two, FOX) == 25
    store(two, SOUP)
    assert deepest(one, SOUP) == 25
    assert [deepest(each, FOX) for each in (one, two)] == [25, 25]  # the used one stayed
    assert len(files(tmp_path)) == 4
    (tmp_path / INDEX).unlink()
    assert [deepest(each, FOX) for each in (one, two)] == [0, 0]
    two.verify()  # the index is made again of the files
    assert [deepest(each, FOX) for each in (one, two)] == [25, 25]


def test_many_at_once(tmp_path: Path) -> None:
    """Each with a view of its own, in one small folder."""

    def use(seed: int) -> None:
        rng, folder = random.Random(seed), LatentFolder(settings(tmp_path, limit=20 * SIZE))
        for _ in range(15):
            prompt = f"picture{rng.randrange(12)}"
            if not deepest(folder, prompt):
                store(folder, prompt)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    before = files(tmp_path)
    assert len(before) >= 12
    assert sum(path.stat().st_size for path in tmp_path.glob("*.safetensors")) <= 20 * SIZE
    LatentFolder(settings(tmp_path)).verify()
    assert files(tmp_path) == before


def test_the_index_does_not_grow_for_ever(tmp_path: Path) -> None:
    """It is written anew with the same uses; who has it open reads it again."""
    given = settings(tmp_path, limit=6 * SIZE, eviction="lru")
    folder = LatentFolder(given)
    store(folder, FOX)
    store(folder, SOUP)
    for _ in range(50):
        deepest(folder, SOUP, 25)
        deepest(folder, FOX, 10)
    long = len((tmp_path / INDEX).read_bytes().splitlines())
    LatentFolder(given).verify()
    assert long > 100
    assert len((tmp_path / INDEX).read_bytes().splitlines()) == 4
    store(folder, HOUSE, (5, 10))
    left = [f"{key_of('s', SOUP)}-25", f"{key_of('s', FOX)}-10"]
    assert {f"{name}.safetensors" for name in left} <= set(files(tmp_path))


def spoil(path: Path) -> None:
    """Damage a byte in the middle; the size stays."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", ["cut", "empty", "byte", "gone", "folder"])
def test_damaged_latents_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    """With a line that says so; the next level is taken, and the lost one is stored again."""
    folder = LatentFolder(settings(tmp_path))
    store(folder, FOX)
    path = tmp_path / f"{key_of('s', FOX)}-25.safetensors"
    if damage == "byte":
        spoil(path)
    elif damage in ("gone", "folder"):
        path.unlink()
        if damage == "folder":
            path.mkdir()
    else:
        path.write_bytes(path.read_bytes()[:100] if damage == "cut" else b"")
    again = LatentFolder(settings(tmp_path))
    with caplog.at_level(logging.WARNING):
        again.verify()
        assert deepest(again, FOX) == 10
        assert deepest(folder, FOX) == 10
    assert len(caplog.records) == 1
    if damage != "folder":
        assert store(again, FOX) == (25,)
        assert deepest(folder, FOX) == 25


def test_other_files_are_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line counts them."""
    folder = LatentFolder(settings(tmp_path))
    store(folder, FOX)
    other = content(SOUP, 5)
    strange = {
        "notes.txt": b"mine",
        f"{'0' * 32}-5.safetensors": other,  # not the digest of its prompt
        f"{key_of('s', HOUSE)}-5.safetensors": content(HOUSE, 5)[:-7],
        f"{key_of('s', SOUP)}-10.safetensors": b"\xff" * 40,
        "lora.safetensors": other,
    }
    for name, data in strange.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / ".0123456789abcdef.part").write_bytes(b"half")
    with (tmp_path / INDEX).open("ab") as index:
        index.write(b'nonsense\n{"type":"dropped","key":"../../etc/passwd","level":5}\n{"type":"st')
    with caplog.at_level(logging.WARNING):
        again = LatentFolder(settings(tmp_path))
        again.verify()
    (record,) = caplog.records
    assert "5 foreign files, 2 unreadable lines of index.jsonl" in record.message
    assert deepest(again, FOX) == 25
    assert deepest(again, HOUSE) == deepest(again, SOUP) == 0
    assert all((tmp_path / name).read_bytes() == data for name, data in strange.items())
    assert not list(tmp_path.glob("*.part"))
    store(again, SOUP)  # over what half a line had left
    assert deepest(folder, SOUP) == 25


def test_a_folder_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file: cannot be used as a folder \(File exists\)"):
        LatentFolder(settings(tmp_path / "file"))
    (tmp_path / "odd" / INDEX).mkdir(parents=True)
    with pytest.raises(InputError, match="cannot be used as a folder"):
        LatentFolder(settings(tmp_path / "odd"))

    def refuse(*_: Any, **__: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError, match=r"Permission denied"):
        LatentFolder(settings(tmp_path / "closed"))


def store_in(given: LatentCacheSettings, prompt: str) -> None:
    """Open a folder and store a prompt."""
    store(LatentFolder(given), prompt)


PATCHED = ("open", "write", "close", "replace", "unlink", "ftruncate")


def killed(call: int, do: Callable[[], object]) -> bool:
    """Do something in a process that kills itself at so many calls; whether it was killed."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            kill_at(call, PATCHED)
            do()
            status = 0
        finally:
            os._exit(status)
    _, ended = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(ended) or os.WEXITSTATUS(ended) == 0, "it failed of itself"
    return os.WIFSIGNALED(ended)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_kill_at_any_moment(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While a full folder stores: whatever was left, the next run finds whole latents only."""
    call, over = 1, False
    while not over:
        path = tmp_path / f"at-{call}"
        given = settings(path, limit=4 * SIZE, embedder=f"{__name__}:first_letter")
        store(LatentFolder(given), FOX)
        over = not killed(call, partial(store_in, given, SOUP))
        again = LatentFolder(given)
        again.verify()
        for prompt in (FOX, SOUP):
            deepest(again, prompt)
        assert set(store(again, HOUSE, (5, 10))) == {5, 10}
        assert deepest(again, HOUSE) == 10
        there = [p.stat().st_size for p in path.glob("*.safetensors")]
        assert sum(there) <= given.limit
        known = {
            f"{kept.line.key}-{level}.safetensors"
            for kept in again._kept.values()
            for level in kept.files
        }
        assert known == set(files(path))
        assert not list(path.glob(".*.part"))
        call += 1
    assert call > 10
    assert not [r for r in caplog.records if "damaged" in r.message or "foreign" in r.message]


def test_a_broken_embedder_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no embedder 'word'"):
        LatentFolder(settings(tmp_path, embedder="word"))


def test_what_a_file_says_of_itself(tmp_path: Path) -> None:
    """It is read by the size that its header states, whatever that is."""
    name = f"{key_of('s', FOX)}-5.safetensors"
    for data in (b"", b"\x00" * 8, b"\xff" * 8, (2**40).to_bytes(8, "little") + b"{}"):
        (tmp_path / name).write_bytes(data)
        assert latent_folder.described(tmp_path / name) is None
    (tmp_path / name).write_bytes(content(FOX, 5))
    found = latent_folder.described(tmp_path / name)
    assert found is not None
    assert (found.prompt, found.files[0].level) == (FOX, 5)
    assert msgspec.json.decode(msgspec.json.encode(found), type=LatentsStored) == found


def test_found_latents_of_another_kind_are_dropped(tmp_path: Path) -> None:
    """As the engine does with a file that holds no latents of the size that it needs."""
    folder = LatentFolder(settings(tmp_path))
    store(folder, FOX)
    found: LookupResult = folder.look_up(FOX, "s", 25)
    folder.drop(found)
    assert deepest(folder, FOX) == 10
