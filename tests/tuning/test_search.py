"""The search: what it finds, what it survives, and that it is the same however it is run."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs, to_builtins

from pats_opt.errors import CapabilityError, InputError, NoScheduleError
from pats_opt.runs.folder import RunFolder
from pats_opt.tuning.plan import JOURNAL, RESULT, TuneConfig, TunePlan
from pats_opt.tuning.search import Search
from pats_opt.tuning.trials import Trial, TrialState, best, log_ratio
from pats_opt.tuning.tune import prepare, tune
from pats_opt.tuning.verdict import TuneResult
from tests.tuning import stubs
from tests.tuning.conftest import write
from tests.tuning.stubs import BEST

pytestmark = pytest.mark.usefixtures("dial")


@pytest.fixture(autouse=True)
def no_suicide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that kills its process can only be tried in a worker."""

    def refuse(pid: int, how: int) -> None:
        raise NoScheduleError(f"no signal {how} for {pid} here")

    monkeypatch.setattr(stubs, "os", type("Os", (), {"kill": refuse, "getpid": os.getpid}))


def searched(
    folder: Path, instances: str, jobs: int = 1, resume: bool = False, **options: Any
) -> tuple[TuneResult, list[Trial], TunePlan]:
    """A search of ``dial`` over ``x``, unless told otherwise."""
    given = {"policy": "dial", "instances": (instances,), "only": ("x",), "trials": 12, **options}
    plan = prepare(TuneConfig(**given), folder, resume=resume)
    trials: list[Trial] = []
    return tune(plan, folder, jobs=jobs, done=trials.append), trials, plan


def test_finds_the_best_setting(tmp_path: Path, instances: str) -> None:
    """The known optimum is approached, and the test instances show it."""
    result, trials, plan = searched(tmp_path / "out", instances, trials=25)
    assert abs(result.best_params["x"] - BEST) < 0.03
    assert result.helped is True
    assert result.verdict.startswith("Tuning helped: on the test instances the loss is ")
    assert result.test.ratio is not None
    assert result.test.ratio < 0.9
    assert result.test.interval is not None
    assert result.test.interval[0] <= result.test.ratio <= result.test.interval[1] < 1
    assert (result.test.wins, result.test.instances) == (3, 3)
    assert len(trials) == 25
    assert result.trials["finished"] == 25
    assert {c.group for c in plan.test} == set(result.classes) == {"small", "large"}


def test_trial_0_is_the_defaults(tmp_path: Path, instances: str) -> None:
    """They come first, with ratio 1, even outside the range that is searched."""
    result, trials, _ = searched(tmp_path / "out", instances, ranges={"x": "0.6:0.8"}, trials=8)
    assert trials[0].params == {"x": 0.5}
    assert (trials[0].value, trials[0].end) == (0.0, TrialState.COMPLETE)
    assert all(0.6 <= trial.params["x"] <= 0.8 for trial in trials[1:])
    assert (result.best_trial, result.helped) == (0, False)
    assert result.verdict == "Tuning did not help: the defaults are the best of 8 trials on train."
    assert result.spec == result.default_spec == "dial"
    assert (result.test.ratio, result.test.interval) == (1.0, (1.0, 1.0))


def test_value_is_the_geometric_mean_ratio(tmp_path: Path, instances: str) -> None:
    """A trial's value is recomputed from its losses and the defaults'."""
    _, trials, _ = searched(tmp_path / "out", instances)
    for trial in trials:
        pairs = zip(trial.losses, trials[0].losses, strict=True)
        ratios = [a / b for a, b in pairs if a is not None and b is not None]
        if trial.end is TrialState.COMPLETE:
            assert math.exp(trial.value) == pytest.approx(math.prod(ratios) ** (1 / len(ratios)))


def test_only_bad_trials_are_pruned(tmp_path: Path, instances: str) -> None:
    """Early ends save runs, only where a trial is worse, and do not change the best here."""
    pruned, trials, _ = searched(tmp_path / "pruned", instances, trials=16)
    full, everything, _ = searched(tmp_path / "full", instances, trials=16, prune=False)
    assert pruned.trials["pruned"] > 0 == full.trials["pruned"]
    assert pruned.runs < full.runs
    assert {t.end for t in everything} <= {TrialState.COMPLETE, TrialState.FAILED}
    for trial in trials:
        assert (
            trial.end is not TrialState.PRUNED or trial.value > best(trials[: trial.number]).value
        )
    assert abs(pruned.best_params["x"] - BEST) < 0.05
    assert abs(full.best_params["x"] - BEST) < 0.05


