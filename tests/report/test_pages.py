"""The pages: fixed runs give fixed Markdown; nothing is fetched; text from files stays text."""

from __future__ import annotations

import csv
import io
from html.parser import HTMLParser
from pathlib import Path

import pytest
from msgspec.structs import replace

from pats_opt.model.schedule import StopReason
from pats_opt.report import pages
from pats_opt.report.config import ReportConfig
from pats_opt.report.figures import figures
from pats_opt.report.figures.solver_style import legend_above
from pats_opt.runs.record import Record, RunOutcome
from pats_opt.spreadsheet import original
from pats_opt.tables import BY_DEADLINE, BY_GROUP, BY_LOADER, BY_LOOK_UP
from pats_opt.views import style
from tests.report.examples import METRICS, instance, record, solver, table_of

GOLDEN = Path(__file__).with_name("golden.md")
CONFIG = ReportConfig(title="Fixed runs", time_limit=10.0)
EVIL = '"><script>alert(1)</script>|`*x*`\n<!-- http://example.org -->&amp;$\\x$_'


def fixed() -> list[Record]:
    """Three instances in two classes, with every kind of end."""
    milp, pats, fifo = solver("milp", "exact"), solver("pats", "online"), solver("fifo", "online")
    a, b, c = instance("a"), instance("b"), instance("c", group="large")
    return [
        record(a, milp, 4.0, 4.0, StopReason.OPTIMAL, trace=[(1, None, 8), (2, 2, 5), (4, 4, 4)]),
        record(a, pats, 5.0, latencies=[(0.0, 2.0), (0.5, 4.0), (1.0, 9.6)]),
        record(a, fifo, 8.0, latencies=[(0.0, 4.0), (0.5, 8.0), (1.0, 12.0)]),
        record(b, milp, 5.0, 4.0, StopReason.TIME_LIMIT, trace=[(5, 4, 5)]),
        record(b, pats, 6.0, latencies=[(0.0, 1.0), (1.0, 3.0)]),
        record(b, fifo, end=RunOutcome.CRASHED, error="its process was ended by SIGKILL"),
        record(c, milp, end=RunOutcome.NOT_APPLICABLE, error="cannot handle slot service"),
        record(c, pats, end=RunOutcome.TIMED_OUT, error="still busy"),
        record(c, fifo, 7.0, latencies=[(0.0, 1.0), (1.0, 3.0)]),
    ]


def evil() -> list[Record]:
    """Runs whose every text from a file is made to break a page."""
    case = instance(EVIL, group=EVIL)
    return [
        record(case, solver(EVIL, "exact"), 4.0, 4.0, StopReason.OPTIMAL),
        record(case, solver("pats", "online"), 5.0),
        record(case, solver("fifo", "online"), end=RunOutcome.FAILED, error=EVIL),
    ]


class Page(HTMLParser):
    """Content of a page: its tags with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the tag."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.text += data


def test_markdown_of_fixed_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The golden file is what was written when it was last looked at and found right."""
    monkeypatch.setattr(pages, "__version__", "1.0")
    pages.write_pages(table_of(fixed()), CONFIG, tmp_path)
    assert (tmp_path / "report.md").read_text() == GOLDEN.read_text()


def test_ticks_that_distort_are_named_by_class(tmp_path: Path) -> None:
    """The first instance of a class speaks for it; text from files stays text."""
    pats = solver("pats", "online")
    cases = [(EVIL, EVIL, f"tick {EVIL}"), ("b", "x", None), ("c", "x", "line 1"), ("d", "x", "2")]
    records = [
        record(replace(instance(name, group=group), ticks=ticks), pats, 5.0)
        for name, group, ticks in cases
    ]
    pages.write_pages(table_of(records), CONFIG, tmp_path)
    text = (tmp_path / "report.md").read_text()
    heading, *lines = text.partition("What ticks distort")[2].split("\n\n")[:2]
    assert heading == ", in the first instance of each class:"
    assert lines[0].splitlines()[1] == "- x: line 1"
    assert "<script" not in lines[0].replace("\\<", "")
    page = Page((tmp_path / "report.html").read_text())
    assert "-->&amp;$\\x$_; x: line 1." in page.text


