"""``import tsplib``: formats of weights, metrics, tours and paths, bad files."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import pats_opt
from pats_opt.errors import InputError
from pats_opt.importers.tsplib import import_tsplib, tsp_instance
from pats_opt.importers.tsplib_file import METRICS, ROWS, Tsp, read_tsplib
from tests.support.classics import random_matrix, shortest_path, shortest_tour

HEAD = "NAME: five\nTYPE: {type}\nCOMMENT: ours\nDIMENSION: {size}\n"
EXPLICIT = HEAD + "EDGE_WEIGHT_TYPE: EXPLICIT\nEDGE_WEIGHT_FORMAT: {layout}\nEDGE_WEIGHT_SECTION\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "five.tsp"


def explicit(matrix: list[list[float]], layout: str, kind: str = "TSP") -> str:
    """A file with this matrix; numbers wrap anywhere, as they do in TSPLIB."""
    size = len(matrix)
    numbers = [f"{matrix[i][j]:g}" for i in range(size) for j in ROWS[layout](i, size)]
    lines = [" ".join(numbers[k : k + 4]) for k in range(0, len(numbers), 4)]
    head = EXPLICIT.format(type=kind, size=size, layout=layout)
    return head + "\n".join(lines) + "\nEOF\n"


def coordinates(metric: str, *points: tuple[float, ...]) -> str:
    head = HEAD.format(type="TSP", size=len(points))
    rows = [" ".join(map(str, (7 + 2 * i, *p))) for i, p in enumerate(points)]
    return f"{head}EDGE_WEIGHT_TYPE : {metric}\nNODE_COORD_SECTION\n" + "\n".join(rows) + "\n"


@pytest.mark.parametrize("layout", ROWS)
def test_every_layout_gives_the_same_matrix(file: Path, layout: str) -> None:
    matrix = random_matrix(random.Random(1), 5, symmetric=True)
    file.write_text(explicit(matrix, layout))
    tsp = read_tsplib(file)
    assert (tsp.name, tsp.symmetric, tsp.nodes) == ("five", True, (1, 2, 3, 4, 5))
    assert [list(row) for row in tsp.distance] == matrix


def test_upper_row_by_hand(file: Path) -> None:
    """Numbers of the standard's own kind of example, wrapped in mid-row."""
    head = EXPLICIT.format(type="TSP", size=3, layout="UPPER_ROW")
    file.write_text(head + "12\n13 23\nEOF\n")
    assert read_tsplib(file).distance == ((0, 12, 13), (12, 0, 23), (13, 23, 0))


def test_asymmetric_with_any_diagonal(file: Path) -> None:
    matrix = random_matrix(random.Random(2), 4)
    for i in range(4):
        matrix[i][i] = -1.0 if i else 9999.0
    file.write_text(explicit(matrix, "FULL_MATRIX", "ATSP"))
    tsp = read_tsplib(file)
    assert [list(row) for row in tsp.distance] == matrix
    assert len(tsp_instance(tsp).switching.pairs) == 12


@pytest.mark.parametrize(
    ("metric", "a", "b", "distance"),
    [
        ("EUC_2D", (0, 0), (1, 1), 1),  # 1.41
        ("EUC_2D", (0, 0), (1.5, 2), 3),  # 2.5 rounds up
        ("CEIL_2D", (0, 0), (1, 1), 2),
        ("EUC_3D", (0, 0, 0), (1, 2, 2), 3),
        ("MAN_2D", (1, 5), (3.2, 1), 6),
        ("MAN_3D", (0, 0, 0), (1, 2, 3), 6),
        ("MAX_2D", (1, 5), (3, 1), 4),
        ("MAX_3D", (0, 0, 0), (1, 2, 7.6), 8),
        ("ATT", (0, 0), (30, 40), 16),  # sqrt(250) = 15.8
        ("ATT", (0, 0), (3, 1), 1),  # sqrt(1) exactly
        # A degree of latitude on a sphere of 6378.388 km is 111.3 km, and minutes are no decimals.
        ("GEO", (10.0, 20.0), (11.0, 20.0), 112),
        ("GEO", (10.0, 20.0), (10.30, 20.0), 56),
        ("GEO", (-10.30, 20.0), (10.30, 20.0), 2338),
        ("GEO", (10.0, 20.0), (10.0, 20.0), 1),
    ],
)
def test_metrics(
    file: Path, metric: str, a: tuple[float, ...], b: tuple[float, ...], distance: int
) -> None:
    """Distances worked out by hand; nodes keep the numbers that the file gives them."""
    file.write_text(coordinates(metric, a, b))
    tsp = read_tsplib(file)
    assert tsp.nodes == (7, 9)
    assert tsp.distance == ((0, distance), (distance, 0))


def test_every_metric_is_tried() -> None:
    tried = test_metrics.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert {case[0] for case in tried} == set(METRICS)


