"""The executed schedule: its files belong together, and the pages quote their figures."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from pats_opt.cli import run
from pats_opt.execute.compare import compare, sentences
from pats_opt.execute.record import Execution
from pats_opt.generate import profile
from pats_opt.model.files import read_bytes, read_instance, read_schedule
from pats_opt.model.parsing import convert, parse_json
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import InstanceRef

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "experiments" / "executed"
README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
RESULTS = " ".join((ROOT / "docs" / "results.md").read_text(encoding="utf-8").split())


def test_the_instance_is_of_the_measured_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command in experiments/README.md gives its bytes.

    The package's profile is of the same measurements, without saving in the GPU's time.
    """
    text = (ROOT / "experiments" / "README.md").read_text(encoding="utf-8")
    (command,) = (
        x for x in text.splitlines() if x.startswith("pats-opt generate --profile profile")
    )
    made = tmp_path / "instance.json"
    monkeypatch.chdir(FOLDER)
    assert run([*command.split()[1:-1], str(made)]) == 0
    assert made.read_bytes() == (FOLDER / "instance.json").read_bytes()
    first, now = profile.load(str(FOLDER / "profile.toml")), profile.load("h100-80g")
    assert (first.step_s, first.load, first.memory) == (now.step_s, now.load, now.memory)
    assert first.overhead(1) > now.overhead(1)


def test_predicted_and_measured() -> None:
    """The README's losses and times are those of the execution, which is of this schedule."""
    problem = Problem(read_instance(FOLDER / "instance.json"))
    schedule = read_schedule(FOLDER / "schedule.json")
    document = parse_json(read_bytes(FOLDER / "result" / "execution.json"))
    execution = convert(document, Execution)
    assert execution.complete
    assert schedule.status.point == "optimal"
    found = compare(problem, execution, schedule)
    (makespan,) = (line for line in found.totals if line.name == "makespan_s")
    (loss,) = (line for line in found.loss if line.name in ("loss", "total"))
    assert f"predicted as {loss.predicted:.2f} and measured as {loss.measured:.2f};" in README
    assert f"after {makespan.measured:.1f} s of {makespan.predicted:.1f} s" in README
    assert f"schedule of {len(problem.jobs)} requests" in README
    assert loss.measured is not None
    assert loss.predicted is not None
    assert f"differ by {100 * abs(loss.measured / loss.predicted - 1):.0f} %" in RESULTS


def test_the_corrected_profile_predicts_the_batches() -> None:
    """The same run against the constants that the package's profile has now."""
    instance = read_instance(FOLDER / "instance.json")
    service = replace(instance.service, overhead_s=profile.load("h100-80g").overhead_s)
    corrected = Problem(replace(instance, service=service))
    reference = InstanceRef(name=instance.name, sha256=corrected.instance.sha256)
    schedule = replace(read_schedule(FOLDER / "schedule.json"), instance=reference)
    document = parse_json(read_bytes(FOLDER / "result" / "execution.json"))
    execution = replace(convert(document, Execution), instance=reference)
    told = " ".join(sentences(compare(corrected, execution, schedule)))
    found = re.search(r"Batches took (\S+) times .+? \((median of .+?)\)", told)
    assert found is not None
    text = (ROOT / "experiments" / "README.md").read_text(encoding="utf-8")
    assert f"took {found[1]} times what was predicted ({found[2]})" in " ".join(text.split())


def test_speed_against_diffusers() -> None:
    """How much faster than the pipeline at the same batch size."""
    path = ROOT / "benchmarks" / "results" / "executor_speed_cuda.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    ratio = {(row["work"].split(",")[0], row["contender"]): row["ratio"] for row in rows}
    one, four = (float(ratio[f"batch of {n}", "pipeline"]) for n in (1, 4))
    assert f"{one:.1f} times as many images per second" in RESULTS
    assert f"{four:.1f} times for four" in RESULTS
    assert float(ratio["one switch", "pipeline, set_adapters, both resident"]) >= 600


def test_the_profile_in_words() -> None:
    found = profile.load("h100-80g")
    steps = found.sources["step_s"]
    one, eight = (steps.split(f" {n}: ")[1].split(",")[0].split(";")[0] for n in (1, 8))
    assert f"{float(one):.3f} s for one image and {float(eight):.3f} s for eight" in RESULTS
    assert found.load.activate_s == pytest.approx(0.07e-3, rel=0.05)
    assert found.load_time("host").median == pytest.approx(1e-3, rel=0.1)
    assert f"{found.load_time('disk').median:.2f} s from disk" in RESULTS


def test_policies_under_the_profile() -> None:
    """Proofs and medians, from the report."""
    path = ROOT / "experiments" / "h100" / "result" / "report.md"
    text = path.read_text(encoding="utf-8")
    gaps = dict(re.findall(r"Online (\S+) has a gap of (.+? %) \(median", text))
    proved = re.search(r"auto proved its schedule optimal on (\d+ of \d+ instances)", text)
    assert proved is not None
    assert f"proven on {proved[1]}" in RESULTS
    assert (
        f"`price-index` has a gap of {gaps['price-index']} to it, `pats` {gaps['pats']}, `fifo` "
        f"{gaps['fifo']} (medians)"
    ) in RESULTS
    assert f"`option=fewest` has a gap of {gaps['cost-aware:option=fewest']}." in RESULTS
