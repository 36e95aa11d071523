"""The search: layers of states by jobs dealt with, dominance, pruning, and a beam.

A state says how many jobs of each class are dealt with and which adapter is held; a *label* on it
is a (free tick, loss) that some sequence of batches reaches. All labels of a layer are arrays,
and all moves of an adapter are applied to them at once. A label goes if another one of its state
is no later and no dearer, if its loss plus the bound on what remains (its *promise*) does not
beat the best known schedule, or, in a beam, if too many others look better; the least promise
among the latter is what the beam proves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pats_opt.plan import PlannedBatch
from pats_opt.problem import Problem
from pats_opt.schedule import Stop
from pats_solvers.dp.bound import Floats, Ints, Remaining, Switches
from pats_solvers.dp.classes import JobClass, MoveTable, classes, move_table

#: Labels generated before dominance is applied to a layer that is still growing.
CHUNK = 2_000_000

#: Pairs of label and move that are looked at together.
PAIRS = 1_000_000


@dataclass(slots=True)
class Labels:
    """Labels in columns: state key, adapter held, free tick, loss, promise, how they came about.

    ``parent`` counts within layer ``layer``; ``move`` counts within the table of adapter
    ``held``, and -1 - q means "reject one of class q".
    """

    key: Ints
    held: Ints
    free: Ints
    loss: Floats
    promise: Floats
    layer: Ints
    parent: Ints
    move: Ints
    start: Ints

    def __len__(self) -> int:
        return len(self.key)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Labels:
        """The labels of these rows."""
        return Labels(*(getattr(self, name)[rows] for name in self.__slots__))

    @staticmethod
    def joined(parts: list[Labels]) -> Labels:
        """All labels of several."""
        return Labels(
            *(np.concatenate([getattr(p, name) for p in parts]) for name in Labels.__slots__)
        )


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass gave.

    Attributes:
        loss: Loss of ``batches``, or the loss to beat where it found none better.
        batches: A better schedule than the known one, or None.
        bound: Proven lower bound.
        complete: Whether nothing was cut but by proof.
        labels: Labels expanded.
        stop: Why it was broken off, or None.
    """

    loss: float
    batches: tuple[PlannedBatch, ...] | None
    bound: float
    complete: bool
    labels: int
    stop: Stop | None


