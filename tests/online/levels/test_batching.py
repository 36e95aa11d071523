"""Batching rules, each against its rule written out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_solvers.online.levels.batching import QueueView, batching
from pats_solvers.online.levels.ladder import Sizes
from tests.online.levels.examples import problem, request

SITE = problem([request(0, 0.0)]).site
POWERS = (1, 2, 4, 8)


def sizes() -> Sizes:
    """Sizes of Proteus."""
    return Sizes(SITE, POWERS, 0.5)


@st.composite
def views(draw: st.DrawFn, busy: bool | None = None) -> QueueView:
    """A queue whose batches take longer the larger they are."""
    longest = sorted(draw(st.lists(st.integers(1, 40), min_size=8, max_size=8)))
    return QueueView(
        gpu=draw(st.integers(0, 1)),
        now=draw(st.integers(0, 50)),
        waiting=draw(st.integers(1, 8)),
        due=draw(st.integers(0, 100)),
        best=draw(st.sampled_from(POWERS)),
        latency=lambda b: longest[b - 1],
        busy=draw(st.booleans()) if busy is None else busy,
    )


@given(views())
def test_accscale(view: QueueView) -> None:
    """Wait for the head's last moment, unless more wait than fit."""
    size = max(b for b in POWERS if b <= min(view.waiting, view.best))
    firing = batching("accscale", sizes())(view)
    assert firing.size == size
    if view.waiting > view.best:
        assert firing.tick == view.now
    else:
        assert firing.tick + view.latency(size) == view.due


@given(views())
def test_nexus(view: QueueView) -> None:
    """Full at once, else when a full batch would be late."""
    firing = batching("nexus", sizes())(view)
    if view.waiting >= view.best:
        assert firing[:2] == (view.now, view.best)
    else:
        assert firing[:2] == (view.due - view.latency(view.best), view.waiting)


@given(views(), st.lists(st.tuples(st.integers(0, 1), st.booleans()), max_size=8))
def test_aimd(view: QueueView, batches: list[tuple[int, bool]]) -> None:
    """Each GPU's size goes up after a batch in time, and down after a late one."""
    rule = batching("aimd", sizes())
    place = [0, 0]
    highest = POWERS.index(view.best)
    for gpu, late in batches:
        rule.served(gpu, view.best, late)
        place[gpu] = max(0, place[gpu] - 1) if late else min(highest, place[gpu] + 1)
    size, firing = POWERS[place[view.gpu]], rule(view)
    if view.waiting >= size:
        assert firing[:2] == (view.now, size)
    else:
        assert firing[:2] == (view.due - view.latency(view.waiting), view.waiting)


def test_aimd_keeps_to_a_best_size_that_falls() -> None:
    rule = batching("aimd", sizes())
    for _ in range(3):
        rule.served(0, 8, late=False)
    view = QueueView(0, now=0, waiting=8, due=9, best=2, latency=lambda b: b, busy=True)
    assert rule(view).size == 2


@given(views(busy=False))
def test_switched_at_low_load(view: QueueView) -> None:
    assert batching("switched", sizes())(view)[:2] == (view.now, 1)


@given(views(busy=True))
def test_switched_at_high_load(view: QueueView) -> None:
    """Full at once, else when the batch that there is would be late."""
    firing = batching("switched", sizes())(view)
    if view.waiting >= view.best:
        assert firing[:2] == (view.now, view.best)
    else:
        assert firing[:2] == (view.due - view.latency(view.waiting), view.waiting)


@pytest.mark.parametrize("rule", ["accscale", "nexus", "aimd", "switched"])
@given(view=views())
def test_a_batch_is_of_what_waits(rule: str, view: QueueView) -> None:
    firing = batching(rule, sizes())(view)  # type: ignore[arg-type]
    assert 1 <= firing.size <= min(view.waiting, view.best)
