"""Quality models: the formula's meaning, and tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from pats_opt.errors import InputError
from pats_opt.generate.quality import Quality, read_table


def table(tmp_path: Path, text: str) -> str:
    path = tmp_path / "quality.csv"
    path.write_text(text)
    return str(path)


def test_simple_prompts_converge_at_20_steps_and_complex_ones_at_50() -> None:
    model = Quality().model()
    assert model(20, 0.0) == pytest.approx(0.97)
    assert model(50, 1.0) == pytest.approx(0.97)
    assert model(20, 1.0) < 0.8


def test_formula_rises_with_steps_and_falls_with_complexity() -> None:
    model = Quality().model()
    grid = [[model(steps, c / 10) for c in range(11)] for steps in range(5, 100, 5)]
    assert grid == sorted(grid)
    assert [list(column) for column in zip(*grid, strict=True)] == [
        sorted(column) for column in zip(*grid, strict=True)
    ]
    assert all(row == sorted(row, reverse=True) for row in grid)


def test_documents_table_as_it_is_written(tmp_path: Path) -> None:
    """Its columns, labels and distances; columns that are of no use are passed over."""
    path = table(
        tmp_path,
        "prompt_type,prompt_text,steps,lpips,gen_time_sec,image_path\n"
        'Simple,"a red apple, flat",60,0.0,3.6,a.png\n'
        "Simple,x,20,0.1,1.2,a.png\n"
        "Complex,x,60,0.0,3.6,a.png\n"
        "Complex,x,20,0.4,1.2,a.png\n",
    )
    model = Quality(table=path).model()
    assert model(20, 0.0) == pytest.approx(0.9)
    assert model(20, 1.0) == pytest.approx(0.6)
    assert model(40, 1.0) == pytest.approx(0.8)  # between the steps
    assert model(20, 0.5) == pytest.approx(0.75)  # between the complexities
    assert [model(5, 0.0), model(90, 0.0)] == pytest.approx([0.9, 1.0])  # beyond the ends


def test_rows_of_one_point_are_averaged(tmp_path: Path) -> None:
    path = table(tmp_path, "steps,complexity,quality\n20,0.5,0.6\n20,0.5,0.8\n")
    assert read_table(path)(20, 0.1) == pytest.approx(0.7)


def test_monotone_raises_to_the_best_of_fewer_steps(tmp_path: Path) -> None:
    """LPIPS was not monotone in steps in the documents' data; the table is kept unless asked."""
    path = table(tmp_path, "steps,quality\n20,0.9\n30,0.8\n60,1\n")
    assert Quality(table=path).model()(30, 0.3) == pytest.approx(0.8)
    assert Quality(table=path, monotone=True).model()(30, 0.3) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps,psnr\n20,1\n", "needs the columns 'steps' and 'quality'"),
        ("", "needs the columns"),
        ("steps,quality\n", "has no rows"),
        ("steps,quality\n20,0.5\n30,high\n", "line 3"),
        ("steps,quality\n0,0.5\n", "line 2"),
        ("steps,quality\n1e308,0.5\n", "line 2"),
        ("steps,lpips\n20,1.5\n", "line 2"),
        ("steps,quality,complexity\n20,0.5,hard\n", "line 2"),
        ("steps,quality\n20\n", "line 2"),
        ("steps,quality\r20,0.5\r30,high\r", "line 3"),
        (f"steps,quality\n20,{'1' * 200_000}\n", "line 2: this is no table"),
    ],
)
def test_wrong_table_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_table(table(tmp_path, text))
