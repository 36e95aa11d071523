"""Replacements for commands on pages that tests cannot run: the one list, with reasons.

Everything that is not named here is run as it stands on the page.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Instead(NamedTuple):
    """A text of a shell block, what is run in its place, and why."""

    said: str
    done: str
    why: str


INSTEAD = (
    Instead("make demo", "true", "CI runs it itself, before the tests"),
    Instead(
        "gap-report instance.json --solvers auto,pats -o",
        "gap-report --help instance.json --solvers auto,pats -o",
        "make demo runs this command, on more instances",
    ),
    Instead("make test", "true", "CI runs it itself: this test is part of it"),
    Instead("pip install 'pats-opt[execute]'", "true", "needs an index; the tests' extras hold it"),
    Instead(
        "pip install 'pats-opt[serve]' openai",
        "true",
        "needs an index; the tests' extras hold it",
    ),
    Instead("pip install 'pats-opt[tune]'", "true", "needs an index; the tests' extras hold it"),
    Instead(
        "pip install .",
        'python -m pip install -q --no-index --no-deps --no-build-isolation --target "$SITE" .',
        "into a folder of the test's own, without an index",
    ),
    Instead(
        "--model sdxl-random --device cuda",
        "--help",
        "a test machine has no GPU: only the names of the options are checked",
    ),
    Instead(
        "--model /models/sdxl-base --adapters /models/loras",
        "--help",
        "needs SDXL's weights: only the names of the options are checked",
    ),
    Instead(
        "profile --model sdxl-random",
        "profile --model sdxl-random --help",
        "a test machine has no GPU: only the names of the options are checked",
    ),
    Instead(
        "profile -o out/tiny.toml",
        "profile --batches 1 --steps 3 --repeats 1 --sizes 512x512 --max-batch 2 -o out/tiny.toml",
        "takes two minutes as it stands",
    ),
    Instead(
        "gap-report --config experiments/",
        "gap-report --help --config experiments/",
        "takes hours; tests/experiments holds what came of it to the figures",
    ),
    Instead("export RAY_ADDRESS=HOST:6379", "true", "needs a cluster"),
    Instead(
        "--engine ray -o out/",
        "--engine ray --help -o out/",
        "needs a cluster: only the names of the options are checked",
    ),
    Instead("sh experiments/trace/slices.sh LOG", "true", "the log is not ours to give"),
    Instead(
        "generate --profile profile.toml",
        f"generate --profile {ROOT}/experiments/executed/profile.toml",
        "the page speaks of the files in executed/",
    ),
    Instead(
        "gap-report --suite documents-small",
        "gap-report --help --suite documents-small",
        "takes minutes; other pages run the command on an instance",
    ),
)
