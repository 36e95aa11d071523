"""TSPLIB 95 files of travelling salesman problems, read as a distance matrix.

Source: G. Reinelt, TSPLIB 95 (1995), sections 1 and 2. GEO truncates to whole degrees, as TSPLIB's
own optima require; its text says "nearest", which gives other distances.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.importers.classic import Tokenizer, read_lines
from pats_opt.model.files import StrPath

#: Most nodes of a file: the instance lists every pair of them.
MOST_NODES = 1500

Matrix = tuple[tuple[float, ...], ...]
Point = tuple[float, ...]


class Tsp(Struct, frozen=True):
    """One travelling salesman problem.

    Attributes:
        symmetric: Whether it is of TYPE TSP.
        nodes: Numbers of the nodes in the file.
        distance: ``distance[i][j]`` from the i-th to the j-th node; the diagonal is not used.
    """

    name: str
    symmetric: bool
    nodes: tuple[int, ...]
    distance: Matrix


def read_tsplib(path: StrPath) -> Tsp:
    """Read a file of TYPE TSP or ATSP.

    Raises:
        InputError: naming file, place and hint.
    """
    return _TsplibFile(path).problem()


def _nearest(x: float) -> int:
    return int(x + 0.5)


def _euclidean(a: Point, b: Point, scale: float = 1.0) -> float:
    return math.sqrt(sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) / scale)


def _differences(a: Point, b: Point) -> list[float]:
    return [abs(p - q) for p, q in zip(a, b, strict=True)]


def _geographical(a: Point, b: Point) -> float:
    """Kilometres on TSPLIB's idealised Earth, from DDD.MM latitude and longitude."""

    def radians(x: float) -> float:
        degrees = int(x)
        return 3.141592 * (degrees + 5.0 * (x - degrees) / 3.0) / 180.0

    (lat_a, lon_a), (lat_b, lon_b) = map(radians, a), map(radians, b)
    q1, q2, q3 = math.cos(lon_a - lon_b), math.cos(lat_a - lat_b), math.cos(lat_a + lat_b)
    cosine = 0.5 * ((1.0 + q1) * q2 - (1.0 - q1) * q3)
    angle = math.acos(max(-1.0, min(1.0, cosine)))
    return int(6378.388 * angle + 1.0)


#: EDGE_WEIGHT_TYPE -> (coordinates of a node, distance of two).
METRICS: dict[str, tuple[int, Callable[[Point, Point], float]]] = {
    "EUC_2D": (2, lambda a, b: _nearest(_euclidean(a, b))),
    "EUC_3D": (3, lambda a, b: _nearest(_euclidean(a, b))),
    "CEIL_2D": (2, lambda a, b: math.ceil(_euclidean(a, b))),
    "MAN_2D": (2, lambda a, b: _nearest(sum(_differences(a, b)))),
    "MAN_3D": (3, lambda a, b: _nearest(sum(_differences(a, b)))),
    "MAX_2D": (2, lambda a, b: max(map(_nearest, _differences(a, b)))),
    "MAX_3D": (3, lambda a, b: max(map(_nearest, _differences(a, b)))),
    "ATT": (2, lambda a, b: math.ceil(_euclidean(a, b, scale=10.0))),
    "GEO": (2, _geographical),
}

#: EDGE_WEIGHT_FORMAT -> the columns of row i of n that the file lists; by columns the mirror image.
ROWS: dict[str, Callable[[int, int], range]] = {
    "FULL_MATRIX": lambda _, n: range(n),
    "UPPER_ROW": lambda i, n: range(i + 1, n),
    "LOWER_ROW": lambda i, _: range(i),
    "UPPER_DIAG_ROW": range,
    "LOWER_DIAG_ROW": lambda i, _: range(i + 1),
    "UPPER_COL": lambda i, _: range(i),
    "LOWER_COL": lambda i, n: range(i + 1, n),
    "UPPER_DIAG_COL": lambda i, _: range(i + 1),
    "LOWER_DIAG_COL": range,
}