class Search:
    """Everything about a problem that a pass needs; passes differ in their beam."""

    def __init__(self, problem: Problem) -> None:
        self.problem, site = problem, problem.site
        self.kinds: list[JobClass] = classes(problem)
        self.switches = Switches(problem)
        self.tables = [move_table(problem, self.kinds, a) for a in range(len(site.adapter_ids))]
        listed = [table.moves for table in self.tables]
        self.remaining = Remaining(self.kinds, listed, self.switches)
        radix = [len(kind.jobs) + 1 for kind in self.kinds]
        self.strides = np.cumprod([1, *radix], dtype=object)
        self.states = int(self.strides[-1]) * (len(site.adapter_ids) + 1)
        self.radix = radix
        self.horizon = site.horizon

    @property
    def encodable(self) -> bool:
        """Whether a state fits a 64-bit key."""
        return self.states < 2**62

    def run(self, known: float, beam: int, most: int, stop: Callable[[], Stop | None]) -> Pass:
        """One pass over all layers.

        Args:
            known: Loss to beat; infinity where nothing is known.
            beam: Labels kept a layer.
            most: Labels kept in all.
            stop: Asked now and then whether to break off.
        """
        jobs = len(self.problem.jobs)
        waiting: list[list[Labels]] = [[] for _ in range(jobs + 1)]
        waiting[0].append(self._first())
        kept: list[Labels] = []
        best, expanded, cut, why = known, 0, np.inf, None
        for layer in range(jobs):
            labels = self._settle(waiting[layer], best)
            waiting[layer] = []
            limit = min(beam, max(1, (most - expanded) // (jobs - layer)))
            if len(labels) > limit:
                order = np.argpartition(labels.promise, limit)
                cut = min(cut, float(labels.promise[order[limit:]].min()))
                labels = labels.take(np.sort(order[:limit]))
            kept.append(labels)
            expanded += len(labels)
            for grown in self._expand(labels, layer):
                why = stop()
                if why is not None:
                    break
                best = self._file(grown, waiting, best)
            if why is not None:
                cut = min([cut, *(float(p.promise.min()) for p in _pending(labels, waiting))])
                break
        ends = [part for part in waiting[jobs] if len(part)]
        found = Labels.joined(ends) if ends else None
        batches = None
        if found is not None:
            row = int(np.argmin(found.loss))
            if found.loss[row] < known:
                best = float(found.loss[row])
                batches = self._trace(found, row, kept)
        bound = min(best, cut)
        return Pass(best, batches, bound, why is None and cut >= best, expanded, why)

    # -- states ----------------------------------------------------------------------------------

    def _first(self) -> Labels:
        held = next(iter(self.problem.site.gpus[0].resident), len(self.problem.site.adapter_ids))
        zero, none = np.zeros(1, np.int64), np.zeros(1)
        return Labels(zero, zero + held, zero, none, none, zero, zero, zero, zero)

    def counts(self, key: Ints) -> Ints:
        """Jobs dealt with, one row a class."""
        return np.array(
            [(key // int(s)) % r for s, r in zip(self.strides, self.radix, strict=False)],
            dtype=np.int64,
        ).reshape(len(self.radix), len(key))

    def _settle(self, parts: list[Labels], best: float) -> Labels:
        """A layer's labels without those that are dominated or too dear."""
        if not parts:
            return self._first().take(np.zeros(0, np.int64))
        labels = Labels.joined(parts)
        labels = labels.take(labels.promise < _below(best))
        labels = labels.take(_undominated(labels))
        shadow = self.switches
        return labels.take(_unshadowed(labels, shadow.worst_ticks, shadow.worst_price))

    # -- moves -----------------------------------------------------------------------------------

    def _expand(self, labels: Labels, layer: int) -> Iterator[Labels]:
        """The labels that rejecting a job, or a batch, makes of these; in parts."""
        if not len(labels):
            return
        counts = self.counts(labels.key)
        for q, kind in enumerate(self.kinds):
            if kind.reject_loss is not None:
                yield self._reject(labels, counts, q, layer)
        for table in self.tables:
            at_once = max(1, PAIRS // max(1, len(table.moves)))
            for first in range(0, len(labels), at_once):
                rows = np.arange(first, min(first + at_once, len(labels)))
                yield self._batches(labels, counts, rows, table, layer)

    def _reject(self, labels: Labels, counts: Ints, q: int, layer: int) -> Labels:
        rows = np.flatnonzero(counts[q] < len(self.kinds[q].jobs))
        counts = counts[:, rows]
        counts[q] += 1
        return self._made(
            Labels(
                key=labels.key[rows] + int(self.strides[q]),
                held=labels.held[rows],
                free=labels.free[rows],
                loss=labels.loss[rows] + (self.kinds[q].reject_loss or 0.0),
                promise=np.zeros(0),
                layer=np.full(len(rows), layer),
                parent=rows,
                move=np.full(len(rows), -1 - q),
                start=labels.free[rows],
            ),
            counts,
        )

    def _batches(
        self, labels: Labels, counts: Ints, rows: Ints, table: MoveTable, layer: int
    ) -> Labels:
        """Every batch of one adapter, on every one of these labels for which the jobs are left."""
        left = np.array([len(self.kinds[q].jobs) for q in table.classes])
        left = left[:, None] - counts[list(table.classes)][:, rows]
        places, moves = np.nonzero((table.takes[None, :, :] <= left.T[:, None, :]).all(axis=2))
        rows = rows[places]
        held = labels.held[rows]
        start = labels.free[rows] + self.switches.ticks[held, table.adapter]
        loss = labels.loss[rows] + self.switches.price[held, table.adapter] + table.fixed[moves]
        key, after = labels.key[rows], counts[:, rows]
        taken = {q: table.takes[moves, i] for i, q in enumerate(table.classes)}
        for q, n in taken.items():
            # The last one taken decides; where none is taken, the first arrival of all is no later.
            last = np.where(n > 0, after[q] + n - 1, 0)
            start = np.maximum(start, np.where(n > 0, self.kinds[q].arrivals[last], 0))
        for q, n in taken.items():
            kind = self.kinds[q]
            arrived = kind.before[after[q] + n] - kind.before[after[q]]
            loss += kind.price * (n * start - arrived)
            key = key + n * int(self.strides[q])
            after[q] += n
        for q, members, offsets in table.late:
            kind = self.kinds[q]
            latency = start + offsets[moves] - kind.arrivals[0]
            loss += np.where(latency > kind.jobs[0].deadline, members[moves] * kind.late_loss, 0.0)
        free = start + table.duration[moves]
        made = self._made(
            Labels(
                key=key,
                held=np.full(len(rows), table.adapter),
                free=free,
                loss=loss,
                promise=np.zeros(0),
                layer=np.full(len(rows), layer),
                parent=rows,
                move=moves,
                start=start,
            ),
            after,
        )
        return made if self.horizon is None else made.take(made.free <= self.horizon)

    def _made(self, labels: Labels, counts: Ints) -> Labels:
        """New labels, with what they promise."""
        labels.promise = labels.loss + self.remaining(counts, labels.held, labels.free)
        return labels

    def _file(self, grown: Labels, waiting: list[list[Labels]], best: float) -> float:
        """Put new labels into their layers; the best loss known then."""
        grown = grown.take(grown.promise < _below(best))
        if not len(grown):
            return best
        dealt_with = self.counts(grown.key).sum(axis=0)
        for layer in np.unique(dealt_with):
            labels = grown.take(dealt_with == layer)
            if layer == len(waiting) - 1:
                row = int(np.argmin(labels.loss))
                if labels.loss[row] < _below(best):
                    waiting[layer] = [labels.take(np.array([row]))]
                    best = float(labels.loss[row])
                continue
            parts = waiting[layer]
            parts.append(labels)
            if sum(map(len, parts)) > CHUNK:
                waiting[layer] = [self._settle(parts, best)]
        return best

    def _trace(self, labels: Labels, row: int, kept: list[Labels]) -> tuple[PlannedBatch, ...]:
        """The batches that lead to a label."""
        batches = []
        while labels.key[row]:
            layer, parent, move = (
                int(labels.layer[row]),
                int(labels.parent[row]),
                int(labels.move[row]),
            )
            if move >= 0:
                counts = self.counts(kept[layer].key[parent : parent + 1])[:, 0]
                members = []
                chosen = self.tables[int(labels.held[row])].moves[move]
                for q, option, n, _ in chosen.parts:
                    at = int(counts[q])
                    members += [(job.index, option) for job in self.kinds[q].jobs[at : at + n]]
                    counts[q] += n
                batches.append(
                    PlannedBatch(
                        int(labels.start[row]),
                        tuple(sorted(members)),
                        frozenset((chosen.adapter,)),
                    )
                )
            labels, row = kept[layer], parent
        return tuple(reversed(batches))


def _below(best: float) -> float:
    """Promises from here on beat nothing: rounding must not pass for an improvement."""
    return best - 1e-9 * max(1.0, abs(best)) if np.isfinite(best) else np.inf


def _pending(labels: Labels, waiting: list[list[Labels]]) -> list[Labels]:
    return [part for parts in ([labels], *waiting[:-1]) for part in parts if len(part)]


def _ranks(loss: Floats) -> Ints:
    """Losses as ranks; what differs by rounding alone has one rank."""
    _, ranks = np.unique(np.round(loss, 10), return_inverse=True)
    found: Ints = ranks.astype(np.int64)
    return found


def _undominated(labels: Labels) -> NDArray[np.int64]:
    """Rows that no other label of the same state and adapter matches in time and loss."""
    ranks = _ranks(labels.loss)
    order = np.lexsort((ranks, labels.free, labels.held, labels.key))
    key, held, ranks = labels.key[order], labels.held[order], ranks[order]
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = (key[1:] != key[:-1]) | (held[1:] != held[:-1])
    least = _least_before(ranks, np.cumsum(fresh))
    return np.asarray(order[fresh | (ranks < least)])


def _unshadowed(labels: Labels, ticks: int, price: float) -> NDArray[np.int64]:
    """Rows that no label of the same state beats even after the dearest difference in switching."""
    count = len(labels)
    both = np.concatenate((labels.loss, labels.loss + price + 1e-9))
    ranks = _ranks(both)
    key = np.concatenate((labels.key, labels.key))
    free = np.concatenate((labels.free, labels.free + ticks))
    shadow = np.repeat([1, 0], count)  # a shadow of the same tick comes first
    order = np.lexsort((shadow, free, key))
    key, shade = key[order], shadow[order] == 0
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = key[1:] != key[:-1]
    never = int(ranks.max(initial=0)) + 1
    least = _least_before(np.where(shade, ranks[order], never), np.cumsum(fresh))
    keep = ~shade & (fresh | (ranks[order] < least))
    return np.sort(order[keep])


def _least_before(ranks: Ints, group: Ints) -> Ints:
    """The least rank before each row within its group; for a group's first row, past any rank."""
    span = int(ranks.max(initial=0)) + 2
    down = ranks - group * span  # later groups lie wholly below earlier ones
    least = np.minimum.accumulate(down)
    before = np.concatenate(([span], least[:-1])) if len(ranks) else least
    return np.asarray(before + group * span)
