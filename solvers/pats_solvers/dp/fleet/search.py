"""The search over GPUs and caches: layers of labels by time, dominance, priced bound, and a beam.

A label says how many jobs of each class are dealt with, and for each GPU when it is free, what is
resident and active there; it has the loss that some beginning of a schedule has. The GPU that is
free first acts (:mod:`.expansion`). As with one GPU and one resident adapter
(:mod:`pats_solvers.dp.search`) a label goes if another one of its counts is no worse in anything,
if its promise does not beat the best known schedule, or if too many of its layer look better; the
least promise of these is what the pass proves.

The promise is the loss so far plus what is left: on each GPU each adapter alone from the tick at
which the GPU is free, paying for time and places, less the price of all of these from then on (weak
duality from any label on). With several GPUs each of them decides alone which jobs it serves. So
promises favour labels that put jobs off, which then cost their price at most, and labels that hold
an adapter on many GPUs, which are all paid for the same jobs. Labels of a layer are therefore
compared by an estimate in place of the promise: each adapter's jobs are all served by one GPU, the
one that does it for the least.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pats_opt.model.plan import Plan, PlannedBatch
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_solvers.common.arrays import Ints
from pats_solvers.common.classes import Move
from pats_solvers.dp import bound as single
from pats_solvers.dp.bound import NONE
from pats_solvers.dp.fleet import bound, expansion, pool
from pats_solvers.dp.fleet.labels import FleetLabels
from pats_solvers.dp.fleet.model import FleetData, FleetTables, fleet_data_of
from pats_solvers.dp.fleet.patterns import Pattern, members_of
from pats_solvers.dp.search import ALL, PassSize, SearchPass

#: Children looked at before the clock is: about a tenth of a second.
WORK = 100_000


class FleetSearch:
    """Passes over one problem with one set of tables; see the module.

    Args:
        problem: A problem without mixed batches and without loads beside serving, of not too many
            adapters (:func:`.refuse_many_adapters`).
        tables: Cost-to-go tables of its adapters.
        batches: Those of :func:`.batches_of`, where they have been listed before.
        patterns: Patterns to try in place of batches: then a pass proves nothing.

    Raises:
        InputError: An adapter has too many different batches.
    """

    def __init__(
        self,
        problem: Problem,
        tables: FleetTables,
        batches: Sequence[Move] | None = None,
        patterns: Sequence[Pattern] = (),
    ) -> None:
        self.problem = problem
        self.data: FleetData = fleet_data_of(problem, tables, batches, patterns)
        self.model = self.data.model
        self._slack = 1e-13 * max(1.0, abs(self.data.root))

    @property
    def layers(self) -> int:
        """Layers of a pass, at most; some hold no labels."""
        ticks = (len(self.model.paid[0]) - 1) * self.model.grain
        return (ticks // self.model.span + 2) * len(self.data.gpus) + 1

    @property
    def label_bytes(self) -> int:
        """Memory of a label, its share of the hash table and of growing included."""
        gpus = len(self.data.gpus) * bound.GPUS.itemsize
        return 2 * (8 * (self.data.words + 2) + pool.LABELS.itemsize + gpus)

    def details(self) -> dict[str, int]:
        """Return the size of the search."""
        return {"moves": len(self.data.batches) or len(self.data.patterns)}

    def bound(self) -> float:
        """Return a lower bound on the loss of every schedule."""
        counts = np.zeros(len(self.data.kinds), dtype=np.int64)
        return self.data.root + bound.remaining(self.model, self._gpus(), counts)

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
        """One pass over all layers; see :meth:`.PricedSearch.run`."""
        data, model = self.data, self.model
        last = self.layers - 1
        labels = FleetLabels(last, data.words, most, known, len(data.gpus))
        width = ALL if beam is None else beam
        self._plant(labels)
        room = 2 * (len(model.takes) + len(data.kinds)) + 64 * (len(model.bits) + 2)
        expanded, layers, why = 0, 0, None
        rows, at = np.empty(0, dtype=np.int64), 0
        for layer in range(last + 1):
            while why is None and labels.waiting(layer):
                rows, at = labels.collect(layer, width), 0
                expanded, layers = expanded + len(rows), layers + (len(rows) > 0)
                while at < len(rows):
                    labels.make_room_for(room, width, rows[at:])
                    at = expansion.expand(
                        model, labels.pool, rows, at, labels.overfull(width), few, WORK, room,
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

    def _gpus(self) -> NDArray[np.void]:
        """Return the GPUs of the empty schedule."""
        rows = np.zeros(len(self.data.gpus), dtype=bound.GPUS)
        for row, g in zip(rows, self.data.gpus, strict=True):
            resident = self.problem.site.gpus[g].resident
            row["reach"], row["mode"] = bound.NEVER, bound.READY
            if self.model.caching:
                row["active"] = bound.FIRST
                row["resident"] = sum(int(self.model.bits[a]) for a in resident)
            else:
                row["active"] = next(iter(resident), len(self.model.bits))
        return rows

    def _plant(self, labels: FleetLabels) -> None:
        """Add the label of the empty schedule, arrivals of all jobs paid."""
        key = np.zeros((1, self.data.words), dtype=np.int64)
        promise = self.bound()
        label = pool.FleetLabel(self.data.root, promise, promise, NONE)
        left = np.ones(len(self.model.bits), dtype=np.bool_)
        pool.insert(
            labels.pool, 0, key, label, self._gpus(), NONE, NONE, left, self.model, self._slack
        )

    def _trace(self, found: FleetLabels) -> Plan:
        """Return the schedule that leads to the best end."""
        pool_, model = found.pool, self.model
        path = [(int(found.state["final"]), int(found.state["final_move"]), NONE)]
        while (parent := int(pool_.labels["parent"][path[-1][0]])) >= 0:
            path.append((parent, int(pool_.labels["move"][path[-1][0]]), path[-1][0]))
        counts = np.zeros(len(self.data.kinds), dtype=np.int64)
        made: list[list[PlannedBatch]] = [[] for _ in self.data.gpus]
        names = list(self.data.gpus)  # GPU at each place of a label
        places = {g: i for i, g in enumerate(self.data.gpus)}
        for row, move, child in reversed(path):
            gpus = pool_.gpus[row]
            g = int(np.argmin(gpus["free"]))
            if move >= 0:
                single.unpack(model.classes, pool_.key, row, counts)
                then = pool_.gpus[child]
                kept = 0 if child == NONE else int(then["resident"][then["was"] == g][0])
                adapter, members = self._batch(found, move, counts, child)
                beside = {a for a, bit in enumerate(model.bits) if bit & kept}
                resident = frozenset((adapter, *beside))
                batch = PlannedBatch(int(gpus["free"][g]), tuple(sorted(members)), resident)
                made[places[names[g]]].append(batch)
            if child != NONE:
                names = [names[was] for was in pool_.gpus[child]["was"].tolist()]
        by_gpu = dict(zip(self.data.gpus, made, strict=True))
        return Plan(tuple(tuple(by_gpu[g]) for g in range(len(made))))

    def _batch(
        self, found: FleetLabels, move: int, counts: Ints, child: int
    ) -> tuple[int, list[tuple[int, int]]]:
        """Return a batch's adapter, and job and option of its members; add these to the counts."""
        kinds, members = self.data.kinds, list[tuple[int, int]]()
        if not self.data.patterns:
            batch = self.data.batches[move]
            for q, option, n, _ in batch.parts:
                members += [(job.index, option) for job in kinds[q].jobs[counts[q] : counts[q] + n]]
                counts[q] += n
            return batch.adapter, members
        after = np.array([len(kind.jobs) for kind in kinds])
        if child != NONE:
            single.unpack(self.model.classes, found.pool.key, child, after)
        pattern = self.data.patterns[move]
        mine = [q for q, kind in enumerate(kinds) if kind.adapter == pattern.adapter]
        taken = [(q, kinds[q].jobs[counts[q] : after[q]]) for q in mine]
        return pattern.adapter, members_of(kinds, self.model.losses, pattern, taken)
