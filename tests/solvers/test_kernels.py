"""Rules 4 and 5 in kernels and arrays against those of the model."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from pats_opt.model.instance import Instance
from pats_opt.model.loss import switching_loss
from pats_opt.model.problem import Problem
from pats_opt.model.timing import shape_of
from pats_opt.testing.instances import random_instance
from pats_solvers.common.kernels import completions
from pats_solvers.local.arrays import SearchArrays, data_of
from tests.support import scale
from tests.support.zoo import document, request


def readable(problem: Problem) -> SearchArrays:
    """The arrays of a problem, with fields that kernels can read uncompiled too."""
    data = data_of(problem)
    return data._replace(sizes=data.sizes.view(np.recarray))


def test_members_leave_one_after_the_other() -> None:
    """Three of 1, 2 and 4 steps: 5 s for the first step, 3 s for the next, 2 s for two more."""
    options = [{"steps": s, "quality": 1.0} for s in (1, 2, 4)]
    made = document(
        *(request(f"r{i}", options=options) for i in range(4)),
        service={"kind": "steps", "step_s": {"table": [2.0, 3.0, 5.0, 9.0]}, "overhead_s": 1.0},
    )
    data = readable(Problem(msgspec.convert(made, Instance)))
    ends = np.zeros(3, dtype=np.int64)
    assert completions(data, np.array([1, 1, 1]), 3, ends) == 13
    assert ends.tolist() == [6, 9, 13]
    assert completions(data, np.array([2, 0, 2]), 4, ends) == 19
    assert ends[[0, 2]].tolist() == [10, 19]


def test_batch_times_are_those_of_the_rules() -> None:
    """Compiled completions are the clock's, for every shape of up to four members."""
    for seed in scale.seeds(40):
        problem = Problem(random_instance(seed))
        data, clock = readable(problem), problem.site.clock
        steps = data.levels.tolist()
        rng = np.random.default_rng(seed)
        for _ in range(20):
            chosen = rng.choice(steps, size=rng.integers(1, len(data.sizes))).tolist()
            shape = shape_of(chosen)
            counts = np.array([chosen.count(s) for s in steps])
            ends = np.zeros(len(steps), dtype=np.int64)
            assert completions(data, counts, len(chosen), ends) == clock.duration(shape)
            found = tuple(int(end) for end, n in zip(ends, counts, strict=True) if n)
            assert found == clock.completions(shape)


def test_switches_are_those_of_the_rules() -> None:
    """Ticks and losses of loads and activations add up to the model's, for random residents."""
    for seed in scale.seeds(40):
        site = Problem(random_instance(seed)).site
        if site.pairs:  # a load then depends on the resident before
            continue
        data, rng = readable(Problem(random_instance(seed))), np.random.default_rng(seed)
        for _ in range(20):
            count = len(site.adapter_ids)
            before, after, last = (
                frozenset(rng.choice(count, rng.integers(0, count + 1), replace=False).tolist())
                for _ in range(3)
            )
            switch = site.switch(before, after, after, last)
            loads = [data.switches[-1, a] for a in switch.load]
            ticks = sum(int(load["ticks"]) for load in loads)
            loss = math.fsum(load["loss"] for load in loads)
            activations = len(switch.activate)
            assert ticks + activations * data.activate_ticks == switch.ticks
            found = loss + activations * data.activate_loss
            assert found == pytest.approx(switching_loss(site, switch.seconds), abs=1e-12)
