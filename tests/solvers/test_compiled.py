"""Where compiled code is kept: a key per package, the same in every checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs
import pytest

from pats_solvers.common import compiled

PACKAGES = ("dp", "lagrangian", "local")

#: A package with a kernel that calls one of another file.
TOY = {
    "common/kernels.py": """
from pats_solvers.common.compiled import compiled

@compiled
def double(x):
    return 2 * x
""",
    "toy/kernels.py": """
from pats_solvers.common.compiled import entry
from pats_solvers.common.kernels import double

@entry
def quadruple(x):
    return double(double(x))
""",
}

#: Prints the value, and how often code was loaded and compiled.
CALL = """
from pats_solvers.toy.kernels import quadruple
value, stats = quadruple(1), quadruple.stats
print(value, sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the solvers, whose digests are asked for."""
    copy = tmp_path / "pats_solvers"
    shutil.copytree(compiled.ROOT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(compiled, "ROOT", copy)
    return copy


def digests(root: Path) -> dict[str, str]:
    """The cache key of each package."""
    return {name: compiled.digest(root / name) for name in PACKAGES}


#: The keys of this checkout.
HERE = digests(compiled.ROOT)


def test_another_checkout_has_the_same_keys(checkout: Path) -> None:
    assert len(set(HERE.values())) == len(PACKAGES)
    assert digests(checkout) == HERE


@pytest.mark.parametrize("changed", PACKAGES)
def test_a_change_in_a_package_leaves_the_keys_of_the_others(checkout: Path, changed: str) -> None:
    for file in compiled.sources(checkout / changed):
        if file.parent.name == changed:
            file.write_text(file.read_text() + "\n# changed\n")
            break
    after = digests(checkout)
    assert {name for name in PACKAGES if HERE[name] != after[name]} == {changed}


@pytest.mark.parametrize(
    "file", sorted((compiled.ROOT / "local").glob("*.py")), ids=lambda f: f.stem
)
def test_the_types_of_arguments_are_in_the_key(checkout: Path, file: Path) -> None:
    """Numba knows named tuples by name: a file with one, or with a kernel, changes the key."""
    copy = checkout / "local" / file.name
    copy.write_text(copy.read_text() + "\n# changed\n")
    changed = compiled.digest(checkout / "local") != HERE["local"]
    assert changed == (file.stem not in {"__init__", "improve", "plans", "solver"})


def test_a_change_in_what_all_share_changes_every_key(checkout: Path) -> None:
    shared = checkout / "common" / "compiled.py"
    shared.write_text(shared.read_text() + "\n# changed\n")
    after = digests(checkout)
    assert all(HERE[name] != after[name] for name in PACKAGES)


def test_code_without_kernels_is_not_in_the_key(checkout: Path) -> None:
    for name in PACKAGES:
        (checkout / name / "other.py").write_text("x = 1\n")
    assert digests(checkout) == HERE


def call(root: Path, cache: Path) -> list[int]:
    """Value, loads and compilations of the toy's kernel in a process of its own."""
    env = os.environ | {
        "NUMBA_CACHE_DIR": str(cache),
        "PYTHONPATH": os.pathsep.join((str(root), *sys.path)),
    }
    done = subprocess.run(
        [sys.executable, "-c", CALL], env=env, capture_output=True, text=True, check=True
    )
    return [int(number) for number in done.stdout.split()]


def make(root: Path) -> Path:
    """A checkout with the toy package."""
    shared = root / "pats_solvers" / "common"
    shared.mkdir(parents=True)
    shutil.copy(compiled.__file__, shared)
    for name, text in TOY.items():
        path = root / "pats_solvers" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    for folder in (shared.parent, shared, shared.parent / "toy"):
        (folder / "__init__.py").touch()
    return root


def test_another_checkout_compiles_nothing(tmp_path: Path) -> None:
    """Where a called kernel changes, the old code is not loaded."""
    cache = tmp_path / "cache"
    first, second = make(tmp_path / "first"), make(tmp_path / "second")
    assert call(first, cache) == [4, 0, 1]
    assert call(second, cache) == [4, 1, 0]
    kernels = second / "pats_solvers" / "common" / "kernels.py"
    kernels.write_text(kernels.read_text().replace("2 * x", "3 * x"))
    assert call(second, cache) == [9, 0, 1]
    assert call(first, cache) == [4, 1, 0]


# -- who may write where code is kept ----------------------------------------------------------


#: Another user, who cannot write anywhere by being root.
STRANGER = 65533


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for code that is the user's alone, below one of a sticky folder of temporary files.

    Nothing below it exists; what the process remembers of its folders is forgotten, before and
    after.
    """
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    monkeypatch.setattr(compiled.config, "CACHE_DIR", str(shared / "mine"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    for remembered in (compiled.cache_folder, compiled._private_folder):
        remembered.cache_clear()
    yield shared / "mine"
    for remembered in (compiled.cache_folder, compiled._private_folder):
        remembered.cache_clear()


def folder_of_code() -> Path | None:
    """The folder for the code of a package."""
    return compiled.cache_folder(compiled.ROOT / "dp")


def test_code_is_kept_where_only_the_user_can_write(cache: Path) -> None:
    before = os.umask(0)
    try:
        found = folder_of_code()
    finally:
        os.umask(before)
    assert found is not None
    assert found.parent == cache
    assert {folder.stat().st_mode & 0o777 for folder in (cache, found)} == {0o700}


def open_to_all(cache: Path, name: str) -> None:
    """Another's folder of code is in the user's cache, or the cache is."""
    (cache / name).mkdir(parents=True)
    cache.chmod(0o777)


def open_itself(cache: Path, name: str) -> None:
    """All can write into the folder."""
    (cache / name).mkdir(parents=True)
    (cache / name).chmod(0o777)


def open_to_the_group(cache: Path, name: str) -> None:
    """A group can write into the folder, which a sticky bit does not change."""
    (cache / name).mkdir(parents=True)
    (cache / name).chmod(0o1770)


def above_is_open(cache: Path, name: str) -> None:
    """The folder above has lost its sticky bit: all can put another cache there."""
    (cache / name).mkdir(parents=True)
    cache.parent.chmod(0o777)


def linked_to_an_open_one(cache: Path, name: str) -> None:
    """The cache is a link to a folder which all can write."""
    other = cache.parent / "other"
    (other / name).mkdir(parents=True)
    other.chmod(0o777)
    cache.symlink_to(other)


def of_another(cache: Path, name: str) -> None:
    """Another user has made the folder."""
    (cache / name).mkdir(parents=True)
    os.chown(cache / name, STRANGER, -1)


def in_another_s(cache: Path, name: str) -> None:
    """Another user has made the cache."""
    (cache / name).mkdir(parents=True)
    os.chown(cache, STRANGER, -1)


def above_is_another_s(cache: Path, name: str) -> None:
    """The sticky folder is another user's, who can replace all that is in it."""
    (cache / name).mkdir(parents=True)
    os.chown(cache.parent, STRANGER, -1)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs users and modes")
@pytest.mark.parametrize(
    "plant",
    [
        open_to_all,
        open_itself,
        open_to_the_group,
        above_is_open,
        linked_to_an_open_one,
        of_another,
        in_another_s,
        above_is_another_s,
    ],
)
def test_code_that_others_may_have_put_there_is_not_loaded(
    cache: Path,
    plant: Callable[[Path, str], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A private folder takes its place, for this process and its children; one line says so."""
    folder = f"kernels-dp-{compiled.digest(compiled.ROOT / 'dp')}"
    try:
        plant(cache, folder)
    except PermissionError:  # only root gives files away: let the user be another one
        user = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: user + 1)
    found = folder_of_code()
    assert found is None or (cache not in found.parents and found.name == folder)
    closed = plant not in {above_is_open, above_is_another_s}  # where nothing can be made safely
    if closed and os.getuid() == cache.parent.stat().st_uid:
        assert found is not None
        assert found.stat().st_mode & 0o777 == 0o700
        assert os.environ["NUMBA_CACHE_DIR"] == str(found.parent)
    (line,) = caplog.messages
    assert str(cache) in line
    assert "NUMBA_CACHE_DIR" in line
    compiled.cache_folder(compiled.ROOT / "local")
    assert caplog.messages == [line]


@pytest.mark.usefixtures("cache")
def test_without_a_home_and_temporary_files_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_home(*_args: object, **_options: object) -> Path:
        raise RuntimeError

    def no_temporary_files() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(compiled.config, "CACHE_DIR", "")
    monkeypatch.setattr(platformdirs, "user_cache_path", no_home)
    monkeypatch.setattr(tempfile, "gettempdir", no_temporary_files)
    assert folder_of_code() is None
    assert len(caplog.messages) == 1
