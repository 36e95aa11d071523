"""Which option a request gets: rules that policies share."""

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
    """The rule of a name on one site.

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
    """The option with the fewest steps; of several, the one that looks best."""
    return min(
        range(len(job.options)), key=lambda o: (job.options[o].steps, -job.options[o].quality)
    )


def most_steps(job: Job) -> int:
    """The option with the most steps; of several, the one that looks best."""
    return max(
        range(len(job.options)), key=lambda o: (job.options[o].steps, job.options[o].quality)
    )


def best_quality(job: Job) -> int:
    """The option that looks best; of several, the one with the fewest steps."""
    return max(
        range(len(job.options)), key=lambda o: (job.options[o].quality, -job.options[o].steps)
    )


def pruned(threshold: float, job: Job) -> int:
    """The fewest steps where the complexity is known and below ``threshold``, else the most."""
    simple = job.complexity is not None and job.complexity < threshold
    return fewest_steps(job) if simple else most_steps(job)


def priced(site: Site, job: Job) -> int:
    """The option that costs least in quality and in its own latency, served alone at once."""
    a_second = site.latency_price_per_s * job.weight
    return min(
        range(len(job.options)),
        key=lambda o: (
            job.options[o].quality_loss + a_second * service_s(site, job, o),
            job.options[o].steps,
        ),
    )


def service_s(site: Site, job: Job, option: int) -> float:
    """Seconds that the job takes alone (the whole tick of a ``slot`` batch)."""
    return site.clock.overhead_s(1) + steps_s(site, job, option)


def steps_s(site: Site, job: Job, option: int) -> float:
    """Seconds of the job's steps alone (the whole tick of a ``slot`` batch)."""
    clock = site.clock
    return site.tick_s if clock.slotted else job.options[option].steps * clock.step_s(1)