def test_same_seed_same_result(tmp_path: Path, instances: str) -> None:
    """Twice the same, byte for byte, with one job or two; another seed differs."""
    first, trials, _ = searched(tmp_path / "a", instances)
    again, _, _ = searched(tmp_path / "b", instances)
    two, _, _ = searched(tmp_path / "c", instances, jobs=2)
    other, elsewhere, _ = searched(tmp_path / "d", instances, seed=1)
    assert first == again == two
    assert (tmp_path / "a" / RESULT).read_bytes() == (tmp_path / "c" / RESULT).read_bytes()
    assert [t.params for t in trials] != [t.params for t in elsewhere]
    assert first != other


def test_interrupted_and_resumed_equals_undisturbed(tmp_path: Path, instances: str) -> None:
    """Searches of 3, 7 and 11 trials in one folder are one search of 11."""
    whole, trials, _ = searched(tmp_path / "whole", instances, trials=11)
    for count in (3, 7, 11):
        part, parts, _ = searched(tmp_path / "parts", instances, trials=count, resume=count > 3)
        assert len(parts) == count
    assert part == whole
    assert [(t.params, t.value, t.losses) for t in parts] == [
        (t.params, t.value, t.losses) for t in trials
    ]


def test_a_trial_under_way_when_killed_is_drawn_again(tmp_path: Path, instances: str) -> None:
    """An unfinished trial in the journal changes nothing."""
    whole, _, _ = searched(tmp_path / "whole", instances)
    out = tmp_path / "out"
    _, _, plan = searched(out, instances, trials=5)
    search = Search(plan, out)
    asked = search._study.ask()
    asked.suggest_float("x", 0, 1)
    resumed, trials, _ = searched(out, instances, resume=True)
    assert resumed == whole
    assert [trial.number for trial in trials] == list(range(12))


def test_an_evaluated_but_unreported_trial_is_kept(tmp_path: Path, instances: str) -> None:
    """A kill between a trial's last two lines in the journal loses nothing."""
    out = tmp_path / "out"
    _, trials, plan = searched(out, instances, trials=3)
    search = Search(plan, out)
    asked = search._study.ask()
    asked.suggest_float("x", 0, 1)
    last = structs.replace(trials[-1], number=3, value=math.inf, end=TrialState.FAILED)
    asked.set_user_attr("trial", to_builtins(last))
    for _ in range(2):
        again = Search(plan, out)
        assert again.trials == [*trials, last]
        assert all(frozen.state.is_finished() for frozen in again._study.trials)


def test_a_failing_trial_is_the_worst(tmp_path: Path, instances: str) -> None:
    """No schedule, a bug, a broken rule: the trial fails with its reason, the search goes on."""
    result, trials, _ = searched(tmp_path / "out", instances, only=("trouble",), trials=16)
    reasons = {
        "stop": "it gave up",
        "raise": "RuntimeError: broken",
        "rule": "solver 'dial' broke rule",
        "kill": "no signal 9",
    }
    for trouble, reason in reasons.items():
        first, *again = (t for t in trials if t.params["trouble"] == trouble)
        assert (first.end, first.value, first.runs) == (TrialState.FAILED, math.inf, 1)
        assert reason in str(first.error)
        assert not any(t.runs for t in again)
    assert result.best_params == {"trouble": "none"}


def test_a_dying_worker_is_a_failed_trial(tmp_path: Path, instances: str) -> None:
    """A worker that is killed fails its trial; its pool is made anew, the others go on."""
    result, trials, _ = searched(tmp_path / "out", instances, jobs=2, only=("trouble",), trials=16)
    (killed,) = (t for t in trials if t.params["trouble"] == "kill" and t.runs)
    assert "its process died (killed, or out of memory)" in str(killed.error)
    assert result.trials["complete"] >= 1
    assert len(trials) == 16


def test_a_setting_tried_before_is_not_run_again(tmp_path: Path, instances: str) -> None:
    """Few settings and many trials: each is run once."""
    result, trials, plan = searched(
        tmp_path / "out", instances, policy="fifo", only=("option",), trials=30, prune=False
    )
    settings = {trial.params["option"] for trial in trials}
    assert result.runs == len(settings) * len(plan.train)
    assert {t.runs for t in trials} == {0, len(plan.train)}


def test_instances_that_the_defaults_cannot_serve(tmp_path: Path, instances: str) -> None:
    """They are left out of the objective, and named; where that is all, the search ends."""
    hard = write(tmp_path / "instances" / "hard" / "hard-0.json", requests=5)
    other = write(tmp_path / "test.json", requests=6)
    result, trials, _ = searched(tmp_path / "out", instances, test=(other,), trials=6)
    assert result.left_out == ["hard-0"]
    assert "it gave up" in str(trials[0].error)
    assert result.train.instances == 10
    assert (
        "Left out, as the defaults fail there: hard-0."
        in (tmp_path / "out" / "report.md").read_text()
    )
    with pytest.raises(
        NoScheduleError, match=r"no schedule on any train instance \(hard-0: it gave"
    ):
        searched(tmp_path / "none", hard, test=(other,))


