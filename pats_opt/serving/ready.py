"""Adapters as the scheduler has them: those that are served, and what the workers have read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from msgspec.structs import replace

from pats_opt.execute.adapter_set import AdapterSet
from pats_opt.execute.inbox import AdaptersCommand
from pats_opt.model.problem import Problem
from pats_opt.serving.adapters import AdapterChange


class ReadyAdapters:
    """Adapters that come and go, and the progress of the workers in reading them.

    Args:
        problem: The instance on the grid, without requests, as it is at first.
        adapters: The adapters that workers have at first.

    Attributes:
        problem: The instance as it is now.
        adapters: The adapters that workers are to have now.
        refused: Adapters that a worker cannot load, and why.
    """

    def __init__(self, problem: Problem, adapters: AdapterSet) -> None:
        self.problem, self.adapters = problem, adapters
        self._number = 0  # of the last change
        self._unread: dict[str, int] = {}  # adapter -> the change that brought it
        # Last change that each worker has done; None of a dead one.
        self._done: list[int | None] = [0 for _ in problem.site.gpus]
        self._deaths: Counter[str] = Counter()  # of workers that read an adapter
        self.refused: dict[str, str] = {}

    @property
    def command(self) -> AdaptersCommand:
        """The command that workers have to carry out."""
        return AdaptersCommand(self._number, self.adapters)

    def change(self, given: AdapterChange, needed: Collection[str]) -> None:
        """Change the adapters.

        Args:
            given: Those that are served from now on.
            needed: Others that stay, as a GPU holds them or a request waits for them.
        """
        before, old = self.problem.instance, self.adapters
        names = {adapter.id for adapter in given.adapters}
        kept = [a for a in before.adapters if a.id in needed and a.id not in names]
        self.problem = Problem(replace(before, adapters=(*given.adapters, *kept)))
        self.adapters = new = old.only([a.id for a in kept if a.id in old]).joined(given.files)
        self._number += 1
        self._unread |= {name: self._number for name in new if name not in old}
        self._unread = {name: number for name, number in self._unread.items() if name in new}
        self.refused = {name: why for name, why in self.refused.items() if name in new}

    def read(self, gpu: int, number: int) -> list[str]:
        """Note that a worker has done a change; the adapters that all workers have read now."""
        self._done[gpu] = number
        return self._settle()

    def blame(self, gpu: int) -> Mapping[str, str]:
        """Note that a worker dies now; adapters during whose reading two have, and an error."""
        done = self._done[gpu]
        self._deaths = Counter({name: self._deaths[name] for name in self._unread})
        self._deaths.update(
            [n for n, number in self._unread.items() if done is None or number > done]
        )
        twice = [name for name, deaths in self._deaths.items() if deaths > 1]
        return dict.fromkeys(twice, "a worker died twice while it read this adapter")

    def lose(self, gpu: int) -> list[str]:
        """Note that a worker is dead, so that nobody waits for it; likewise."""
        self._done[gpu] = None
        return self._settle()

    def _settle(self) -> list[str]:
        oldest = min([done for done in self._done if done is not None], default=-1)
        read = [name for name, number in self._unread.items() if number <= oldest]
        for name in read:
            del self._unread[name]
        return [name for name in read if name not in self.refused]

    def is_ready(self, adapter: str) -> bool:
        """Whether every worker can load an adapter."""
        return adapter not in self._unread and adapter not in self.refused