@pytest.mark.parametrize("records", [fixed(), evil(), []], ids=["fixed", "evil", "none"])
def test_html_fetches_nothing(tmp_path: Path, records: list[Record]) -> None:
    """No address in any attribute or style but of places in the page itself; own scripts only."""
    pages.write_pages(table_of(records), CONFIG, tmp_path)
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert not {"link", "img", "iframe", "object", "embed"} & {t for t, _ in page.tags}
    scripts = [a for t, a in page.tags if t == "script"]
    assert scripts == (
        [{}, {"type": "application/json", "id": "datatables"}, {"type": "module"}]
        if records
        else []
    )
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for value in filter(None, attributes.values()):
            assert "://" not in value
        assert (attributes.get("href") or "#").startswith("#")
    assert "@import" not in text
    assert "url(http" not in text


def test_ids_in_the_page_are_unique(tmp_path: Path) -> None:
    """Several pictures stand in one page without sharing what they refer to."""
    pages.write_pages(table_of(fixed()), CONFIG, tmp_path)
    page = Page((tmp_path / "report.html").read_text())
    found = [a["id"] for _, a in page.tags if "id" in a]
    assert len(found) == len(set(found)) > 0
    used = [
        v.split("url(#")[1].split(")")[0]
        for _, a in page.tags
        for v in a.values()
        if v and "url(#" in v
    ]
    assert set(used) <= set(found)


def test_html_shows_text_from_files_as_text(tmp_path: Path) -> None:
    pages.write_pages(table_of(evil()), CONFIG, tmp_path)
    page = Page((tmp_path / "report.html").read_text())
    assert '"><script>alert(1)</script>|`*x*`\\n<!-- http://example.org -->&amp;' in page.text


def test_markdown_tables_keep_their_columns(tmp_path: Path) -> None:
    """Pipes, backticks and line breaks in names neither end a cell nor a row."""
    pages.write_pages(table_of(evil()), CONFIG, tmp_path)
    lines = (tmp_path / "report.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    tables, columns = 0, 0
    for row in rows:
        count = row.replace("\\\\", "").replace("\\|", "").count("|")
        if row.startswith(("| class", "| instance", "| policy", "| solver")):
            tables, columns = tables + 1, count
        assert count == columns
    assert tables == 7
    assert not any("<script" in line.replace("\\<", "") for line in lines)


def test_csv_has_a_line_a_run(tmp_path: Path) -> None:
    pages.write_pages(table_of(fixed()), CONFIG, tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "runs.csv").read_text())))
    assert [(row["instance"], row["solver"], row["end"]) for row in rows] == [
        (r.config.instance.name, r.config.solver.spec, str(r.end)) for r in fixed()
    ]
    first, second, crashed = rows[0], rows[1], rows[5]
    assert (first["loss"], first["gap"], first["point"]) == ("4.0", "0.0", "optimal")
    assert (float(second["gap"]), second["against"]) == (0.2, "optimum")
    assert (second["latency_p95_s"], second["loss_switching"]) == ("8.0", "2.5")
    assert (second["wait_p99_s"], second["jain"], second["worst_adapter"]) == (
        "7.0",
        "0.96",
        "pixel-art",
    )
    assert (second["decisions"], second["decision_mean_s"]) == ("8", "0.0005")
    assert (first["decisions"], first["decision_p99_s"]) == ("", "")
    assert (crashed["loss"], crashed["gap"]) == ("", "1.0")
    assert crashed["error"].endswith("SIGKILL")