GOOD = explicit([[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 3.0, 0.0]], "FULL_MATRIX")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("TYPE: TSP", "TYPE: CVRP", "line 2: TYPE 'CVRP' cannot be imported; it must be one of"),
        ("TYPE: TSP\n", "", "TYPE is missing; add 'TYPE: ' with one of TSP, ATSP"),
        ("DIMENSION: 3\n", "", "DIMENSION is missing; add the number of nodes"),
        ("DIMENSION: 3", "DIMENSION: many", "line 4: 'many' is no number of nodes"),
        ("DIMENSION: 3", "DIMENSION: 1", "line 4: '1' is no number of nodes"),
        ("DIMENSION: 3", "DIMENSION: 9000", "write a whole number from 2 to 1500"),
        ("DIMENSION: 3", "DIMENSION: 4", "the file ends where distance from node 3 to node 2"),
        ("DIMENSION: 3", "DIMENSION: 2", "words follow FULL_MATRIX of 2 nodes"),
        ("EXPLICIT", "XRAY1", "line 5: EDGE_WEIGHT_TYPE 'XRAY1' cannot be imported"),
        ("EXPLICIT", "EUC_2D", "NODE_COORD_SECTION is missing; add it"),
        ("FULL_MATRIX", "FUNCTION", "line 6: EDGE_WEIGHT_FORMAT 'FUNCTION' cannot be imported"),
        ("EDGE_WEIGHT_SECTION", "THINGS_SECTION", "EDGE_WEIGHT_SECTION is missing; add it"),
        ("EDGE_WEIGHT_SECTION", "Hello", "line 7: 'Hello' is no keyword"),
        ("EDGE_WEIGHT_SECTION\n", "", "line 7: numbers before any section"),
        ("0 1 2 1", "0 -1 2 1", "line 8: '-1' is no distance from node 1 to node 2"),
        ("0 1 2 1", "0 1e11 2 1", "line 8: '1e11' is no distance"),
        ("0 1 2 1", "0 1x 2 1", "line 8: '1x' is no distance"),
        (
            "0 1 2 1",
            "0 5 2 1",
            "EDGE_WEIGHT_SECTION: distances of nodes 1 and 2 differ by direction",
        ),
        ("NAME: five", "NAME: five\nNAME: six", "line 2: 'NAME' is there twice; keep one"),
        ("EOF", "FIXED_EDGES_SECTION\n1 2\n-1\nEOF", "edges that a tour must use"),
    ],
)
def test_bad_files_are_one_line(file: Path, before: str, after: str, message: str) -> None:
    assert GOOD.count(before) >= 1
    file.write_text(GOOD.replace(before, after, 1))
    with pytest.raises(InputError) as error:
        read_tsplib(file)
    assert str(error.value).startswith(f"{file}: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("7 1 1", "line 8: node 7 is there twice"),
        ("8 1", "the file ends where coordinate should be"),
        ("8 1 inf", "line 8: 'inf' is no coordinate"),
        ("x 1 1", "line 8: 'x 1 1' is no keyword"),
    ],
)
def test_bad_coordinates(file: Path, row: str, message: str) -> None:
    text = coordinates("EUC_2D", (0, 0), (1, 1))
    file.write_text(text.replace("9 1 1", row))
    with pytest.raises(InputError) as error:
        read_tsplib(file)
    assert message in str(error.value)


def test_no_such_start(file: Path) -> None:
    file.write_text(GOOD)
    with pytest.raises(InputError, match="there is no node 4; nodes are numbered 1 to 3"):
        import_tsplib(file, start=4)


@pytest.mark.parametrize("solver", ["cpsat", "cpsat:formulation=positions", "dp"])
def test_the_loss_is_the_shortest_length(solver: str) -> None:
    """Tours, paths, and paths from a given node, against all orders of the nodes."""
    rng = random.Random(11)
    for size in (2, 3, 5, 6):
        matrix = random_matrix(rng, size, symmetric=size % 2 == 0)
        tsp = Tsp("x", size % 2 == 0, tuple(range(1, size + 1)), tuple(map(tuple, matrix)))
        cases = [
            (tsp_instance(tsp), shortest_tour(matrix)),
            (tsp_instance(tsp, start=2), shortest_tour(matrix)),
            (tsp_instance(tsp, closed=False), shortest_path(matrix)),
            (tsp_instance(tsp, closed=False, start=2), shortest_path(matrix, start=1)),
        ]
        for instance, shortest in cases:
            result = pats_opt.solve(instance, solver, time_limit=60)
            assert result.loss == shortest, (size, instance.name)
            assert result.bound == pytest.approx(shortest)


def test_without_the_matrix_every_order_costs_the_same() -> None:
    """One constant switching cost makes a tour of n nodes cost n times it: nothing to decide."""
    matrix = tuple(tuple(0.0 if i == j else 7.0 for j in range(6)) for i in range(6))
    instance = tsp_instance(Tsp("constant", True, (1, 2, 3, 4, 5, 6), matrix))
    for solver in ("fifo", "cpsat"):
        result = pats_opt.solve(instance, solver, time_limit=60)
        assert result.loss == 42.0
