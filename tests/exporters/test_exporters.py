"""``export``: import, solve and export again, and what is refused."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

import pats_opt
from pats_opt.cli import run
from pats_opt.exporters import FORMATS
from pats_opt.model.files import read_instance, write_schedule
from tests.support.classics import (
    cheapest_plan,
    fewest_bins,
    length,
    random_matrix,
    shortest_path,
    shortest_tour,
)

Json = dict[str, Any]


@pytest.fixture
def trip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Import a text, solve the instance, and export it as JSON and as text."""

    def run_all(name: str, text: str, *options: str, loss: float | None = None) -> tuple[Json, str]:
        paths = {key: str(tmp_path / key) for key in ("given", "instance", "schedule", "out")}
        Path(paths["given"]).write_text(text)
        assert run(["import", name, paths["given"], *options, "-o", paths["instance"]]) == 0
        instance = read_instance(paths["instance"])
        result = pats_opt.solve(instance, "cpsat", time_limit=60)
        write_schedule(result.schedule, paths["schedule"])
        capsys.readouterr()
        export = ["export", name, paths["schedule"], "--instance", paths["instance"]]
        assert run([*export, "--json", "-o", paths["out"]]) == 0
        document: Json = json.loads(capsys.readouterr().out)
        told = Path(paths["out"]).read_text()
        assert run(export) == 0
        assert capsys.readouterr().out == told
        assert result.loss == pytest.approx(document["objective"] if loss is None else loss)
        return document, told

    return run_all


def test_bins(trip: Any) -> None:
    """Every item in one bin, no bin too full, as few bins as there can be."""
    rng = random.Random(2)
    for _ in range(4):
        sizes = [rng.randint(2, 9) for _ in range(rng.randint(3, 8))]
        text = f"{len(sizes)}\n12\n" + "\n".join(map(str, sizes))
        document, told = trip("bin-packing", text)
        bins = document["bins"]
        assert document["objective"] == len(bins) == fewest_bins(sizes, 12)
        assert sorted(size for b in bins for size in b["sizes"]) == sorted(sizes)
        assert all(b["load"] == sum(b["sizes"]) <= 12 for b in bins)
        packed = sorted(i for b in bins for i in b["items"])
        assert packed == sorted(f"item-{i}" for i in range(1, len(sizes) + 1))
        assert told.count("\nbin ") == len(bins)


def test_bins_of_a_given_number(trip: Any) -> None:
    """With --bins any schedule has loss 0; the objective is still the number of bins used."""
    document, _ = trip("bin-packing", "4\n10\n6\n4\n7\n3\n", "--bins", "2", loss=0.0)
    assert document["objective"] == 2


@pytest.mark.parametrize("options", [(), ("--open",), ("--start", "3"), ("--open", "--start", "3")])
def test_tours(trip: Any, options: tuple[str, ...]) -> None:
    """Every node once, from the start on, as short as can be; the .tour file says the same."""
    matrix = random_matrix(random.Random(4), 6)
    text = "NAME: ours\nTYPE: ATSP\nDIMENSION: 6\nEDGE_WEIGHT_TYPE: EXPLICIT\n"
    text += "EDGE_WEIGHT_FORMAT: FULL_MATRIX\nEDGE_WEIGHT_SECTION\n"
    text += "\n".join(" ".join(f"{x:g}" for x in row) for row in matrix) + "\nEOF\n"
    document, told = trip("tsplib", text, *options)
    tour = [node - 1 for node in document["tour"]]
    assert sorted(tour) == list(range(6))
    closed = "--open" not in options
    start = 2 if "--start" in options else 0 if closed else None
    if start is not None:
        assert tour[0] == start
    shortest = shortest_tour(matrix) if closed else shortest_path(matrix, start)
    assert document["objective"] == shortest
    assert length(matrix, [*tour, tour[0]] if closed else tour) == shortest
    lines = told.splitlines()
    assert lines[:4] == [
        "NAME: ours.tour",
        f"COMMENT: {'tour' if closed else 'open path'} of length {shortest:g}",
        "TYPE: TOUR",
        "DIMENSION: 6",
    ]
    section = lines.index("TOUR_SECTION")
    assert lines[section + 1 :] == [*(str(node + 1) for node in tour), "-1", "EOF"]


def test_production_plans(trip: Any) -> None:
    """Demand is met from stock, and the plan costs what the loss says."""
    demand = ((0, 0, 1, 0, 1), (0, 1, 0, 1, 0))
    changeover = ((0.0, 7.0), (4.0, 0.0))
    rows = "\n".join(" ".join(map(str, row)) for row in demand)
    costs = "\n".join(" ".join(f"{q:g}" for q in row) for row in changeover)
    document, told = trip("csplib058", f"5\n2\n{rows}\n3\n{costs}\n")
    plan = document["plan"]
    assert document["objective"] == cheapest_plan(demand, 3.0, changeover)
    assert document["objective"] == document["stocking"] + document["changeover"]
    for i, row in enumerate(demand):
        stock = [sum(p == i + 1 for p in plan[:d]) - sum(row[:d]) for d in range(1, 6)]
        assert min(stock) == stock[-1] == 0
    order = [p - 1 for p in plan if p]
    assert document["changeover"] == sum(
        changeover[a][b] for a, b in itertools.pairwise(order) if a != b
    )
    assert told.splitlines()[1] == " ".join(map(str, plan))


