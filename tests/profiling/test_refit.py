"""Refitting the quality model: known parameters are found again, and bad data is told."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pats_opt.cli import run
from pats_opt.errors import InputError
from pats_opt.generate import generate
from pats_opt.generate.config import as_table, read_toml
from pats_opt.generate.quality import Quality, QualityTable
from pats_opt.generate.recipe import Recipe
from pats_opt.profiling.refit import QualityFit, as_recipe, fit, refit

COUNTS = (5, 10, 20, 30, 40, 50)


def table(model: Quality, levels: tuple[float, ...] = (0.0, 0.5, 1.0)) -> QualityTable:
    """Figures of the model, and the full step count compared with itself."""
    return QualityTable(
        curves=tuple(
            (level, (*((n, model(n, level)) for n in COUNTS), (60, 1.0))) for level in levels
        )
    )


@settings(max_examples=40)
@given(simple=st.floats(2, 200), complex_=st.floats(2, 200), converged=st.sampled_from([0.9, 0.97]))
def test_known_parameters_are_found(simple: float, complex_: float, converged: float) -> None:
    model = Quality(simple_steps=simple, complex_steps=complex_, converged=converged)
    found = fit(table(model), converged)
    assert found.rms < 1e-4
    assert found.points == 3 * len(COUNTS)  # the full step count is left out
    for level in (0.0, 0.3, 1.0):
        assert found.quality(15, level) == pytest.approx(model(15, level), abs=1e-3)


@pytest.mark.parametrize("converged", [0.5, 0.9, 0.99])
def test_what_is_called_converged_does_not_change_the_curve(converged: float) -> None:
    """Only the ratio of log(1 - converged) to the steps can be learned from data."""
    found = fit(table(Quality(simple_steps=20, complex_steps=50, converged=0.97)), converged)
    assert found.quality.converged == converged
    ratio = math.log1p(-converged) / math.log1p(-0.97)
    assert found.quality.simple_steps == pytest.approx(20 * ratio, rel=1e-2)
    assert found.quality.complex_steps == pytest.approx(50 * ratio, rel=1e-2)


def test_no_other_parameters_fit_better() -> None:
    """Noisy data: no point of a finer grid around the fit leaves less."""
    noisy = QualityTable(
        curves=tuple(
            (
                level,
                tuple(
                    (n, max(0.0, min(1.0, q + 0.05 * math.sin(7 * n + 3 * level))))
                    for n, q in points
                ),
            )
            for level, points in table(Quality(simple_steps=12, complex_steps=70)).curves
        )
    )
    found = fit(noisy)

    def error(simple: float, complex_: float) -> float:
        model = Quality(simple_steps=simple, complex_steps=complex_)
        points = [(level, n, q) for level, curve in noisy.curves for n, q in curve]
        return sum((q - model(n, level)) ** 2 for level, n, q in points)

    simple, complex_ = found.quality.simple_steps, found.quality.complex_steps
    least = error(simple, complex_)
    for a in (0.9, 0.99, 1.0, 1.01, 1.1):
        for b in (0.9, 0.99, 1.0, 1.01, 1.1):
            assert error(simple * a, complex_ * b) >= least * (1 - 1e-4)
    assert found.falls


def test_one_complexity_gives_both_ends_the_same() -> None:
    found = fit(table(Quality(simple_steps=30, complex_steps=30), levels=(0.4,)))
    assert found.one_level
    assert found.quality.simple_steps == found.quality.complex_steps == pytest.approx(30, rel=1e-3)


def test_falls_are_against_the_best_of_fewer_steps() -> None:
    points = ((5, 0.5), (10, 0.8), (20, 0.7), (30, 0.75), (40, 0.9))
    found = fit(QualityTable(curves=((1.0, points),)))
    assert [(fall.steps, fall.fewer) for fall in found.falls] == [(20, 10), (30, 10)]
    assert found.falls[0].by == pytest.approx(0.1)


def test_too_few_step_counts_are_refused() -> None:
    with pytest.raises(InputError, match="too few step counts"):
        fit(QualityTable(curves=((1.0, ((20, 0.7), (60, 1.0))),)))


@pytest.fixture
def documents_table(tmp_path: Path) -> Path:
    """In the columns of the document, not monotone."""
    path = tmp_path / "sdxl_step_quality_lpips.csv"
    path.write_text(
        "prompt_type,prompt_text,steps,lpips,gen_time_sec,image_path\n"
        "Simple,x,10,0.30,0.6,a.png\nSimple,x,20,0.05,1.2,a.png\nSimple,x,40,0.08,2.4,a.png\n"
        "Simple,x,60,0.0,3.6,a.png\nComplex,y,10,0.60,0.6,a.png\nComplex,y,20,0.40,1.2,a.png\n"
        "Complex,y,40,0.12,2.4,a.png\nComplex,y,60,0.0,3.6,a.png\n"
    )
    return path


def test_command_writes_a_recipe_that_generate_takes(
    documents_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "quality.toml"
    assert run(["profile", "--refit", str(documents_table), "-o", str(out)]) == 0
    told = capsys.readouterr().out
    assert "monotone    no: quality falls 1 times" in told
    assert "from 20 to 40 steps at complexity 0" in told
    found = as_table(read_toml(out), Recipe).quality
    assert found == refit(str(documents_table)).quality
    assert found.simple_steps < found.complex_steps
    instance = tmp_path / "i.json"
    assert run(["generate", "--config", str(out), "-o", str(instance)]) == 0
    assert generate(Recipe(quality=found)).requests[0].options[0].quality < 1


def test_command_prints_the_fit_as_json(
    documents_table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    assert run(["profile", "--refit", str(documents_table), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    found = refit(str(documents_table))
    assert document["rms"] == pytest.approx(found.rms)
    assert document["quality"]["simple_steps"] == found.quality.simple_steps
    assert len(document["residuals"]) == document["points"] == 6


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    assert run(["profile", "--refit", str(tmp_path / "t.csv")]) == 2


def test_fit_as_a_recipe_reads_back() -> None:
    found: QualityFit = fit(table(Quality(simple_steps=17.3, complex_steps=44.1)))
    assert "[quality]" in as_recipe(found)