def test_explicit_test_instances(tmp_path: Path, instances: str) -> None:
    """A test instance that is also named for training is no train instance."""
    test = str(Path(instances) / "large")
    result, _, plan = searched(tmp_path / "out", instances, test=(test,), trials=2)
    assert (len(plan.train), len(plan.test)) == (6, 4)
    assert not {c.sha256 for c in plan.train} & {c.sha256 for c in plan.test}
    assert "named apart" in (tmp_path / "out" / "report.md").read_text()
    assert result.classes == {}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 3}, "seed 0, not 3"),
        ({"only": ("trouble",)}, "another search space"),
        ({"ranges": {"x": "0:0.5"}}, "another search space"),
        ({"policy": "dial:option=1"}, "another set of parameters"),
        ({"test_share": 0.5}, "another set of train instances; another set of test instances"),
        ({"prune": False}, "pruning True, not False"),
        ({"time_limit": 5.0}, "time limit none, not 5.0"),
    ],
)
def test_another_search_is_not_resumed(
    tmp_path: Path, instances: str, change: dict[str, Any], told: str
) -> None:
    """Trials of another space, other instances or another seed do not belong together."""
    out = tmp_path / "out"
    searched(out, instances, trials=1)
    before = (out / JOURNAL).read_bytes()
    with pytest.raises(InputError, match="holds another search") as caught:
        searched(out, instances, resume=True, **change)
    assert told in str(caught.value)
    assert (out / JOURNAL).read_bytes() == before


def test_a_changed_instance_stops_the_search(tmp_path: Path, instances: str) -> None:
    """A file that changes while the search runs would be compared with another's loss."""
    given = TuneConfig(policy="dial", instances=(instances,), only=("x",), trials=3)
    plan = prepare(given, tmp_path / "out")
    write(Path(plan.train[0].file), requests=7, name="changed")
    with pytest.raises(InputError, match="has changed since the search began"):
        tune(plan, tmp_path / "out")


def test_one_search_a_folder(tmp_path: Path, instances: str) -> None:
    """A folder that holds a search is neither overwritten nor used by two at once."""
    out = tmp_path / "out"
    _, _, plan = searched(out, instances, trials=1)
    with pytest.raises(InputError, match="holds a search already; add --resume"):
        searched(out, instances)
    with (
        RunFolder(out).locked(),
        pytest.raises(InputError, match="another search is using this folder"),
    ):
        tune(plan, out)
    assert tune(plan, out).trials["finished"] == 1


def test_refused_before_anything_runs(tmp_path: Path, instances: str) -> None:
    """A missing time limit, a missing feature, no policy, no instances."""
    with pytest.raises(InputError, match=r"'milp' is no online policy.*add --time-limit"):
        searched(tmp_path / "a", instances, policy="milp", only=())
    two = write(
        tmp_path / "two.json", requests=2, switching={"max_resident": 2, "price_per_s": 1.0}
    )
    with pytest.raises(CapabilityError, match=r"two.json: solver 'narrow' cannot handle max_res"):
        searched(tmp_path / "b", instances, test=(two,), policy="narrow")
    with pytest.raises(InputError, match="no policy is named"):
        searched(tmp_path / "c", instances, policy="")
    with pytest.raises(InputError, match="no instances are named"):
        prepare(TuneConfig(policy="dial"), tmp_path / "d")
    assert not list(tmp_path.glob("[abcd]/journal.log"))


def test_a_solver_with_a_time_limit(tmp_path: Path, instances: str) -> None:
    """Any solver with parameters can be tuned."""
    one, two = (str(Path(instances) / "small" / f"small-{k}.json") for k in (1, 2))
    result, trials, _ = searched(
        tmp_path / "out",
        one,
        test=(two,),
        policy="milp",
        only=("formulation",),
        trials=2,
        time_limit=5.0,
    )
    assert result.test.instances == 1
    assert trials[0].losses[0] is not None


def test_importances(tmp_path: Path, instances: str) -> None:
    """With enough trials, parameters that decide the loss are ranked above those that do not."""
    result, _, _ = searched(
        tmp_path / "out", instances, only=("x", "wait_s"), ranges={"wait_s": "0:0.001"}, trials=24
    )
    assert result.importances["x"] > 0.7
    assert sum(result.importances.values()) == pytest.approx(1)
    assert searched(tmp_path / "few", instances, trials=5)[0].importances == {}


@pytest.mark.parametrize(
    ("loss", "reference", "expected"),
    [
        (2.0, 1.0, math.log(2)),
        (0.0, 0.0, 0.0),
        (0.0, 1.0, math.log(1e-6)),
        (1.0, 0.0, math.log(1e6)),
    ],
)
def test_log_ratio(loss: float, reference: float, expected: float) -> None:
    assert log_ratio(loss, reference) == pytest.approx(expected)
