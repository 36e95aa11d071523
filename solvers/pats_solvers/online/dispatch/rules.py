"""The rules of dispatch by name, and the run that each makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pats_opt.model.problem import Site
from pats_solvers.online.common.options import Chooser
from pats_solvers.online.dispatch.dualmap import DualMap
from pats_solvers.online.dispatch.fleet import BoundFleet
from pats_solvers.online.dispatch.hashing import BoundedHash, HashRouter
from pats_solvers.online.dispatch.local_run import LocalPolicy, LocalRun
from pats_solvers.online.dispatch.routers import (
    EarliestCompletion,
    JoinShortestQueue,
    LeastWork,
    PowerOfTwo,
    RoundRobin,
    Router,
)
from pats_solvers.online.dispatch.run import DispatchRun
from pats_solvers.online.dispatch.workload import Workload

#: Names of the rules, for parameters. With ``central`` no request is bound before a batch has it.
DispatchRule = Literal[
    "central",
    "round-robin",
    "join-shortest-queue",
    "power-of-two",
    "least-work",
    "earliest-completion",
    "hash",
    "bounded-hash",
    "dualmap",
]

#: The routers by name.
ROUTERS: dict[DispatchRule, type[Router]] = {
    "round-robin": RoundRobin,
    "join-shortest-queue": JoinShortestQueue,
    "power-of-two": PowerOfTwo,
    "least-work": LeastWork,
    "earliest-completion": EarliestCompletion,
    "hash": HashRouter,
    "bounded-hash": BoundedHash,
    "dualmap": DualMap,
}


def dispatched(
    rule: DispatchRule,
    site: Site,
    seed: int,
    *,
    local: Callable[[Site, int], LocalPolicy],
    option: Chooser,
    steal: bool,
    rebalance: bool,
) -> DispatchRun:
    """Return a run in which requests are bound to GPUs on arrival.

    Args:
        rule: The rule that binds them; not ``central``.
        site: The fleet.
        seed: Seed of random choices; each GPU's policy has another.
        local: Makes the policy of one GPU, from the site with that GPU alone and a seed.
        option: The option that a request is expected to get.
        steal: Whether idle GPUs take waiting requests from others.
        rebalance: Whether overloaded GPUs give waiting requests to others.
    """
    workload = Workload(site, option)
    runs = [LocalRun(g, local(site.alone(g), seed + g)) for g in range(len(site.gpus))]
    router = ROUTERS[rule](workload, seed)
    return DispatchRun(BoundFleet(runs, workload), router, steal=steal, rebalance=rebalance)
