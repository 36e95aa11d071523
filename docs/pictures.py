"""Draw the pictures of the README and the guide from real solves: ``python docs/pictures.py``.

Every figure in them comes from a solver and the checker. They are kept in ``docs/pictures``, so
that the README shows them too; a test draws them again and compares what they say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pats_opt import Instance, Problem, Result, solve
from pats_opt.generate import generate
from pats_opt.generate.recipe import Popularity, Recipe
from pats_opt.model.files import write_bytes
from pats_opt.model.instance import (
    Adapter,
    Gpu,
    Option,
    Overlap,
    Request,
    StepsService,
    StepTime,
    Switching,
)
from pats_opt.tables import ScheduleTable
from pats_opt.views import style
from pats_opt.views.gantt import gantt
from pats_opt.views.view import Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOLDER = Path(__file__).parent / "pictures"

WIDTH = 6.4  #: inches; text of 9 points is readable on a phone, where the picture is half as wide


def tiny(
    requests: Sequence[Request], max_resident: int = 1, load_s: float = 3.0, price: float = 0.1
) -> Instance:
    """An instance of one GPU of 24 GiB on which a step of n images takes 0.1 + 0.05 n seconds."""
    adapters = sorted({request.adapter for request in requests})
    return Instance(
        name="tiny",
        tick_s=0.5,
        base_vram_gib=7.0,
        gpus=(Gpu(id="gpu-0", capacity={"vram_gib": 24.0}),),
        adapters=tuple(Adapter(id=name, vram_gib=0.2, load_s=load_s) for name in adapters),
        switching=Switching(max_resident=max_resident, price_per_s=0.1),
        service=StepsService(step_s=StepTime(base=0.1, per_sample=0.05)),
        latency_price_per_s=price,
        requests=tuple(requests),
    )


def request(
    name: str, adapter: str, arrival_s: float = 0.0, steps: int = 20, gib: float = 4.0
) -> Request:
    """A request with one step count."""
    return Request(
        id=name,
        arrival_s=arrival_s,
        adapter=adapter,
        demand={"vram_gib": gib},
        options=(Option(steps=steps, quality=1.0),),
    )


def example() -> Instance:
    """The README's instance: ``generate --requests 12 --adapters 3 --seed 1``."""
    return generate(Recipe(requests=12, popularity=Popularity(adapters=3)), 1)


def gantts(instances: Sequence[tuple[str, Instance, str]], height: float = 1.3) -> Figure:
    """A lane a schedule, below each other on one time axis: (heading, instance, solver)."""
    with style.drawing():
        drawn = style.figure(WIDTH, height * len(instances) + 0.5)
        axes = drawn.subplots(len(instances), 1, sharex=True, squeeze=False)[:, 0]
        ends = []
        for row, (heading, instance, solver) in enumerate(instances):
            problem, result = Problem(instance), solve(instance, solver)
            lane(axes[row], problem, result, heading, row == 0)
            ends.append(max(batch.end for batch in result.replayed) * instance.tick_s)
        axes[-1].set_xlim(0, max(ends) * 1.02)
        axes[-1].set_xlabel("seconds")
    return drawn


def lane(ax: Axes, problem: Problem, result: Result, heading: str, legend: bool) -> None:
    """One schedule."""
    table = ScheduleTable.from_replay(problem, result.replayed, result.loads)
    gantt(ax, Chart.of(table), keys=legend)
    ax.set_title(heading.format(loss=result.loss))
    ax.grid(True, axis="x")


def optimum_and_online() -> Figure:
    """The optimum and an online policy on the same requests."""
    instance = example()
    best, online = (solve(instance, name).loss for name in ("auto", "pats"))
    assert best is not None
    assert online is not None
    more = 100 * (online / best - 1)
    return gantts(
        [
            ("Offline optimum, proven: loss {loss:.2f}", instance, "auto"),
            (f"pats, online: loss {{loss:.2f}}, {more:.0f} % more", instance, "pats"),
        ],
        height=1.5,
    )


def batch() -> Figure:
    """One batch, whose members leave one after another."""
    steps = {"a": 20, "b": 30, "c": 45, "d": 60}
    instance = tiny([request(f"{k}: {n} steps", "ink", steps=n) for k, n in steps.items()])
    return gantts([("They start together; each leaves after its own steps", instance, "auto")], 2.0)


def switching() -> Figure:
    """The same requests in order of arrival, and in the best order."""
    instance = tiny(
        [request(f"{'ip'[k % 2]}{k // 2}", ("ink", "pixel")[k % 2], 0.5 * k) for k in range(8)]
    )
    return gantts(
        [
            ("In order of arrival (fifo): loss {loss:.2f}", instance, "fifo"),
            ("Optimum: loss {loss:.2f}", instance, "auto"),
        ]
    )


