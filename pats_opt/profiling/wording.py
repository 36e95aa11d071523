"""What was measured and fitted, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean
from typing import Any

import msgspec

from pats_opt.profiling import figures
from pats_opt.profiling.refit import Fit
from pats_opt.profiling.run import Outcome
from pats_opt.wording import number, percent


def document(outcome: Outcome) -> dict[str, Any]:
    """An outcome for JSON."""
    return {
        "profile": msgspec.to_builtins(outcome.profile),
        "complete": not outcome.missing,
        "missing": outcome.missing,
        "seconds": outcome.raw.seconds,
        "files": outcome.files,
        "fit": None if outcome.fit is None else fit_document(outcome.fit),
    }


def fit_document(found: Fit) -> dict[str, Any]:
    """A fit for JSON; its residuals as a list of rows."""
    made: dict[str, Any] = msgspec.to_builtins(found)
    made["residuals"] = [
        {"complexity": level, "steps": steps, "residual": residual}
        for level, by_steps in found.residuals.items()
        for steps, residual in by_steps.items()
    ]
    return made


def lines(outcome: Outcome) -> Iterator[str]:
    """An outcome for people: the figures, then their sources."""
    profile, medians = outcome.profile, figures.steps(outcome.raw).medians
    yield f"{profile.name}: {profile.device}"
    yield "step, s     " + ", ".join(f"{n}: {number(s)}" for n, s in medians.items())
    loads = [f"{tier} {number(load.median)}" for tier, load in profile.load.tiers.items()]
    yield f"switch, s   resident {number(profile.load.activate_s)}, " + ", ".join(loads)
    for key, text in profile.sources.items():
        yield f"{key:<11} {text}"
    if outcome.fit is not None:
        yield from fit_lines(outcome.fit)


def fit_lines(found: Fit) -> Iterator[str]:
    """The fitted quality model for people, and what speaks against it."""
    quality = found.quality
    yield (
        f"quality     {percent(quality.converged)} after {number(quality.simple_steps)} steps "
        f"(simple prompts) to {number(quality.complex_steps)} (complex ones)"
    )
    yield (
        f"fit         {found.points} points, residuals: rms {number(found.rms, 3)}, largest "
        f"{number(found.worst, 3)}; {percent(found.explained)} of the variance explained; "
        f"20 and 50 steps would leave rms {number(found.default_rms, 3)}"
    )
    counts = sorted({steps for by_steps in found.residuals.values() for steps in by_steps})
    means = [mean(r[n] for r in found.residuals.values() if n in r) for n in counts]
    told = ", ".join(f"{n}: {value:+.3f}" for n, value in zip(counts, means, strict=True))
    yield f"by steps    mean residual {told}"
    if found.one_level:
        yield "complexity  one only, so both ends are the same"
    if not found.falls:
        yield "monotone    yes: more steps are never worse"
        return
    worst = max(found.falls, key=lambda fall: fall.by)
    yield (
        f"monotone    no: quality falls {len(found.falls)} times with more steps, most by "
        f"{number(worst.by, 3)} from {worst.fewer} to {worst.steps} steps at complexity "
        f"{worst.complexity:g}"
    )