@pytest.mark.parametrize(
    ("values", "heading"),
    [
        ({"groups_served": 3, "group_latency_mean_s": 11.25}, "group latency mean s"),
        ({"loader_busy_share": 0.5, "load_wait_s": 2.5}, "wait for loads s"),
        ({"violation_share": 0.25, "goodput_per_s": 1.5}, "goodput/s"),
        ({"look_up_hit_share": 0.5, "redirected_share": 0.25}, "redirected"),
    ],
)
def test_metrics_of_some_instances_have_columns_there_only(
    tmp_path: Path, values: dict[str, float], heading: str
) -> None:
    """Of the means, of the runs and of ``runs.csv``, which is the same without them."""
    special = replace(METRICS, **values)
    pats = solver("pats", "online")
    for folder, metrics in ((tmp_path / "a", METRICS), (tmp_path / "b", special)):
        folder.mkdir()
        pages.write_pages(
            table_of([record(instance("a"), pats, 4.0, metrics=metrics)]), CONFIG, folder
        )
        texts = [(folder / f"report.{kind}").read_text() for kind in ("md", "html")]
        assert [text.count(heading) for text in texts] == [2 * (metrics is special)] * 2
        (row,) = csv.DictReader(io.StringIO((folder / "runs.csv").read_text()))
        known = {name: str(value) for name, value in values.items() if metrics is special}
        names = (*BY_GROUP, *BY_LOADER, *BY_DEADLINE, *BY_LOOK_UP)
        assert {name: row[name] for name in names if row[name]} == known


def test_deadlines_levels_and_binding_are_pictures_and_tables(tmp_path: Path) -> None:
    """With the same figures in both pages; none of it where nothing has them."""
    central = solver("pats", "online", dispatch="central")
    early = solver("pats:dispatch=hash", "online", dispatch="hash")
    within, levels = [(0.0, 0.25), (0.6, 1.0), (0.9, 3.0)], [(0, 3), (25, 6)]
    runs = [
        record(instance("a"), by, loss, attainment=within, levels=levels)
        for by, loss in ((central, 4.0), (early, 5.0))
    ]
    table = table_of(runs)
    drawn = figures(table)
    assert {"attainment", "levels"} <= set(drawn)
    assert (
        'aria-label="Share of requests by steps skipped, one bar per solver"' in drawn["levels"].svg
    )
    for text in ("25 skipped", "not served"):
        assert text in drawn["levels"].svg
    assert "latency / deadline" in drawn["attainment"].svg
    pages.write_pages(table, CONFIG, tmp_path)
    markdown = (tmp_path / "report.md").read_text()
    assert "| pats | 0 % | 60 % | 60 % | 90 % |" in markdown
    assert "| pats | 30 % | 60 % | 10 % |" in markdown
    assert "| pats:dispatch=hash | pats | 1 | 1.25 | 1 |" in markdown
    assert "| pats:dispatch=hash | 20 % | 1.25 | 4.25 |" in markdown  # at a glance
    page = (tmp_path / "report.html").read_text()
    for name in ("attainment", "levels", "binding"):
        assert f'id="{name}"' in page
    assert ">binding early</th>" in page
    (_, row) = csv.DictReader(io.StringIO((tmp_path / "runs.csv").read_text()))
    assert row["loss_over_central"] == "1.25"
    pages.write_pages(table_of(fixed()), CONFIG, tmp_path)
    for name in ("report.md", "report.html"):
        plain = (tmp_path / name).read_text()
        assert not any(word in plain for word in ("not served", "within 0.5", "binding early"))


def test_csv_keeps_names_as_they_are(tmp_path: Path) -> None:
    """Data files hold data: quoted, not escaped."""
    pages.write_pages(table_of(evil()), CONFIG, tmp_path)
    with (tmp_path / "runs.csv").open(newline="") as file:
        assert {row["instance"] for row in csv.DictReader(file)} == {EVIL}


def test_csv_has_no_formulas(tmp_path: Path) -> None:
    """A name that a spreadsheet would compute is marked in the CSV file, and plain on the pages."""
    formula = "=HYPERLINK(A1)"
    case = instance(formula, group="@x")
    runs = [record(case, solver("-x", "online"), end=RunOutcome.FAILED, error="failed")]
    pages.write_pages(table_of(runs), CONFIG, tmp_path)
    (row,) = csv.DictReader(io.StringIO((tmp_path / "runs.csv").read_text()))
    assert [row[key] for key in ("instance", "class", "solver")] == [f"'{formula}", "'@x", "'-x"]
    assert original(row["instance"]) == formula
    assert f">{formula}<" in (tmp_path / "report.html").read_text()


