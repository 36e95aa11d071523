"""Names and first lines: every public class has a unique name, made of standard terms."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Terms of scheduling, queueing, optimisation, serving and programming.
TERMS = frozenset(
    """
    accuracy actor adapter admitted affine affinity aimd allocation amortized annealings approximate
    arc architecture array arrival ascent at atcs auto aware backend backlog bar base bash batch
    batching begin belady bench bin binary bound bounded bounding box branching broken budget build
    builder bundle by cache call callback capability capacity captured cell chain chart choice
    circuit class clipper clock column command compared comparer comparison compilation completion
    complexity composition conditioning config conformance constant constraint context controlled
    cosine cost count counting cp crash credit curve cut data day deadline decider decision delta
    demand dense device difference dimension dispatch displayable distance document dp drain driver
    drop dual duration earliest edd embedder ended engine entry error estimate evaluation event
    eviction exact exchange executed execution exhaustive expected exported fact factor failure
    family fcfs feature field fifo figure file finish finished firing first fit fleet flip flow
    folder follower format formulation frequently gap gated go gpu graph greedy grid group grouped
    guided handler hash head help heuristic hint hit hosted hysteresis idle image imported inbox
    incomplete incumbent index indicator infeasible info inline input instance integer interrupt
    interrupted interval iterate job join journal k kernel key kind label ladder lagrangian lane
    latency latent layer layout lazy leader learnt least legend level limit limited lin line linear
    live load loading local log lookup lora loss lot lpips machine map mapping mdd measure measured
    measurement member memory merged message metric milp missing mix mode model move ms named native
    nearest neighbourhood network nexus nirvana no node number objective offline online optimum
    option order ordered origin outcome output over overflow overhead pace packing page pairwise
    panel parameter part pass path patient pats pattern performance phase picture plan planned
    plottable point polar policy polling pool popularity portfolio position power prediction
    predictor price priced pricing problem process processes profile profiling progress prompt proof
    proteus quality queue range rank rate ray ready reason rebalancing recalibration recently recipe
    record recorded recorder ref relaxation release replay replayed report request resource result
    retention ring robin round rounds router row rule run runner running sampling sat saved saver
    scaling schedule scheduled scored scoring sdxl search series served server service session set
    setting setup shape share shift shortest similarity simulated simulation site size sizing skip
    slot solution solver space span spec spread square srpt ssim stage staleness start started state
    stationary statistics status stderr step stop stopped stopwatch store stored style subproblem
    successor suite supervisor switch switched switching table target task term thread threshold
    tick tier time timed timeline timeout timer to token tokenizer tolerance tolerant total tour
    trace transition trial truncated tsp tune turn two ucb unfinished unmodelled untimed use used
    value variable vector verdict view violation visit vllm vram waiting wake watch wave weight
    window word work worker workload writer api change expired extension guard health read reader
    remote response scheduler sender serve summary ghost
    """.split()  # noqa: SIM905 (a list would be a page long)
)

#: First lines of docstrings neither begin with "What" nor use these words.
AVOIDED = re.compile(r"^What |\b(?:told|whoever|stands)\b")


def trees() -> Iterator[tuple[str, ast.Module]]:
    """Yield every module of both packages."""
    for top in (ROOT / "pats_opt", ROOT / "solvers" / "pats_solvers"):
        for path in sorted(top.rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def classes() -> dict[str, list[str]]:
    """Return the public classes with the modules that define them."""
    found: dict[str, list[str]] = defaultdict(list)
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(path)
    return found


def words(name: str) -> list[str]:
    """Return the words of a class name in lower case and singular."""
    parts = re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z][a-z]+|[A-Z]+", name)
    return [singular(part.lower()) for part in parts]


def singular(word: str) -> str:
    """Return a known word for its plural, and any other word as it is."""
    endings = (("", ""), ("s", ""), ("es", ""), ("ies", "y"), ("ices", "ex"))
    for ending, single in endings:
        if word.endswith(ending) and (known := word.removesuffix(ending) + single) in TERMS:
            return known
    return word


def glossary() -> set[str]:
    """Return the words that the glossary explains."""
    page = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    return {
        word for entry in re.findall(r"^\| \*\*(.+?)\*\*", page, re.M) for word in entry.split()
    }


def test_a_public_class_has_a_name_of_its_own() -> None:
    assert {name: paths for name, paths in classes().items() if len(paths) > 1} == {}


def test_class_names_are_made_of_known_terms() -> None:
    known = TERMS | glossary()
    unknown = {name: paths for name, paths in classes().items() if not set(words(name)) <= known}
    assert unknown == {}


def test_first_lines_are_plain() -> None:
    found = []
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                first = (ast.get_docstring(node) or "").partition("\n")[0]
                if AVOIDED.search(first):
                    found.append(f"{path}: {first}")
    assert found == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [("CpSat", ["cp", "sat"]), ("GPUClasses", ["gpu", "class"]), ("Policies", ["policy"])],
)
def test_words_of_a_name(name: str, expected: list[str]) -> None:
    assert words(name) == expected