def test_graphs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Edges count the switches of all GPUs, and add up to what the schedule paid."""
    instance_file, schedule_file, out = (str(tmp_path / n) for n in ("i.json", "s.json", "g.xml"))
    args = ["generate", "--requests", "12", "--adapters", "3", "--gpus", "2", "-o", instance_file]
    assert run(args) == 0
    result = pats_opt.solve(read_instance(instance_file), "pats")
    write_schedule(result.schedule, schedule_file)
    capsys.readouterr()
    export = ["export", "graph", schedule_file, "--instance", instance_file]
    assert run([*export, "-o", out, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert result.metrics is not None
    graph = nx.read_graphml(out)
    switches = sum(d["switches"] for _, _, d in graph.edges(data=True))
    seconds = sum(d["seconds"] for _, _, d in graph.edges(data=True))
    assert switches == sum(edge["switches"] for edge in document["edges"])
    assert switches == result.metrics.switches > 0
    assert seconds == pytest.approx(result.metrics.switching_s)
    assert sum(node.get("requests", 0) for _, node in graph.nodes(data=True)) == 12


# -- what is refused -----------------------------------------------------------------------------


@pytest.fixture
def solved(tmp_path: Path) -> tuple[str, str]:
    """Files of a packing in two bins and its schedule."""
    given, instance, schedule = (str(tmp_path / n) for n in ("given", "i.json", "s.json"))
    Path(given).write_text("4\n10\n6\n4\n7\n3\n")
    assert run(["import", "bin-packing", given, "-o", instance]) == 0
    assert run(["solve", instance, "--solver", "cpsat", "-o", schedule]) == 0
    return instance, schedule


def refused(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    capsys.readouterr()
    assert run(["export", *args]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    return told.err


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("bin-packing", "graph")])
def test_another_format(
    solved: tuple[str, str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An instance of one origin is not exported as another."""
    instance, schedule = solved
    told = refused(capsys, name, schedule, "--instance", instance)
    assert f"{instance}: extra.source.format: the instance was not imported from '{name}'" in told


def test_broken_schedule(solved: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """A schedule that breaks a rule is not exported."""
    instance, schedule = solved
    document = json.loads(Path(schedule).read_text())
    document["gpus"][0]["batches"][0]["requests"].pop()
    Path(schedule).write_text(json.dumps(document))
    told = refused(capsys, "bin-packing", schedule, "--instance", instance)
    assert f"{schedule}: " in told
    assert "the schedule breaks rule 1" in told


def test_no_schedule(solved: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    instance, schedule = solved
    document = json.loads(Path(schedule).read_text())
    document.update(gpus=[], loss=None, rejected=[])
    document["status"] = {"stop": "time-limit", "point": "none"}
    Path(schedule).write_text(json.dumps(document))
    told = refused(capsys, "bin-packing", schedule, "--instance", instance)
    assert "status.point: there is no schedule in it" in told


def test_damaged_note(solved: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Notes of the importer are checked like the rest of a file."""
    instance, schedule = solved
    document = json.loads(Path(instance).read_text())
    del document["extra"]["source"]["name"]
    Path(instance).write_text(json.dumps(document))
    assert run(["solve", instance, "--solver", "cpsat", "-o", schedule]) == 0
    told = refused(capsys, "bin-packing", schedule, "--instance", instance)
    assert "extra.source" in told
    assert "import the instance again" in told


def test_caches_make_no_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    instance, schedule = (str(tmp_path / n) for n in ("i.json", "s.json"))
    args = ["generate", "--requests", "4", "--adapters", "3", "--max-resident", "2", "-o", instance]
    assert run(args) == 0
    assert run(["solve", instance, "--solver", "fifo", "-o", schedule]) == 0
    told = refused(capsys, "graph", schedule, "--instance", instance)
    assert "switching.max_resident" in told


def test_loads_beside_serving_make_no_graph(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    instance, schedule = str(tmp_path / "i.json"), str(tmp_path / "s.json")
    assert run(["generate", "--requests", "3", "--load-channels", "1", "-o", instance]) == 0
    assert run(["solve", instance, "--solver", "fifo", "-o", schedule]) == 0
    told = refused(capsys, "graph", schedule, "--instance", instance)
    assert "switching.overlap" in told


def test_unknown_format(solved: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    instance, schedule = solved
    told = refused(capsys, "tsp", schedule, "--instance", instance)
    assert "'bin-packing', 'tsplib', 'csplib058', 'graph'" in told
