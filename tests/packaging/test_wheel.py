"""The wheel works away from the checkout and holds what it should."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.support.shared import made_once

ROOT = Path(__file__).parents[2]

INSTANCE = {
    "format": "pats-opt/instance",
    "version": 1,
    "name": "wheel",
    "tick_s": 1.2,
    "base_vram_gib": 7.0,
    "gpus": [{"id": "gpu-0", "capacity": {"vram_gib": 40.0}}],
    "adapters": [{"id": "a", "vram_gib": 0.2, "load_s": 1.16}],
    "switching": {"max_resident": 1, "price_per_s": 1.0},
    "service": {"kind": "steps", "step_s": {"base": 0.06, "per_sample": 0.0}},
    "latency_price_per_s": 0.05,
    "requests": [
        {
            "id": "r0",
            "arrival_s": 0.0,
            "adapter": "a",
            "demand": {"vram_gib": 4.0},
            "options": [{"steps": 20, "quality": 0.97}, {"steps": 60, "quality": 1.0}],
        }
    ],
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout."""

    def build(folder: Path) -> None:
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(folder)]
        subprocess.run([*command, str(ROOT)], check=True, capture_output=True)

    return next(made_once(tmp_path_factory, "wheel", build).glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """An environment with the wheel installed, and its variables.

    Dependencies come from this one by PYTHONPATH, which does not follow the editable install's
    ``.pth`` file: the package itself can only come from the wheel.
    """
    venv = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    program = str(venv / "bin" / "python")
    install = [program, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    return program, {**os.environ, "PYTHONPATH": sysconfig.get_paths()["purelib"]}


def test_holds_both_packages_and_nothing_else(wheel: Path) -> None:
    """Two import packages, their data and type markers; no tests, instances or experiments."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"pats_opt", "pats_solvers"}
    assert {"pats_opt/py.typed", "pats_solvers/py.typed"} <= set(names)
    assert any(name.startswith("pats_opt/data/") for name in names)
    assert not [name for name in names if "__pycache__" in name]


def test_solves_and_checks_away_from_the_checkout(
    python: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    """The main job runs from the wheel in another folder."""
    program, variables = python

    def run(*command: str) -> str:
        done = subprocess.run(
            [program, *command],
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run("-c", "import pats_opt, pats_solvers; print(pats_opt.__file__)")
    assert not Path(where.strip()).is_relative_to(ROOT)
    (tmp_path / "i.json").write_text(json.dumps(INSTANCE))
    cli = ("-m", "pats_opt")
    solved = json.loads(run(*cli, "solve", "i.json", "--solver", "milp", "-o", "s.json", "--json"))
    assert solved["status"] == {"stop": "optimal", "point": "optimal"}
    # One load of 1.16 s, one tick to switch, one tick to serve at 20 steps with quality 0.97.
    assert solved["loss"] == pytest.approx(1.16 + 0.03 + 2 * 1.2 * 0.05)
    assert json.loads(run(*cli, "check", "i.json", "s.json", "--json"))["ok"] is True
    assert run(*cli, "--version").startswith("pats-opt, version ")
