"""A campaign: attacks in worker processes that share its time, counted, resumed and reported.

Each try is one call in a process of the pool: one that crashes or hangs is a finding, and the
campaign goes on. What was done is kept in ``progress.json`` of the folder, and each new finding in
a file of its own, with the command that repeats it.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import msgspec

from pats_opt.model.files import encode, write_bytes
from pats_opt.runs.pool import WorkerError, WorkerPool, WorkerTimeoutError, completed
from tests.campaign.attack import Attack, Counts, Finding

PROGRESS = "progress.json"

#: Seeds of one campaign; the next one's begin after them.
SEEDS = 1_000_000

#: Seconds between two writes of the progress, and between two lines about it.
SAVE_S, SAY_S = 5.0, 30.0

#: Longest wait for the smaller form of a finding, in seconds.
SHRINK_S = 300.0


class Tally(msgspec.Struct):
    """What one attack has done: its tries, the seconds they took, and the counts."""

    tries: int = 0
    seconds: float = 0.0
    counts: dict[str, int] = {}


class Found(msgspec.Struct):
    """A finding and how often it was met."""

    finding: Finding
    times: int = 1


class Progress(msgspec.Struct):
    """State of a campaign, kept in its folder."""

    seed: int
    seconds: float = 0.0
    tallies: dict[str, Tally] = {}
    found: dict[str, Found] = {}


def attempt(attack: Attack, seed: int) -> tuple[list[Finding], Counts, float]:
    """One try, with what it found and counted and the seconds that it took; runs in a worker."""
    began, counts = time.monotonic(), Counter[str]()
    return attack.found(seed, counts), counts, time.monotonic() - began


class Campaign:
    """A campaign in a folder.

    Args:
        folder: Where its progress and findings are kept; progress that is there goes on.
        seed: Its seed, of which those of all tries follow.
        attacks: The attacks that share its time by their weights.
        say: Receives lines for the user.
    """

    def __init__(
        self, folder: Path, seed: int, attacks: Iterable[Attack], say: Callable[[str], None]
    ) -> None:
        self.folder, self.attacks, self.say = folder, tuple(attacks), say
        kept = folder / PROGRESS
        self.progress = Progress(seed)
        if kept.exists():
            self.progress = msgspec.json.decode(kept.read_bytes(), type=Progress)
        for attack in self.attacks:
            self.progress.tallies.setdefault(attack.name, Tally())
        self._saved = self._said = 0.0

    def run(self, seconds: float, jobs: int) -> None:
        """Attack until the campaign has lasted this long, earlier parts included."""
        before, began = self.progress.seconds, time.monotonic()
        running: dict[Future[tuple[list[Finding], Counts, float]], tuple[Attack, int]] = {}
        try:
            with WorkerPool(jobs) as pool:
                while running or self.progress.seconds < seconds:
                    while len(running) < jobs and self.progress.seconds < seconds:
                        attack, seed = self._next()
                        call = pool.submit(attempt, attack, seed, timeout_s=attack.timeout_s)
                        running[call] = attack, seed
                    call = next(completed(running))
                    self._record(pool, call, *running.pop(call))
                    self.progress.seconds = before + time.monotonic() - began
                    if time.monotonic() > self._saved + SAVE_S:
                        self._save()
        finally:
            self._save()

    def _next(self) -> tuple[Attack, int]:
        """The attack furthest behind its share of the time, and the seed of its next try."""
        tallies = self.progress.tallies
        attack = min(self.attacks, key=lambda a: tallies[a.name].seconds / a.weight)
        tally = tallies[attack.name]
        tally.tries += 1
        tally.seconds += 0.1  # until it has ended; else all jobs would begin the same attack
        return attack, self.progress.seed * SEEDS + tally.tries

    def _record(
        self,
        pool: WorkerPool,
        call: Future[tuple[list[Finding], Counts, float]],
        attack: Attack,
        seed: int,
    ) -> None:
        tally = self.progress.tallies[attack.name]
        try:
            found, counts, seconds = call.result()
        except WorkerError as error:
            kind = "hang" if isinstance(error, WorkerTimeoutError) else f"crash: {error}"
            files = {"output.txt": error.output}
            found = [Finding(kind=kind, problem=str(error), files=files)]
            found[0].attack, found[0].seed = attack.name, seed
            counts, seconds = Counter(), error.seconds
        tally.seconds += seconds - 0.1
        tally.counts = dict(Counter(tally.counts) + counts)
        for finding in found:
            self._keep(pool, attack, finding)

    def _keep(self, pool: WorkerPool, attack: Attack, finding: Finding) -> None:
        """Count an equal finding; shrink a new one and write its file."""
        key = re.sub(r"[^\w.=-]+", "-", f"{attack.name}-{finding.kind}")[:120]
        if (known := self.progress.found.get(key)) is not None:
            known.times += 1
            return
        if attack.shrink is not None:
            with suppress(Exception):  # it stays as it is where it cannot be made smaller
                call = pool.submit(attack.shrink, finding, timeout_s=SHRINK_S)
                smaller = next(completed([call])).result()
                finding = msgspec.structs.replace(
                    finding, problem=smaller.problem, files=smaller.files
                )
        self.progress.found[key] = Found(finding)
        path = self.folder / f"{key}.json"
        write_bytes(path, encode({"repeat": finding.command, **msgspec.to_builtins(finding)}))
        self.say(f"FOUND {finding.attack}: {finding.kind}: {finding.problem[:500]}\n  {path}")

    def _save(self) -> None:
        write_bytes(self.folder / PROGRESS, encode(self.progress))
        self._saved = time.monotonic()
        if self._saved < self._said + SAY_S:
            return
        self._said = self._saved
        tries = sum(tally.tries for tally in self.progress.tallies.values())
        minutes, found = self.progress.seconds / 60, len(self.progress.found)
        self.say(f"{minutes:.1f} minutes, {tries:,} tries, {found} findings")
