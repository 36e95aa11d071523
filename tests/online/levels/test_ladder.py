"""Levels of requests, and the best batch size, against plain restatements."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pats_opt.model.problem import Job, JobOption
from pats_solvers.online.levels.ladder import Ladder, Sizes, at_level, levels_of
from tests.online.levels.examples import problem, request


def job(*options: tuple[int, int, float]) -> Job:
    """A job with options of steps, skip and quality."""
    return Job(
        index=0,
        id="r0",
        position=0,
        arrival=0,
        adapter=0,
        demand=(0,),
        options=tuple(JobOption(steps, quality, 0.0, skip) for steps, skip, quality in options),
        weight=1.0,
        complexity=None,
        deadline=None,
        reject_loss=None,
    )


OPTIONS = st.lists(
    st.tuples(st.integers(1, 6), st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=6
)


@given(OPTIONS)
def test_levels_are_the_steps_left_out(drawn: list[tuple[int, int, int]]) -> None:
    made = job(*[(steps, skip, float(q)) for steps, skip, q in drawn])
    most = max(steps for steps, _, _ in drawn)
    skips = any(skip for _, skip, _ in drawn)
    level = {i: skip if skips else most - steps for i, (steps, skip, _) in enumerate(drawn)}
    found = levels_of(made)
    assert [each.level for each in found] == sorted(set(level.values()))
    for each in found:
        assert level[each.option] == each.level
        assert (each.steps, each.quality) == (drawn[each.option][0], drawn[each.option][2])
        rivals = [q for i, (_, _, q) in enumerate(drawn) if level[i] == each.level]
        assert each.quality == max(rivals)


@given(OPTIONS, st.integers(0, 7))
def test_a_gpus_level_bounds_the_depth(drawn: list[tuple[int, int, int]], level: int) -> None:
    levels = levels_of(job(*[(steps, skip, float(q)) for steps, skip, q in drawn]))
    chosen = at_level(levels, level)
    allowed = [each.level for each in levels if each.level <= level]
    assert chosen.level == max(allowed, default=levels[0].level)


def test_the_ladder_keeps_means() -> None:
    """A request counts at each level as it would run there; a new level begins with its own."""
    ladder = Ladder()
    ladder.add(levels_of(job((6, 0, 1.0), (2, 4, 0.6))))
    ladder.add(levels_of(job((10, 0, 0.8), (6, 4, 0.5))))
    assert ladder.levels == [0, 4]
    assert ladder.qualities() == [0.9, 0.55]
    assert [profile.steps for profile in ladder.profiles] == [8, 4]
    ladder.add(levels_of(job((6, 0, 0.6), (3, 3, 0.4))))
    assert ladder.levels == [0, 3, 4]
    assert [ladder.at(k).steps for k in (0, 2, 3, 4, 9)] == [7, 7, 3, 4, 4]


@given(
    st.tuples(st.floats(0.01, 1.0), st.floats(0.01, 1.0)),
    st.integers(1, 40),
    st.integers(1, 200),
    st.integers(1, 9),
    st.booleans(),
)
def test_the_best_size_serves_most_within_its_share(
    step_s: tuple[float, float], steps: int, objective: int, most: int, powers: bool
) -> None:
    base, per_sample = step_s
    service = {"kind": "steps", "step_s": {"base": base, "per_sample": per_sample}}
    site = problem([request(0, 0.0)], service=service).site
    allowed = (1, 2, 4, 8) if powers else tuple(range(1, 9))
    sizes = Sizes(site, allowed, 0.5)

    def ticks(b: int) -> int:
        return site.clock.duration(((steps, b),))

    fits = [b for b in allowed if b <= most and (b == 1 or ticks(b) < 0.5 * objective)]
    best = max(fits, key=lambda b: (b / ticks(b), -b))
    assert sizes.best(steps, objective, most) == best
    assert sizes.rate(steps, objective, most) == best / (ticks(best) * site.tick_s)


def test_sizes_step_by_step() -> None:
    site = problem(
        [request(0, 0.0)], service={"kind": "steps", "step_s": {"table": [1.0] * 5}}
    ).site
    sizes = Sizes(site, (1, 2, 4, 8), 0.5)
    assert [sizes.allowed(n) for n in (1, 3, 4, 9)] == [1, 2, 4, 4]  # the table ends at 5
    assert [sizes.next(b, 4) for b in (1, 2, 4)] == [2, 4, 4]
    assert [sizes.next(b, 3) for b in (1, 2)] == [2, 2]
    assert [sizes.previous(b) for b in (4, 2, 1)] == [2, 1, 1]
