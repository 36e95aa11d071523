"""Notebook representations of results, verdicts, instances and reports."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from IPython.core.formatters import DisplayFormatter

import pats_opt
from pats_opt.errors import InputError
from pats_opt.model.files import parse_instance
from pats_opt.model.instance import Instance
from pats_opt.report.config import ReportConfig
from pats_opt.report.gap import gap_report, prepare
from pats_opt.views import notebook
from tests.support.markup import Html
from tests.support.zoo import adapter, document, gpu, request

MARKUP = '<script>alert("x")</script>&amp;'


@pytest.fixture(scope="module")
def instance() -> Instance:
    """Three requests whose ids, adapters and name are markup."""
    made = document(
        *(request(f"{MARKUP}{n}", adapter=f"{MARKUP}a", arrival_s=float(n)) for n in range(3)),
        gpus=[gpu(resident=(), batch=2)],
        adapters=[adapter(f"{MARKUP}a", load_s=1.0)],
        latency_price_per_s=0.01,
        name=MARKUP,
    )
    return parse_instance(json.dumps(made))


@pytest.fixture(scope="module")
def result(instance: Instance) -> pats_opt.Result:
    return pats_opt.solve(instance, "dp")


def displayed(thing: object) -> dict[str, Any]:
    """The output of IPython for the last expression of a cell."""
    formatter: Any = DisplayFormatter()
    data: dict[str, Any] = formatter.format(thing)[0]
    return data


def test_a_result_draws_itself(result: pats_opt.Result) -> None:
    """Well-formed HTML with the figures and the schedule as SVG; the text is one short line."""
    shown = displayed(result)
    page = Html(shown["text/html"])
    assert {"svg", "table", "dl"} <= page.tags.keys()
    assert f"{result.loss:.6g}" in page.text
    assert "optimal" in page.text
    svg = re.search(r"<svg .*</svg>", shown["text/html"], re.DOTALL)
    assert svg is not None
    assert ElementTree.fromstring(svg[0]).tag == "svg"  # noqa: S314 (written just now)
    plain = shown["text/plain"]
    assert plain.startswith("Result(solver='dp', status='optimal', loss=")
    assert "\n" not in plain
    assert len(plain) < 120


def test_markup_in_a_file_is_text(result: pats_opt.Result, instance: Instance) -> None:
    """Ids and names from a file show as they are, and make no element."""
    verdict = pats_opt.check(instance, result.schedule)
    for thing in (result, verdict, instance):
        html = displayed(thing)["text/html"]
        page = Html(html)
        assert "script" not in page.tags
        assert "<script" not in html
        assert MARKUP in page.text


def test_two_pieces_share_no_id(result: pats_opt.Result) -> None:
    """One result shown twice: no id is there twice, and a reference finds its own piece's."""
    html = [displayed(result)["text/html"] for _ in range(2)]
    first, second = (Html(piece).ids for piece in html)
    assert len({*first, *second}) == len(first) + len(second)
    for piece, own in zip(html, (first, second), strict=True):
        used = {a or b for a, b in re.findall(r"""url\(#([^)]+)\)|href="#([^"]+)\"""", piece)}
        assert used
        assert used <= set(own)


def test_a_verdict_lists_violations(result: pats_opt.Result, instance: Instance) -> None:
    """Valid, or each violation; the schedule is drawn as far as it can be read."""
    good = displayed(pats_opt.check(instance, result.schedule))
    assert "valid" in Html(good["text/html"]).text
    assert good["text/plain"] == f"Verdict(valid, loss={result.loss:.6g})"
    wrong = msgspec.structs.replace(result.schedule, gpus=())
    verdict = pats_opt.check(instance, wrong)
    shown = displayed(verdict)
    assert "neither served nor rejected" in Html(shown["text/html"]).text
    assert "not valid" in shown["text/plain"]
    assert "rule 1" in shown["text/plain"]


