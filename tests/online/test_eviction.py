"""The paging rules on sequences worked by hand."""

from __future__ import annotations

from pats_opt.model.problem import Problem, Site
from pats_solvers.online.common.eviction import (
    RULES,
    GhostEviction,
    GreedyDual,
    LeastFrequentlyUsed,
    LeastRecentlyUsed,
    eviction,
)
from tests.simulate.scripted import problem_of
from tests.support.zoo import adapter, document, gpu, request

NONE = frozenset[int]()


def site(*load_s: float, vram: tuple[float, ...] = ()) -> Site:
    """Adapters of these load times and sizes, on two GPUs."""
    sizes = vram or (1.0,) * len(load_s)
    made = [
        adapter(name, load_s=seconds, vram_gib=size)
        for name, seconds, size in zip("abcd", load_s, sizes, strict=False)
    ]
    return problem_of(document(adapters=made, gpus=[gpu(), {**gpu(), "id": "other"}])).site


def sets(*adapters: int) -> frozenset[int]:
    return frozenset(adapters)


def test_least_recently_used() -> None:
    """Never used first, then by last use; each GPU remembers its own."""
    lru = LeastRecentlyUsed(site(1, 1, 1, 1))
    for where, used in ((0, sets(2)), (0, sets(0, 1)), (1, sets(2)), (0, sets(2))):
        lru.served(where, NONE, used, used)
    assert lru(0, sets(0, 1, 2, 3)) == [3, 0, 1, 2]
    assert lru(1, sets(0, 1, 2, 3)) == [0, 1, 3, 2]


def test_least_frequently_used_counts_requests() -> None:
    """Requests count on arrival, whoever serves them."""
    problem = problem_of(
        document(
            *(request(f"r{i}", adapter=a) for i, a in enumerate("cacbb")),
            adapters=[adapter(name) for name in "abcd"],
        )
    )
    lfu = LeastFrequentlyUsed(problem.site)
    for job in problem.jobs:
        lfu.arrived(job)
    assert lfu(0, sets(0, 1, 2, 3)) == [3, 0, 1, 2]


def test_cost_keeps_what_is_dear_to_load() -> None:
    """Adapter b takes 5 s to load, the others 1 s: it outlasts them until L has caught up."""
    dual = GreedyDual(site(1, 5, 1))
    for used in (1, 0, 2):
        dual.served(0, NONE, sets(used), sets(used))
    assert dual(0, sets(0, 1, 2)) == [0, 2, 1]
    for _ in range(5):  # a and c push each other out: every eviction raises L by 1
        dual.served(0, sets(0, 1), sets(1, 2), sets(2))
        dual.served(0, sets(1, 2), sets(0, 1), sets(0))
    assert dual(0, sets(0, 1)) == [1, 0], "b has not been used for so long that it goes"
    assert dual(1, sets(0, 1)) == [0, 1], "another GPU has its own credits"


def test_cost_counts_per_memory() -> None:
    """Alike to load, the larger adapter goes first."""
    dual = GreedyDual(site(1, 1, vram=(0.5, 1.0)))
    dual.served(0, NONE, sets(0, 1), sets(0, 1))
    assert dual(0, sets(0, 1)) == [1, 0]


def requested(adapters: str, *load_s: float, residents: int = 2) -> Problem:
    """One GPU, and a request for each adapter in turn."""
    named = zip("abcd", load_s, strict=False)
    return problem_of(
        document(
            *(request(f"r{i}", adapter=a, arrival_s=float(i)) for i, a in enumerate(adapters)),
            adapters=[adapter(name, load_s=seconds) for name, seconds in named],
            switching={"max_resident": residents},
        )
    )


def ghost(problem: Problem) -> GhostEviction:
    """The rule once all requests of a problem have come."""
    made = GhostEviction(problem.site)
    for job in problem.jobs:
        made.arrived(job)
    return made


def test_the_recent_ghost_is_followed_where_popularity_moves_on() -> None:
    """What was popular long ago goes: both ghosts have loaded as much."""
    assert ghost(requested("aaaaaaaabbccdd", 1, 1, 1, 1))(0, sets(0, 1, 2, 3)) == [0, 1, 2, 3]


def test_the_frequent_ghost_is_followed_where_popularity_lasts() -> None:
    """Others keep coming between the requests for a: the recent ghost loads it each time."""
    made = ghost(requested("aabcabdacdabcabdacd" * 3, 1, 1, 1, 1))
    assert made(0, sets(0, 2, 3))[-1] == 0, "d and c were requested after it"


def test_what_is_dear_to_load_stays() -> None:
    """Adapter d takes ten times as long to load and comes as often as the others."""
    made = ghost(requested("abcd" * 10 + "abc", 1, 1, 1, 10))
    assert made(0, sets(0, 1, 2, 3))[-1] == 3
    assert ghost(requested("abcd" * 10 + "abc", 1, 1, 1, 1))(0, sets(0, 1, 2, 3))[0] == 3


def test_what_loads_at_once_goes_first() -> None:
    """It costs nothing to load again, however often it is requested."""
    made = ghost(requested("abcabdabcabd" * 4, 0, 1, 1, 1))
    assert made(0, sets(0, 1, 2))[0] == 0


def test_rules_by_name() -> None:
    """Every name makes a rule that orders all residents."""
    for rule in RULES:
        made = eviction(rule, site(1, 1, 1))
        assert sorted(made(0, sets(0, 2))) == [0, 2]
