"""``import bin-packing``: layouts, the two readings, bad files."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import pats_opt
from pats_opt.errors import InfeasibleError, InputError
from pats_opt.importers.bin_packing import (
    BinPacking,
    bin_packing_instance,
    import_bin_packing,
    read_bin_packing,
)
from tests.support.classics import fewest_bins

BPPLIB = "6\n10\n6\n5\n5\n4\n3\n3\n"
OR_LIBRARY = " 2\n t3_00\n 100.0 3 2\n49.5\n50.5\n60\n t2_01\n 10 2 1\n4\n6\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.txt"


def test_bpplib_layout(file: Path) -> None:
    file.write_text(BPPLIB)
    assert read_bin_packing(file) == [BinPacking("mine", 10, (6, 5, 5, 4, 3, 3))]


def test_or_library_layout(file: Path) -> None:
    """Several problems, with decimals and the best known number of bins."""
    file.write_text(OR_LIBRARY)
    assert read_bin_packing(file) == [
        BinPacking("t3_00", 100.0, (49.5, 50.5, 60), 2),
        BinPacking("t2_01", 10, (4, 6), 1),
    ]
    instance = import_bin_packing(file, problem="t3_00")
    assert instance.name == "t3_00"
    assert isinstance(instance.extra, dict)
    assert instance.extra["source"]["best_known"] == 2


@pytest.mark.parametrize("problem", [None, "t9"])
def test_the_problem_must_be_named(file: Path, problem: str | None) -> None:
    file.write_text(OR_LIBRARY)
    with pytest.raises(InputError, match=r"mine\.txt: .*--problem: t3_00, t2_01$"):
        import_bin_packing(file, problem=problem)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mine.txt: the file is empty; name a file with an instance"),
        ("3\n10\n5\n6\n", "line 4: the file ends where size that fits capacity 10 should be"),
        ("2\n10\n5\n11\n", "line 4: '11' is no size that fits capacity 10"),
        ("2\n10\n5\n-1\n", "line 4: '-1' is no size"),
        ("2\n10\n5\nnan\n", "line 4: 'nan' is no size"),
        ("2\n10\n5\nx\n", "line 4: 'x' is no size"),
        ("2\n1e10\n5\n5\n", "line 2: '1e10' is no capacity; write a number from 0 to 1e+09"),
        ("2\n10\n5\n6\n7\n", "line 5: 1 words follow 2 sizes, the first one is '7'"),
        ("2.5\n10\n5\n6\n", "line 1: '2.5' is no number of items, or of problems"),
        ("200000\n10\n5\n", "200000 items are more than 100000"),
        (" 1\n u\n 10 two 1\n5\n6", "line 3: 'two' is no number of items"),
        ("\x00\x01", "line 1: '\\x00\\x01' is no number of items"),
    ],
)
def test_bad_files_are_one_line(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(InputError) as error:
        import_bin_packing(file)
    told = str(error.value)
    assert told.startswith(str(file))
    assert message in told
    assert "\n" not in told


def test_first_fit_decreasing_is_an_upper_bound() -> None:
    rng = random.Random(3)
    for _ in range(30):
        sizes = [rng.randint(1, 10) for _ in range(rng.randint(1, 8))]
        bins = BinPacking("x", 10, tuple(sizes)).first_fit_decreasing()
        assert fewest_bins(sizes, 10) <= bins <= len(sizes)


@pytest.mark.parametrize("solver", ["cpsat", "cpsat:formulation=positions", "dp"])
def test_the_loss_is_the_number_of_bins(solver: str) -> None:
    """Each blank rejected is a bin used; the optimum is the fewest bins."""
    rng = random.Random(5)
    for _ in range(8):
        sizes = [rng.randint(1, 12) for _ in range(rng.randint(1, 7))]
        instance = bin_packing_instance(BinPacking("x", 12, tuple(map(float, sizes))))
        result = pats_opt.solve(instance, solver, time_limit=60)
        fewest = fewest_bins(sizes, 12)
        assert result.loss == fewest
        assert result.bound == pytest.approx(fewest)


@pytest.mark.parametrize("solver", ["cpsat", "cpsat:formulation=positions", "dp"])
def test_all_are_served_exactly_if_the_bins_do(solver: str) -> None:
    rng = random.Random(7)
    for _ in range(8):
        sizes = [rng.randint(2, 10) for _ in range(rng.randint(2, 7))]
        packing = BinPacking("x", 10, tuple(map(float, sizes)))
        bins = fewest_bins(sizes, 10)
        done = pats_opt.solve(bin_packing_instance(packing, bins=bins), solver, time_limit=60)
        assert (done.loss, done.status.stop) == (0.0, "optimal")
        if bins > 1:
            with pytest.raises(InfeasibleError):
                pats_opt.solve(bin_packing_instance(packing, bins=bins - 1), solver, time_limit=60)