def test_a_result_without_a_schedule(result: pats_opt.Result) -> None:
    """It has a line and a piece of HTML, and says that there is nothing to draw."""
    none = msgspec.structs.replace(result, loss=None, terms=None, metrics=None, replayed=())
    assert "svg" not in Html(displayed(none)["text/html"]).tags
    with pytest.raises(InputError, match="no schedule"):
        none.plot()


def test_a_budget_shows_its_curve(instance: Instance) -> None:
    found = pats_opt.solve_within(instance, 100.0, "dp")
    page = Html(displayed(found)["text/html"])
    assert "budget of 100 s (kept)" in page.text
    assert "lambda" in page.text
    assert repr(found).startswith("BudgetResult(")


def test_an_instance_is_a_line_and_a_table(instance: Instance) -> None:
    shown = displayed(instance)
    assert "3 requests, 1 adapter, 1 GPU" in shown["text/plain"]
    assert "requests" in Html(shown["text/html"]).text


def test_a_report_shows_its_sentences(instance: Instance, tmp_path: Path) -> None:
    """The sentences, and a row for each solver."""
    path = tmp_path / "instance.json"
    pats_opt.write_instance(instance, path)
    config = ReportConfig(instances=(str(path),), solvers=("fifo", "dp"))
    folder = tmp_path / "report"
    report = gap_report(config, folder, prepare(config, folder))
    page = Html(displayed(report)["text/html"])
    assert all(sentence in page.text for sentence in report.sentences)
    assert "report.html" in page.text
    assert {"table", "ul"} <= page.tags.keys()


def test_many_requests_are_an_image(
    result: pats_opt.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond a size the picture is PNG, and beyond another there is none but a hint."""
    monkeypatch.setattr(notebook, "MOST_VECTOR", 2)
    page = Html(displayed(result)["text/html"])
    assert "img" in page.tags
    assert "svg" not in page.tags
    monkeypatch.setattr(notebook, "MOST_DRAWN", 2)
    page = Html(displayed(result)["text/html"])
    assert not {"img", "svg"} & page.tags.keys()
    assert "result.show" in page.text


def test_plot_takes_axes(result: pats_opt.Result, instance: Instance) -> None:
    """It draws on the axes it is given and returns them; without any it makes some."""
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    given = Figure().subplots()
    assert result.plot(given) is given
    assert given.collections
    assert given.get_xlabel() == "seconds"
    own = pats_opt.check(instance, result.schedule).plot()
    assert own.collections
    pyplot.close("all")


def test_axes_that_share_time_show_all_of_it(result: pats_opt.Result) -> None:
    """A short schedule drawn beside a long one does not cut it off."""
    from matplotlib.figure import Figure

    above, below = Figure().subplots(2, 1, sharex=True)
    above.set_xlim(0, 100)
    result.plot(below)
    assert above.get_xlim() == (0, 100)


def test_show_writes_a_page(result: pats_opt.Result, tmp_path: Path) -> None:
    result.show(tmp_path / "schedule.html")
    assert "<html" in (tmp_path / "schedule.html").read_text()


def test_the_summary_has_no_problem(result: pats_opt.Result) -> None:
    """The output of ``--json`` has neither the schedule nor the data of pictures."""
    found = result.summary()
    assert not {"problem", "replayed", "schedule"} & set(found)
    assert msgspec.json.encode(found)


def test_a_result_survives_pickling(result: pats_opt.Result) -> None:
    """Worker processes may send results; a picture can be drawn of one that was sent."""
    again = pickle.loads(pickle.dumps(result))  # noqa: S301 (our own)
    assert again.summary() == result.summary()
    assert "svg" in Html(displayed(again)["text/html"]).tags


def test_nothing_is_imported_before_it_is_drawn() -> None:
    """Solving and printing a result import neither matplotlib nor jinja2."""
    code = """
import sys
import pats_opt
assert "pats_opt.solving.solve" not in sys.modules
result_type, verdict_type = pats_opt.Result, pats_opt.Verdict
import pats_opt.views.notebook
for name in ("matplotlib", "jinja2", "rich", "IPython"):
    assert name not in sys.modules, name
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
