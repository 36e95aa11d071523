"""Limits of online policies: from a recipe to the report, the policy and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pats_opt.cli import run
from pats_opt.errors import InputError
from pats_opt.generate import generate
from pats_opt.generate.config import as_table
from pats_opt.generate.recipe import Recipe
from pats_opt.limits.limit import LimitOptions, limit, only_price_bound, price_bound
from pats_opt.limits.page import page
from pats_opt.limits.stationary import stationary_load
from pats_opt.model.files import write_instance
from pats_opt.solving.solve import solve

#: Two adapters, short steps, a switch of two ticks, two options of which neither is always best.
RECIPE: dict[str, Any] = {
    "popularity": {"adapters": 2, "zipf": 0.6},
    "complexity": {"levels": {"values": [0.6]}},
    "steps": {"full": {"values": [30.0]}, "pruned": [15]},
    "gpus": {"batch": 2},
    "service": {"tick_s": 0.6},
    "arrivals": {"load": 0.7},
}

QUICK = LimitOptions(
    policies=("price-index",), queue=12, paths=4, requests=500, offline_paths=3, window=12
)


def recipe(**changes: Any) -> Recipe:
    """The recipe with other tables."""
    return as_table(RECIPE | changes, Recipe)


def test_simulated_means_are_the_computed_one(tmp_path: Path) -> None:
    """The policy of the table loses what was computed; the offline optimum less, others more."""
    report = limit(recipe(), QUICK, folder=tmp_path)
    online, offline = report.online, report.offline
    best, other = report.policies
    assert online.upper is not None
    assert online.lower <= online.loss <= online.upper
    assert online.upper - online.lower < 1e-3 * online.loss
    assert report.priced is not None
    assert 0.5 * online.lower < report.priced.loss <= online.upper
    assert best.interval is not None
    margin = best.interval[1] - best.interval[0]  # twice as far as the interval reaches
    assert abs(best.mean - online.loss) < margin
    assert best.gives_away == 0.0
    assert other.gives_away > 0.0
    assert not other.growing
    assert offline is not None
    assert offline.low <= offline.high < online.loss
    assert report.future == pytest.approx(online.loss - (offline.low + offline.high) / 2)
    unproven = replace(report, online=replace(online, upper=None))
    assert "Queues of about 12 are too short" in page(unproven, "recipe")
    text = page(report, "a <recipe>")
    assert "a &lt;recipe&gt;" in text
    assert "price-index" in text
    assert "<svg" in text


def test_loads_beside_serving(tmp_path: Path) -> None:
    """The simulated mean is the computed one here too; what a policy lacks is above nothing."""
    beside = recipe(
        popularity={"adapters": 3, "zipf": 0.6},
        switching={"max_resident": 2, "channels": 1, "load_s": [1.8]},
    )
    options = LimitOptions(
        policies=("price-index:prefetch=next", "price-index"),
        queue=6,
        tolerance=1e-3,
        paths=4,
        requests=500,
        offline_paths=0,
    )
    report = limit(beside, options, folder=tmp_path)
    best, *others = report.policies
    assert report.priced is None
    assert report.online.lower <= report.online.loss
    assert report.online.loss - report.online.lower < 0.03 * report.online.loss
    assert best.interval is not None
    margin = best.interval[1] - best.interval[0]  # twice as far as the interval reaches
    assert abs(best.mean - report.online.loss) < margin
    assert all(other.gives_away > 0.0 for other in others)
    with pytest.raises(InputError, match=r"switching\.channels: the bound by a price"):
        only_price_bound(beside, 12, 0)
    one = replace(beside.switching, max_resident=1)  # nothing can be loaded beside a batch
    options = LimitOptions(policies=(), queue=4, paths=1, requests=100, offline_paths=0)
    alone = limit(
        replace(beside, switching=one, arrivals=replace(beside.arrivals, load=0.3)), options
    )
    assert alone.policies[0].mean > 0.0
    crowded = replace(beside, gpus=replace(beside.gpus, vram_gib=(15.2,)))
    with pytest.raises(InputError, match=r"switching\.max_resident: the largest batch does not"):
        limit(crowded, options)
    made = generate(replace(beside, requests=12), 1)
    result = solve(made, f"online-optimum:model={tmp_path / 'policy.json'}")
    assert result.loss is not None


def test_paths_have_the_kinds_and_the_rate() -> None:
    """Whatever the seed, requests are of the kinds, as often as their rates say."""
    load = stationary_load(recipe(complexity={"levels": {"values": [0.2, 0.8]}}))
    assert len(load.kinds) == 4
    counts = dict.fromkeys(load.kinds, 0)
    path = load.path(2000, seed=5)
    from pats_opt.model.problem import Problem

    jobs = Problem(path).jobs
    for job in jobs:
        [kind] = [kind for kind in load.kinds if kind.holds(job)]
        counts[kind] += 1
    ticks = jobs[-1].arrival
    for kind, count in counts.items():
        assert abs(count - kind.rate * ticks) < 4 * (kind.rate * ticks) ** 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arrivals": {"process": "bursty"}}, r"arrivals\.process: bursty .*; set it to poisson"),
        ({"arrivals": {"process": "day"}}, r"arrivals\.process: day"),
        ({"arrivals": {"process": "at-once"}}, r"arrivals\.process: at-once"),
        ({"complexity": {"spread": 0.1}}, r"complexity\.spread: .*; set it to 0"),
        ({"gpus": {"count": 2}}, r"gpus\.count: more than one GPU"),
        ({"images": {"count": {"values": [4.0]}}}, r"images\.count"),
        ({"terms": {"reject_share": 0.5}}, r"terms\.reject_share"),
        ({"terms": {"late_price": 1.0, "deadline_share": 0.5}}, r"terms\.late_price"),
        ({"terms": {"horizon_slack": 2.0}}, r"terms\.horizon_slack"),
        ({"approximate_cache": {}}, r"approximate_cache"),
        ({"popularity": {"depths": [1], "hits": [0.5]}}, r"popularity\.depths"),
    ],
)
def test_recipes_that_are_refused(changes: dict[str, Any], message: str) -> None:
    """What is not stationary, or not in the decision process, is named with a mend."""
    with pytest.raises(InputError, match=message):
        stationary_load(recipe(**changes))


def test_unstable_recipe() -> None:
    """The load is in the message."""
    with pytest.raises(InputError, match=r"the load is \d"):
        limit(recipe(arrivals={"rate_per_s": 9.0}), QUICK)


def test_policy_needs_its_table(tmp_path: Path) -> None:
    """Without a table, for another site or other requests, it refuses in one line."""
    made = generate(recipe(requests=12), 1)
    with pytest.raises(InputError, match=r"needs a table.*pats-opt limit RECIPE -o DIR"):
        solve(made, "online-optimum")
    limit(recipe(), LimitOptions(policies=(), queue=6, paths=2, requests=100, offline_paths=0),
          folder=tmp_path)  # fmt: skip
    policy = f"online-optimum:model={tmp_path / 'policy.json'}"
    result = solve(made, policy)
    assert result.loss is not None
    with pytest.raises(InputError, match=r"made for switch_price_per_s 0\.5, not 0\.1"):
        solve(generate(recipe(requests=12, switching={"price_per_s": 0.1}), 1), policy)
    strange = generate(recipe(requests=12, complexity={"levels": {"values": [0.3]}}), 1)
    with pytest.raises(InputError, match=r"requests\[0\] 'r0': the table has no kind"):
        solve(strange, policy)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints one object, writes three files, and 'simulate' takes the table."""
    file = tmp_path / "small.toml"
    file.write_text(
        "popularity = { adapters = 1 }\ncomplexity = { levels = { values = [0.5] } }\n"
        "arrivals = { load = 0.5 }\n"
    )
    out = tmp_path / "out"
    few = ["--queue", "8", "--paths", "2", "--requests", "100", "--offline-paths", "2"]
    args = ["limit", str(file), "--policies", "fifo", "--window", "6", *few, "-o", str(out)]
    assert run([*args, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["online"]["lower"] <= report["online"]["loss"]
    assert [mean["policy"] for mean in report["policies"]] == ["online-optimum", "fifo"]
    assert json.loads((out / "limit.json").read_text()) == report
    assert "</html>" in (out / "limit.html").read_text()
    assert run(args) == 0
    assert "To know the future is worth" in capsys.readouterr().out
    instance = tmp_path / "i.json"
    write_instance(generate(as_table({"popularity": {"adapters": 1}, "complexity": {"levels": {
        "values": [0.5]}}, "requests": 9}, Recipe), 1), instance)  # fmt: skip
    table = f"online-optimum:model={out / 'policy.json'}"
    assert run(["simulate", str(instance), "--policy", table]) == 0
    file.write_text('arrivals = { process = "square" }\n')
    capsys.readouterr()
    assert run(["limit", str(file)]) == 2
    assert f"{file}: arrivals.process: square" in capsys.readouterr().err


def test_step_times_that_fall_with_the_batch_are_refused() -> None:
    """The lower bounds rest on batches without some members ending no later."""
    table = {"table": [0.1, 0.08, 0.09]}
    load = stationary_load(recipe(service={"tick_s": 0.6, "step_s": table}, gpus={"batch": 3}))
    for refused in (lambda: limit(load.recipe, QUICK), lambda: price_bound(load, 12)):
        with pytest.raises(InputError, match="a step of 2 images takes less time than one of 1"):
            refused()


def test_the_bound_alone_is_there_for_many_adapters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twelve adapters are too many for the online optimum; two residents are refused."""
    path = tmp_path / "many.toml"
    path.write_text(
        "popularity = { adapters = 12 }\ncomplexity = { levels = { values = [0.6] } }\n", "utf-8"
    )
    assert run(["limit", str(path), "--bound-only", "--json"]) == 0
    bound = json.loads(capsys.readouterr().out)
    assert bound["loss"] > 0
    assert bound["price_per_s"] > 0
    assert run(["limit", str(path), "--bound-only"]) == 0
    assert "no online policy loses less than" in capsys.readouterr().out
    assert run(["limit", str(path), "--bound-only", "-o", str(tmp_path / "out")]) == 2
    path.write_text("switching = { max_resident = 2 }\n", "utf-8")
    assert run(["limit", str(path), "--bound-only"]) == 2
    assert "switching.max_resident" in capsys.readouterr().err
