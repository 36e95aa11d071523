"""Where compiled code is kept: a key per package, the same in every checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

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
    assert changed == (file.stem not in {"__init__", "improve", "solver"})


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