def test_a_report_of_nothing_but_failures(tmp_path: Path) -> None:
    runs = [record(instance("a"), solver("pats", "online"), end=RunOutcome.FAILED, error="broken")]
    (told, *_) = pages.write_pages(table_of(runs), CONFIG, tmp_path)
    assert told.startswith("Online pats has no schedule.")
    assert "broken" in (tmp_path / "report.html").read_text()


def test_equal_failures_are_listed_once(tmp_path: Path) -> None:
    """By solver and message, with the first instances by name; Markdown has one line per run."""
    cases = [instance(name) for name in "abcde"]
    runs = [
        record(c, solver("dp", "exact"), end=RunOutcome.NOT_APPLICABLE, error="lacks")
        for c in cases
    ]
    runs.append(record(cases[0], solver("pats", "online"), end=RunOutcome.FAILED, error="lacks"))
    table = table_of(runs)
    assert [row["labels"] for row in pages.failures_alike(table)] == [list("abcde"), ["a"]]
    pages.write_pages(table, CONFIG, tmp_path)
    page = Page((tmp_path / "report.html").read_text())
    assert "dp on a, b, c and 2 more: not applicable: lacks" in page.text
    assert (tmp_path / "report.md").read_text().count("- dp on ") == 5


def test_pictures_of_what_the_runs_tell() -> None:
    """Every picture there are numbers for, none else; what is rough or left out is said."""
    drawn = figures(table_of(fixed()))
    assert list(drawn) == ["intervals", "profile", "anytime", "latency", "instances", "terms"]
    assert "fewer than 8 instances" in drawn["intervals"].caption
    assert "the gap to the best known over the 2 instances" in drawn["anytime"].caption
    assert "up to the time limit of 10 s" in drawn["anytime"].caption
    assert figures(table_of([])) == {}


def test_legends_take_the_columns_that_fit() -> None:
    """Short names stand in one row; long ones in as many columns as the figure is wide for."""
    for spec, columns in (("fifo", 6), ("milp:backend=highs,formulation=shapes", 2)):
        drawn = style.figure(6.6, 3.0)
        ax = drawn.add_subplot()
        lines = [ax.plot([0, 1], [0, k])[0] for k in range(6)]
        made = legend_above(drawn, lines, [spec] * 6)
        drawn.draw_without_rendering()
        assert len({round(text.get_window_extent().x0) for text in made.get_texts()}) == columns
        assert made.get_window_extent().x1 <= drawn.bbox.x1


def test_solvers_at_a_glance(tmp_path: Path) -> None:
    """Without a bound gaps are to the best loss known, and the page says so."""
    runs = [
        record(instance("a"), solver("fifo", "online"), loss=3.0),
        record(instance("a"), solver("pats", "online"), loss=2.0),
    ]
    told = pages.write_pages(table_of(runs), CONFIG, tmp_path)
    assert told[0].startswith("No run gave a bound")
    assert "Online fifo has a gap of 33 % to the best known over 1 instance." in told
    lines = (tmp_path / "report.md").read_text().partition("## At a glance")[2].splitlines()
    assert lines[2].startswith("| solver | gap to the best known | latency mean s |")
    assert [line.split("|")[1:3] for line in lines[4:6]] == [
        [" pats ", " 0 % "],
        [" fifo ", " 33 % "],
    ]
    assert 'id="glance"' in (tmp_path / "report.html").read_text()
    bounded = [*runs, record(instance("a"), solver("cpsat", "exact"), loss=2.0, bound=1.0)]
    told = pages.write_pages(table_of(bounded), CONFIG, tmp_path)
    assert not any("No run gave a bound" in line for line in told)
    assert "| solver | gap to the bound |" in (tmp_path / "report.md").read_text()
