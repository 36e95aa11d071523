"""Small systems with one GPU, and kinds of requests on them."""

from __future__ import annotations

from typing import Any

from pats_opt.model.problem import Site
from pats_solvers.semi_markov.arrivals import RequestKind
from tests.simulate.scripted import problem_of
from tests.support.zoo import adapter, document, gpu, request

#: An option of so many steps, of quality 1.
Options = tuple[tuple[int, float], ...]


def system(
    rates: dict[str, float],
    *,
    options: Options | dict[str, Options] = ((2, 1.0),),
    batch: int = 1,
    load_s: float = 1.0,
    weights: dict[str, float] | None = None,
    **settings: Any,
) -> tuple[Site, list[RequestKind]]:
    """Return a site and its kinds of requests.

    A tick, a step and a unit of latency are alike: a tick is a second, in which a step is made
    whatever the batch, and a second of latency costs 1.

    Args:
        rates: Arrivals per tick of each kind; a kind's adapter is the first letter of its name.
        options: Steps and quality of options, of all or of each kind.
        batch: Largest batch.
        load_s: Seconds of every load.
        weights: Weight of each kind.
        settings: Others of ``switching``.
    """
    requests = [
        request(
            name,
            adapter=name[0],
            demand={"vram_gib": 1.0, "batch": 1.0},
            options=[
                {"steps": steps, "quality": quality}
                for steps, quality in (options[name] if isinstance(options, dict) else options)
            ],
            weight=(weights or {}).get(name, 1.0),
        )
        for name in rates
    ]
    problem = problem_of(
        document(
            *requests,
            adapters=[adapter(name, load_s) for name in sorted({name[0] for name in rates})],
            gpus=[gpu(resident=(), batch=batch)],
            switching={"price_per_s": 0.0, **settings},
        )
    )
    kinds = [
        RequestKind(job.adapter, job.demand, job.options, job.weight, rates[job.id])
        for job in problem.jobs
    ]
    return problem.site, kinds
