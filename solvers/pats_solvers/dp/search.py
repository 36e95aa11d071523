"""The search: layers of states by jobs dealt with, dominance, priced bound, and a beam.

A state says how many jobs of each class are dealt with and which adapter is held; a *label* on it
is a (free tick, loss) that some sequence of batches reaches. A label goes if another one of its
state is no later and no dearer; if its *promise* does not beat the best known schedule; or, in a
beam, if too many of its layer look better, in which case the least promise among those cut is what
the pass proves.

The promise is the loss so far plus what is left: each adapter alone from the label's tick on,
paying for the GPU's time, less the price of all that time (weak duality holds from any label on, as
it does from the start). The tables of :class:`.AdapterSubproblem` hold the former for every tick
and backlog, so a promise is a few look-ups. This follows the successive sublimation of Tanaka and
Fujikuma (2012): bound by relaxed dynamic programs, then search what survives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pats_opt.model.plan import Plan, PlannedBatch
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_solvers.common.arrays import Ints
from pats_solvers.common.classes import Move
from pats_solvers.dp import bound, expansion, label_pool
from pats_solvers.dp.bound import NONE
from pats_solvers.dp.labels import Labels
from pats_solvers.dp.model import CostToGo, SearchData, data_of

#: Batches looked at before the clock is: about a tenth of a second.
WORK = 2_000_000

#: Labels in a layer where there is no beam.
ALL = 2**40


class PassSize(NamedTuple):
    """Labels that a pass expanded, and the layers that they are of."""

    labels: int
    layers: int


@dataclass(frozen=True, slots=True)
class SearchPass:
    """Result of one pass.

    Attributes:
        loss: Loss of ``batches``, or the loss to beat where it found none better.
        plan: A better schedule than the known one, or None.
        bound: Proven lower bound on the loss of every sequence.
        complete: Whether nothing was cut but by proof.
        labels: Labels expanded.
        layers: Layers that they are of.
        looks: Batches looked at.
        stop: Why it was broken off, or None.
    """

    loss: float
    plan: Plan | None
    bound: float
    complete: bool
    labels: int
    layers: int
    looks: int
    stop: StopReason | None

    @classmethod
    def of(
        cls, labels: Labels, left: Ints, plan: Plan | None, size: PassSize, stop: StopReason | None
    ) -> SearchPass:
        """Return the result that a pool has at the end of a pass.

        Args:
            labels: The pool.
            left: Labels collected that were not expanded any more.
            plan: The schedule that its best end leads to, or None.
            size: What was expanded.
            stop: Why the pass was broken off, or None.
        """
        best = float(labels.state["best"])
        cut = labels.least(left) if stop else float(labels.state["cut"])
        complete = stop is None and not cut < label_pool.below(best)
        proven = best if complete else min(best, cut)
        return cls(best, plan, proven, complete, *size, int(labels.state["looks"]), stop)


class PricedSearch:
    """Passes over one problem with one set of tables; see the module.

    Args:
        problem: A problem with one GPU and one resident adapter.
        tables: Cost-to-go tables of its adapters.
        batches: Those of :func:`.batches_of`, where they have been listed before.

    Raises:
        InputError: An adapter has too many different batches.
    """

    def __init__(
        self, problem: Problem, tables: CostToGo, batches: Sequence[Move] | None = None
    ) -> None:
        self.problem = problem
        self.data: SearchData = data_of(problem, tables, batches)
        self.model = self.data.model
        self.kinds = self.data.kinds
        self.states = math.prod(len(kind.jobs) + 1 for kind in self.kinds)
        self.states *= len(problem.site.adapter_ids) + 1
        # Sums in another order differ by about this much: equal losses must count as equal.
        self._slack = 1e-13 * max(1.0, abs(self.data.root))

    @property
    def layers(self) -> int:
        """Layers of a pass."""
        return len(self.problem.jobs)

    @property
    def label_bytes(self) -> int:
        """Memory of a label, its share of the hash table and of growing included."""
        return 2 * (8 * (self.data.words + 2) + label_pool.LABELS.itemsize)

    def details(self) -> dict[str, int]:
        """Return the size of the search."""
        return {"states": self.states, "moves": len(self.data.batches)}

    def bound(self) -> float:
        """Return a lower bound on the loss of every sequence."""
        counts = np.zeros(len(self.kinds), dtype=np.int64)
        return self.data.root + bound.remaining(self.model, self._held(), 0, counts)

    def run(
        self,
        known: float,
        stop: Callable[[], StopReason | None],
        *,
        beam: int | None = None,
        few: int = 0,
        most: int = 2**31,
        bounds: Callable[[float], None] | None = None,
    ) -> SearchPass:
        """One pass over all layers.

        Args:
            known: Loss to beat; infinity where nothing is known.
            stop: Asked now and then whether to break off.
            beam: Labels kept a layer; None: all.
            few: Batches tried by label and adapter; 0: all.
            most: Labels kept in all.
            bounds: Told the least promise that is left, now and then.
        """
        layers = len(self.problem.jobs)
        labels = Labels(layers, self.data.words, most, known)
        self._plant(labels)
        room = len(self.model.takes) + len(self.kinds)
        expanded, why = 0, None
        for layer in range(layers):
            width = min(ALL if beam is None else beam, labels.share(layers - layer))
            rows = labels.collect(layer, width)
            expanded += len(rows)
            at = 0
            while at < len(rows):
                labels.make_room(room, width)
                at = expansion.expand(
                    self.model, labels.pool, rows, at, layer, labels.overfull(width), few, WORK,
                    self._slack,
                )  # fmt: skip
                labels.trim(width)
                why = stop()
                if why is not None:
                    break
                if bounds is not None:
                    bounds(labels.least(rows[at:]))
            if why is not None:
                break
        plan = self._trace(labels) if labels.state["final"] >= 0 else None
        return SearchPass.of(labels, rows[at:], plan, PassSize(expanded, layers), why)

    def _held(self) -> int:
        """Return the row of :data:`.SWITCHES` of the adapter that is held first."""
        return next(iter(self.problem.site.gpus[0].resident), len(self.problem.site.adapter_ids))

    def _plant(self, labels: Labels) -> None:
        """Add the label of the empty sequence, arrivals of all jobs paid."""
        key = np.zeros((1, self.data.words), dtype=np.int64)
        label = label_pool.Label(self.data.root, self.bound(), 0, self._held(), NONE)
        left = np.ones(len(self.problem.site.adapter_ids), dtype=np.bool_)
        label_pool.insert(
            labels.pool, 0, key, label, NONE, NONE, left, self.model,
            self._slack,
        )  # fmt: skip

    def _trace(self, found: Labels) -> Plan:
        """Return the batches that lead to the best end."""
        pool = found.pool
        path = [(int(found.state["final"]), int(found.state["final_move"]))]
        while (parent := int(pool.labels["parent"][path[-1][0]])) >= 0:
            path.append((parent, int(pool.labels["move"][path[-1][0]])))
        model, batches = self.model, []
        counts = np.zeros(len(self.kinds), dtype=np.int64)
        for row, move in reversed(path):
            if move < 0:
                continue  # what is rejected is in no batch
            bound.unpack(model.classes, pool.key, row, counts)
            chosen = self.data.batches[move]
            label = pool.labels[row]
            ready = label["free"] + model.switches["ticks"][label["held"], chosen.adapter]
            start = bound.start_of(model, move, chosen.adapter, ready, counts)
            members: list[tuple[int, int]] = []
            for q, option, n, _ in chosen.parts:
                jobs = self.kinds[q].jobs[counts[q] : counts[q] + n]
                members += [(job.index, option) for job in jobs]
                counts[q] += n
            adapters = frozenset((chosen.adapter,))
            batches.append(PlannedBatch(int(start), tuple(sorted(members)), adapters))
        return Plan((tuple(batches),))
