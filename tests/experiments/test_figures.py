"""The figures in the README and on the results page are those of the generated reports."""

from __future__ import annotations

import csv
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
RESULTS = " ".join((ROOT / "docs" / "results.md").read_text(encoding="utf-8").split())


def rows(experiment: str) -> list[dict[str, str]]:
    path = ROOT / "experiments" / experiment / "result" / "runs.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("experiment", ["generated", "trace"])
def test_gaps_and_proofs(experiment: str) -> None:
    """Instances, proven optima and the policies' medians, word for word from the report."""
    report = ROOT / "experiments" / experiment / "result" / "report.md"
    text = report.read_text(encoding="utf-8")
    pats = re.search(r"Online pats has a gap of (.+? % \(median; .+?\)) to the optimum", text)
    fifo = re.search(r"Online fifo has a gap of (.+? %) \(median", text)
    ours = re.search(r"Online price-index has a gap of (.+? % \(median; .+?\)) to the", text)
    proved = re.search(r"auto proved its schedule optimal on (\d+) of (\d+) instances", text)
    assert pats is not None
    assert fifo is not None
    assert ours is not None
    assert proved is not None
    assert f"`price-index`, our own policy, has a gap of {ours[1]}." in README or (
        f"`price-index` has a gap of {ours[1]}." in README
    )
    assert f"`pats` has a gap of {pats[1]}, `fifo` of {fifo[1]}." in README
    assert f"{proved[2]} instances" in README
    assert f"proven on {proved[1]}." in README


def test_pats_beats_fifo_everywhere() -> None:
    """PATS beats FIFO on "every one of the 87 instances"."""
    losses: dict[str, dict[str, float]] = {}
    for row in rows("generated") + rows("trace"):
        losses.setdefault(row["instance"], {})[row["solver"]] = float(row["loss"])
    assert all(mine["pats"] < mine["fifo"] for mine in losses.values())
    assert f"every one of the {len(losses)} instances" in RESULTS


def test_the_answers_rest_on_so_many_runs() -> None:
    folders = {path.parents[1].name for path in (ROOT / "experiments").glob("*/result/runs.csv")}
    apart = {"h100", "prompt_aware"}  # which they do not speak of
    count = sum(len(rows(name)) for name in folders - apart)
    assert f"some {count // 100 * 100:,} runs" in RESULTS


def test_the_claims_page_is_what_the_results_give(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing the page again changes nothing, and the results page quotes its steps per switch."""
    written: list[bytes] = []
    script = runpy.run_path(str(ROOT / "experiments" / "claims.py"))
    main = script["main"]
    monkeypatch.setitem(main.__globals__, "write_bytes", lambda _, data: written.append(data))
    main()
    page = (ROOT / "experiments" / "claims.md").read_bytes()
    assert written == [page]
    for steps in re.findall(r"`(?:documents|a100-40g)`.*: ([\d.]+) steps", page.decode()):
        assert re.search(rf"\b{re.escape(steps)}\b", RESULTS)


def test_the_benchmark_of_bounds() -> None:
    """The README's times and ratio are those of the benchmark's table."""
    page = (ROOT / "benchmarks" / "results" / "bounds.md").read_text(encoding="utf-8")
    ratio = re.search(r"- documents-40x4: (\d+) times faster", page)
    assert ratio is not None
    assert f"{ratio[1]} times faster than the best MILP" in README
    for profile, told in (("documents", "adapters in {} s"), ("a100", "profile in {} s")):
        seconds = re.search(rf"\| {profile}-160x6 \| `exact` \| ([\d.]+) \|", page)
        assert seconds is not None
        assert told.format(seconds[1]) in README
    monolithic = re.findall(r"-(?:80x5|160x6) \| `(?:milp|cpsat)[^|]*\| ([^|]+) \|", page)
    assert monolithic
    assert all(cell.startswith(("no", "refused")) for cell in monolithic)
    assert "No monolithic model proves any instance of 80 requests or more" in RESULTS


def test_what_policies_give_away() -> None:
    """The README's figures against the online optimum are those of the experiment's page."""
    text = (ROOT / "experiments" / "online_limit" / "result.md").read_text(encoding="utf-8")
    found = re.search(r"`price-index` gives away ([\d.]+) % .*?; the next, `.*?`, ([\d.]+) %", text)
    systems = re.search(r"over (\d+) systems", text)
    assert found is not None
    assert systems is not None
    ours, other = (round(float(value)) for value in found.groups())
    assert f"on {systems[1]} small systems" in README
    assert f"gives away {ours} %, the next policy {other} %" in README