class _TsplibFile:
    """A file split into specifications and sections, and the problem they describe.

    Attributes:
        entries: Value and line of each ``KEYWORD: value``.
        sections: Lines below each ``KEYWORD_SECTION``, and the number of the first one.
    """

    def __init__(self, path: StrPath) -> None:
        self.path = path
        self.entries: dict[str, tuple[str, int]] = {}
        self.sections: dict[str, tuple[list[str], int]] = {}
        current: tuple[list[str], int] | None = None  # goes on while lines start with a number
        for number, line in enumerate(read_lines(path), 1):
            text, place = line.strip(), f"line {number}"
            if text == "EOF":
                return
            if not text:
                continue
            if text[0].isdigit() or text[0] in "+-.":
                if current is None:
                    raise self._error("numbers before any section", place, "name it")
                section, first = current
                section.extend([""] * (number - first - len(section)))
                section.append(line)
                continue
            keyword, colon, value = text.partition(":")
            keyword = keyword.strip().upper()
            current = None
            if keyword in self.entries or keyword in self.sections:
                raise self._error(f"{keyword[:40]!r} is there twice", place, "keep one")
            if keyword.endswith("_SECTION"):
                current = self.sections[keyword] = [], number + 1
            elif colon:
                self.entries[keyword] = value.strip(), number
            else:
                raise self._error(f"{text[:40]!r} is no keyword", place, "write 'KEYWORD: value'")

    def problem(self) -> Tsp:
        kind = self._entry("TYPE", ("TSP", "ATSP"))
        if "FIXED_EDGES_SECTION" in self.sections:
            raise self._error(
                "edges that a tour must use cannot be imported",
                f"line {self.sections['FIXED_EDGES_SECTION'][1] - 1}",
                "remove FIXED_EDGES_SECTION",
            )
        if "DIMENSION" not in self.entries:
            raise self._error("DIMENSION is missing", None, "add the number of nodes")
        value, line = self.entries["DIMENSION"]
        size = Tokenizer(self.path, [value], line).whole("number of nodes", 2, MOST_NODES)
        weights = self._entry("EDGE_WEIGHT_TYPE", ("EXPLICIT", *METRICS))
        nodes = tuple(range(1, size + 1))
        if weights == "EXPLICIT":
            distance = self._explicit(size, symmetric=kind == "TSP")
        else:
            coordinates, metric = METRICS[weights]
            nodes, points = self._points(size, coordinates)
            distance = tuple(
                tuple(0.0 if i == j else float(metric(a, b)) for j, b in enumerate(points))
                for i, a in enumerate(points)
            )
        name = self.entries.get("NAME", ("", 0))[0] or Path(self.path).stem
        return Tsp(name, kind == "TSP", nodes, distance)

    def _explicit(self, size: int, symmetric: bool) -> Matrix:
        layout = self._entry("EDGE_WEIGHT_FORMAT", tuple(ROWS))
        tokens = self._section("EDGE_WEIGHT_SECTION", f"the weights as {layout}")
        matrix = [[0.0] * size for _ in range(size)]
        for i in range(size):
            for j in ROWS[layout](i, size):
                # The diagonal is filler (0, 9999, even -1) that no tour uses.
                low = -math.inf if i == j else 0.0
                matrix[i][j] = tokens.number(f"distance from node {i + 1} to node {j + 1}", low)
                if layout != "FULL_MATRIX":
                    matrix[j][i] = matrix[i][j]
        tokens.end(f"{layout} of {size} nodes")
        if symmetric:
            for i, j in itertools.combinations(range(size), 2):
                if matrix[i][j] != matrix[j][i]:
                    raise self._error(
                        f"distances of nodes {i + 1} and {j + 1} differ by direction",
                        "EDGE_WEIGHT_SECTION",
                        "write 'TYPE: ATSP', or correct them",
                    )
        return tuple(map(tuple, matrix))

    def _points(self, size: int, coordinates: int) -> tuple[tuple[int, ...], list[Point]]:
        tokens = self._section("NODE_COORD_SECTION", "a node's number and its coordinates a line")
        nodes: dict[int, Point] = {}
        for _ in range(size):
            node = tokens.whole("node number", 0, 10**9)
            if node in nodes:
                raise self._error(
                    f"node {node} is there twice", f"line {tokens.line}", "give each node once"
                )
            nodes[node] = tuple(tokens.number("coordinate", -1e9, 1e9) for _ in range(coordinates))
        tokens.end(f"{size} nodes")
        return tuple(nodes), list(nodes.values())

    def _entry(self, keyword: str, known: Sequence[str]) -> str:
        """Value of a specification, which must be one of ``known``."""
        if keyword not in self.entries:
            raise self._error(
                f"{keyword} is missing", None, f"add '{keyword}: ' with one of {', '.join(known)}"
            )
        value, line = self.entries[keyword]
        first = value.upper().split()[:1]
        if not first or first[0] not in known:
            raise self._error(
                f"{keyword} {value[:40]!r} cannot be imported",
                f"line {line}",
                f"it must be one of {', '.join(known)}",
            )
        return first[0]

    def _section(self, keyword: str, content: str) -> Tokenizer:
        if keyword not in self.sections:
            raise self._error(f"{keyword} is missing", None, f"add it: {content}")
        return Tokenizer(self.path, *self.sections[keyword])

    def _error(self, problem: str, place: str | None, hint: str) -> InputError:
        return InputError(problem, file=str(self.path), place=place, hint=hint)