def memory() -> Figure:
    """Batches as bins: what each holds of the GPU's memory at its start."""
    sizes = (9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 3.0)
    instance = tiny([request(f"r{k}", "ink", gib=gib) for k, gib in enumerate(sizes)])
    problem, result = Problem(instance), solve(instance)
    capacity = instance.gpus[0].capacity["vram_gib"]
    with style.drawing():
        drawn = style.figure(WIDTH, 3.0)
        ax = drawn.subplots()
        for column, played in enumerate(result.replayed):
            pieces = [("model", instance.base_vram_gib, style.OTHER), ("", 0.2, style.FAINT)]
            pieces += [
                (
                    f"{job.id}: {instance.requests[job.index].demand['vram_gib']:g}",
                    gib,
                    style.BASE_COLOURS[0],
                )
                for job, _, _ in played.members
                for gib in (instance.requests[job.index].demand["vram_gib"],)
            ]
            floor = 0.0
            for text, gib, colour in pieces:
                ax.bar(column, gib, bottom=floor, color=colour, edgecolor="white", width=0.7)
                ax.text(
                    column,
                    floor + gib / 2,
                    text,
                    ha="center",
                    va="center",
                    fontsize=8,
                    color=style.on(colour),
                )
                floor += gib
        ax.axhline(capacity, color=style.INK, linestyle="--", linewidth=1.2)
        ax.annotate(
            f"capacity {capacity:g} GiB",
            (-0.4, capacity),
            (0, 3),
            textcoords="offset points",
            fontsize=8,
        )
        ax.set_xticks(
            range(len(result.replayed)), [f"batch {k + 1}" for k in range(len(result.replayed))]
        )
        ax.set_ylim(0, capacity * 1.12)
        ax.set_ylabel("GiB")
        ax.set_title(
            f"{len(problem.jobs)} requests of 3 to 9 GiB in {len(result.replayed)} batches"
        )
    return drawn


def cache() -> Figure:
    """Room for one adapter, and for three."""
    wanted = ("ink", "pixel", "oil") * 3
    requests = [request(f"{name[0]}{k // 3}", name, 3.0 * k) for k, name in enumerate(wanted)]
    heading = "{}: {} loads, loss {{loss:.2f}}"
    rows = []
    for places, words in ((1, "One adapter fits"), (3, "Three fit")):
        instance = tiny(requests, max_resident=places)
        loads = sum(len(played.batch.load) for played in solve(instance).replayed)
        rows.append((heading.format(words, loads), instance, "auto"))
    return gantts(rows)


def overlap() -> Figure:
    """The same requests where a GPU stops for each load, and where it loads beside serving."""
    names = ("ink", "pixel", "oil")
    wanted = [request(f"{names[k % 3][0]}{k // 3}", names[k % 3], 2.0 * k) for k in range(8)]
    blocking = tiny(wanted, max_resident=2)
    switching = replace(blocking.switching, overlap=Overlap(channels=1))
    beside = replace(blocking, switching=switching)
    return gantts(
        [
            ("The GPU stops to load: loss {loss:.2f}", blocking, "auto"),
            ("It loads beside serving: loss {loss:.2f}", beside, "auto"),
        ],
        height=1.5,
    )


def tradeoff() -> Figure:
    """What a second of waiting is worth decides how much quality is given up."""
    instance = example()
    prices = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
    with style.drawing():
        drawn = style.figure(WIDTH, 3.2)
        ax = drawn.subplots()
        points = {}
        for price in prices:
            priced = replace(instance, latency_price_per_s=price)
            points[place(solve(priced))] = f"{price:g}"
        ax.plot(
            *zip(*sorted(points), strict=True),
            "o-",
            color=style.BASE_COLOURS[0],
            label="optimum, at this price of a second",
        )
        for point, text in points.items():
            ax.annotate(text, point, (6, 4), textcoords="offset points", fontsize=8)
        for name, mark, colour in (("price-index", "s", 2), ("pats", "^", 5), ("fifo", "D", 3)):
            ax.plot(
                *place(solve(instance, name)),
                mark,
                color=style.BASE_COLOURS[colour],
                label=f"{name}, online",
            )
        ax.set_xlabel("mean latency, s")
        ax.set_ylabel("loss without latency")
        ax.set_xlim(0)
        ax.set_ylim(0, 6)
        ax.grid(True)
        ax.set_title("Latency against quality and switching")
        ax.legend()
    return drawn


def place(result: Result) -> tuple[float, float]:
    """Mean latency, and the loss of quality and switching."""
    assert result.metrics is not None
    assert result.terms is not None
    return result.metrics.latency_mean_s, result.terms.quality + result.terms.switching


#: File name -> (how it is drawn, text for readers without the picture).
PICTURES: dict[str, tuple[Callable[[], Figure], str]] = {
    "optimum-and-online": (
        optimum_and_online,
        "Two schedules of the same twelve requests on one GPU. The optimum switches less often and "
        "ends earlier than the online policy pats.",
    ),
    "batch": (batch, "Four bars that start together and end one after another."),
    "switching": (
        switching,
        "Served in order of arrival, the GPU switches adapters all the time; the optimum serves "
        "all requests of one adapter, then all of the other.",
    ),
    "memory": (
        memory,
        "A column a batch: the model, an adapter and requests stacked up to 24 GiB.",
    ),
    "cache": (
        cache,
        "With room for one adapter the GPU loads again and again; with room for three, each once.",
    ),
    "overlap": (
        overlap,
        "Two optimal schedules of the same eight requests for three adapters, of which two fit. In "
        "the first the GPU stops for each load and takes one adapter after another; in the second "
        "loads run below the batches, and requests wait less.",
    ),
    "tradeoff": (
        tradeoff,
        "Optima at rising prices of latency: less waiting costs more quality and switching. The "
        "online policies lie above that line.",
    ),
}


def drawn(name: str) -> bytes:
    """A picture as an SVG file."""
    draw, description = PICTURES[name]
    return style.document(style.svg(draw(), name, description)).encode()


def main(folder: Path = FOLDER) -> None:
    """Write all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        write_bytes(folder / f"{name}.svg", drawn(name))


if __name__ == "__main__":
    main()
