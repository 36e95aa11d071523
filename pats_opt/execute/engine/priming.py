"""Latents that options with skipped steps start from, made before the run.

They come from the request's own prompt and seed, so its image is that of all its steps. A run with
a folder of latents (:mod:`reuse`) has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import groupby

from pats_opt.errors import InputError
from pats_opt.execute.engine.latents import Latents
from pats_opt.execute.engine.sampling import Sampling, adapter_of
from pats_opt.execute.engine.stopwatch import Stopwatch
from pats_opt.execute.record import Phase, Span
from pats_opt.execute.work import Finished, Member

#: Members whose latents are primed at a time.
PRIMED_AT_ONCE = 4

#: Runs members up to where their options start, and hands over those refused and those done.
Sample = Callable[[Sequence[Member], Callable[[Finished], None], Callable[[Sampling], None]], None]


def prime(
    members: Iterable[Member],
    latents: Latents,
    loaded: Callable[[str | None], AbstractContextManager[None]],
    sample: Sample,
    watch: Callable[[], Stopwatch],
) -> tuple[Span, ...]:
    """Make the latents that are not there yet.

    Args:
        members: Members that skip steps.
        latents: Where latents are kept.
        loaded: Has an adapter resident for a while.
        sample: Runs members.
        watch: Starts a stopwatch.

    Raises:
        InputError: A request cannot be run.
    """

    def refuse(done: Finished) -> None:
        raise InputError(f"request {done.member.id!r} cannot be primed: {done.error}")

    def keep(sampling: Sampling) -> None:
        if sampling.error is not None:
            refuse(Finished(member=sampling.member, error=sampling.error))
        latents.keep(sampling.member, sampling.latents)

    spans: list[Span] = []
    missing = [m for m in members if latents.get(m) is None]
    for adapter, group in groupby(sorted(missing, key=adapter_of), key=adapter_of):
        some = list(group)
        with loaded(adapter or None):
            for i in range(0, len(some), PRIMED_AT_ONCE):
                chunk = some[i : i + PRIMED_AT_ONCE]
                whole = watch()
                with whole.span(Phase.PRIME, n=len(chunk), ids=tuple(m.id for m in chunk)):
                    sample(chunk, refuse, keep)
                spans += whole.read()
    return tuple(spans)
