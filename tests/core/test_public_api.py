"""The public interface: small, complete, quick to import."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import pats_opt
from tests.support.zoo import early_leaving

HEAVY = {
    "bokeh",
    "jinja2",
    "matplotlib",
    "networkx",
    "numba",
    "numpy",
    "ortools",
    "polars",
    "pulp",
    "rich",
    "torch",
}


def test_exported_names() -> None:
    """``__all__`` is sorted and complete, everything in it is there and documented."""
    assert pats_opt.__all__ == sorted(pats_opt.__all__)
    assert set(dir(pats_opt)) == set(pats_opt.__all__)
    for name in pats_opt.__all__:
        found = getattr(pats_opt, name)
        if name != "__version__":
            assert inspect.getdoc(found), name


def test_unknown_name() -> None:
    """A name that is not there is an AttributeError, as anywhere."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pats_opt.nothing


def test_the_main_job_in_five_lines(tmp_path: Path) -> None:
    """Read, solve, check, write, as the package's documentation shows it."""
    case = early_leaving()
    (tmp_path / "instance.json").write_text(json.dumps(case.document))
    instance = pats_opt.read_instance(tmp_path / "instance.json")
    result = pats_opt.solve(instance, "cpsat", time_limit=60)
    assert pats_opt.check(instance, result.schedule).ok
    pats_opt.write_schedule(result.schedule, tmp_path / "schedule.json")
    assert result.loss == pytest.approx(case.loss)
    again = pats_opt.read_schedule(tmp_path / "schedule.json")
    assert pats_opt.check(instance, again).loss == result.loss


@pytest.mark.parametrize(
    "statement",
    [
        "import pats_opt",
        "import pats_opt.model.files, pats_opt.model.checker",
        "from pats_opt.cli import run; run(['--help'])",
    ],
)
def test_imports_stay_light(statement: str) -> None:
    """Reading, checking and ``--help`` import no heavy package."""
    assert not _imported(statement) & HEAVY


def _imported(statement: str) -> set[str]:
    """Return the packages that a new process has imported after a statement."""
    code = f"{statement}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stderr)}


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("check {instance} {schedule}", set()),
        ("solve --help", set()),
        ("solve {instance} --solver fifo", {"numpy"}),
        ("simulate {instance} --policy pats", {"numpy"}),
        ("solve {instance} --solver dp", {"numpy", "numba"}),
        ("solve {instance} --solver cpsat", {"numpy", "ortools"}),
        ("solve {instance} --solver milp", {"numpy", "ortools"}),
    ],
)
def test_a_command_imports_only_the_packages_it_needs(
    command: str, needed: set[str], tmp_path: Path
) -> None:
    """A solver's packages are imported when it is chosen; rich only for a terminal."""
    instance, schedule = tmp_path / "instance.json", tmp_path / "schedule.json"
    instance.write_text(json.dumps(early_leaving().document))
    result = pats_opt.solve(pats_opt.read_instance(instance), "fifo")
    pats_opt.write_schedule(result.schedule, schedule)
    arguments = command.format(instance=instance, schedule=schedule).split()
    statement = f"from pats_opt.cli import run; assert run({arguments!r}) == 0"
    assert _imported(statement) & HEAVY == needed


def test_every_module_imports() -> None:
    """Every module of both packages imports without a warning."""
    root = Path(pats_opt.__file__).parents[1]
    found = []
    for package in (root / "pats_opt", root / "solvers" / "pats_solvers"):
        paths = [path.relative_to(package.parent) for path in package.rglob("[!_]*.py")]
        found += [".".join(path.with_suffix("").parts) for path in paths]
    assert "pats_opt.model.checker" in found
    code = f"import importlib\nfor name in {sorted(found)!r}: importlib.import_module(name)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
