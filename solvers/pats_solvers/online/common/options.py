"""Rules for the option that a request gets, which policies share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from pats_opt.model.problem import Job, Site

#: Names of the rules, for parameters.
OptionRule = Literal["best", "fewest", "most", "pruned", "priced"]

#: The option of a job.
Chooser = Callable[[Job], int]


def chooser(rule: OptionRule, site: Site, threshold: float) -> Chooser:
    """Return the rule of a name on one site.

    Args:
        rule: ``best`` quality; ``fewest`` or ``most`` steps; ``pruned``: the documents' rule, the
            fewest steps for simple requests and the most for others; ``priced``: the least
            quality loss plus latency price x weight x seconds of service alone.
        site: Where jobs are served.
        threshold: Complexity below which ``pruned`` calls a request simple.
    """
    if rule == "pruned":
        return partial(pruned, threshold)
    if rule == "priced":
        return partial(priced, site)
    return {"best": best_quality, "fewest": fewest_steps, "most": most_steps}[rule]


def fewest_steps(job: Job) -> int:
    """Return the option with the fewest steps; of several, the one of best quality."""
    return least([(option.steps, -option.quality) for option in job.options])


def most_steps(job: Job) -> int:
    """Return the option with the most steps; of several, the one of best quality."""
    return least([(-option.steps, -option.quality) for option in job.options])


def best_quality(job: Job) -> int:
    """Return the option of best quality; of several, the one with the fewest steps."""
    return least([(-option.quality, option.steps) for option in job.options])


def least(values: list[tuple[float, float]]) -> int:
    """Return the place of the smallest of ``values``, the first of several."""
    return values.index(min(values))


def pruned(threshold: float, job: Job) -> int:
    """Return the fewest steps where the complexity is below ``threshold``, else the most."""
    simple = job.complexity is not None and job.complexity < threshold
    return fewest_steps(job) if simple else most_steps(job)


def priced(site: Site, job: Job) -> int:
    """Return the option that costs least in quality and own latency, served alone at once."""
    a_second = site.latency_price_per_s * job.weight
    return least(
        [
            (option.quality_loss + a_second * service_s(site, job, o), option.steps)
            for o, option in enumerate(job.options)
        ]
    )


def service_s(site: Site, job: Job, option: int) -> float:
    """Seconds that the job takes alone (the whole tick of a ``slot`` batch)."""
    return site.clock.overhead_s(1) + steps_s(site, job, option)


def steps_s(site: Site, job: Job, option: int) -> float:
    """Seconds of the job's steps alone (the whole tick of a ``slot`` batch)."""
    clock = site.clock
    return site.tick_s if clock.slotted else job.options[option].steps * clock.step_s(1)


def due_after(job: Job) -> int:
    """Ticks from arrival until ``job`` is due; 0 without a deadline.

    Every second of its latency is priced, so one without a deadline is due when it arrives.
    """
    return 0 if job.deadline is None else job.deadline
