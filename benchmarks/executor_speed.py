"""How the executor's engine does against diffusers' pipeline, on the same work in one run.

    python benchmarks/executor_speed.py                                      # tiny, on the CPU
    python benchmarks/executor_speed.py --device cuda --model sdxl-random    # full size, on a GPU

writes ``benchmarks/results/executor_speed_DEVICE.csv`` and ``.md``. Contenders take turns, and each
figure is the median of its turns, so that a machine that slows down slows all of them. Random
weights: the work is that of the real model, the images are not.
"""

from __future__ import annotations

import argparse
import csv
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from core_speed import machine

from pats_opt.execute.adapters import make_adapters
from pats_opt.execute.engine import open_engine
from pats_opt.execute.engine.model import open_pipeline, quiet
from pats_opt.execute.engine.sdxl import SdxlEngine
from pats_opt.execute.record import Phase, Tier
from pats_opt.execute.work import EngineSettings, Finished, Member, Shape

RESULTS = Path(__file__).parent / "results"
GUIDANCE = 5.0
ADAPTERS = ("first", "second")

Row = dict[str, Any]


class Bench:
    """Both contenders on one device.

    Args:
        model: ``tiny`` or ``sdxl-random``.
        device: ``cpu`` or ``cuda``.
        size: Width and height of the images.
        sizes: Batch sizes that will be run.
        folder: For the adapters' files.
    """

    def __init__(
        self, model: str, device: str, size: int, sizes: Sequence[int], folder: Path
    ) -> None:
        import torch

        torch.set_num_threads(1)
        self.torch, self.device, self.size = torch, device, size
        dtype = "float32" if device == "cpu" else "bfloat16"
        self.files = make_adapters(model, ADAPTERS, folder)
        self.settings = EngineSettings(
            model=model,
            device=device,
            dtype=dtype,
            guidance=GUIDANCE,
            adapter_files=self.files,
            slots=len(ADAPTERS),
            warm=tuple(Shape(size, size, n) for n in sizes),
        )
        self.engine: SdxlEngine = open_engine(self.settings, time.perf_counter)
        self.engine.switch(ADAPTERS, ())
        self.pipeline = open_pipeline(model, device, dtype)
        self.load(ADAPTERS[0])

    def load(self, adapter: str) -> None:
        """Load an adapter into the pipeline, the usual way."""
        path = Path(self.files[adapter])
        with quiet():
            self.pipeline.load_lora_weights(
                str(path.parent), weight_name=path.name, adapter_name=adapter
            )
            self.pipeline.set_adapters(adapter)

    def seconds(self, do: Callable[[], object]) -> float:
        """What it takes, with the device's work done at both ends."""
        gc.collect()
        self.wait()
        began = time.perf_counter()
        do()
        self.wait()
        return time.perf_counter() - began

    def wait(self) -> None:
        """Until the device is idle."""
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def members(self, steps: Sequence[int], adapters: Sequence[str] = ADAPTERS[:1]) -> list[Member]:
        """Requests of these step counts."""
        return [
            Member(
                id=f"{i}",
                option=0,
                adapter=adapters[i % len(adapters)],
                prompt=f"a corgi, number {i}",
                negative_prompt="",
                seed=i,
                width=self.size,
                height=self.size,
                steps=count,
            )
            for i, count in enumerate(steps)
        ]

    def in_batches(self, members: Sequence[Member], batch: int) -> None:
        """The engine, in batches in the order given."""
        for i in range(0, len(members), batch):
            self.engine.run(members[i : i + batch], _made)

    def in_calls(self, members: Sequence[Member], batch: int) -> None:
        """The pipeline, in calls of ``batch`` that run as long as their longest request."""
        for i in range(0, len(members), batch):
            some = members[i : i + batch]
            generators = [self.torch.Generator("cpu").manual_seed(m.seed) for m in some]
            self.pipeline(
                [m.prompt for m in some],
                num_inference_steps=max(m.steps for m in some),
                width=self.size,
                height=self.size,
                guidance_scale=GUIDANCE,
                generator=generators,
            )


def _made(done: Finished) -> None:
    if done.error is not None:
        raise RuntimeError(done.error)


def in_turns(
    bench: Bench, contenders: dict[str, Callable[[], object]], turns: int
) -> dict[str, float]:
    """Median seconds of each contender; the first turn warms up and does not count."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(turns + 1):
        for name, do in contenders.items():
            seconds = bench.seconds(do)
            if turn:
                taken[name].append(seconds)
    return {name: median(values) for name, values in taken.items()}


def mixed_list(bench: Bench, turns: int, steps: Sequence[int]) -> list[Row]:
    """Requests of two step counts in turn: who is done first with all of them.

    Members of a batch start together, so in the order given a batch shrinks to half; a schedule may
    put equal step counts together.
    """
    members = bench.members(steps)
    rising = sorted(members, key=lambda m: m.steps)
    found = in_turns(
        bench,
        {
            "engine, batches of 4": lambda: bench.in_batches(members, 4),
            "engine, batches of 4, sorted": lambda: bench.in_batches(rising, 4),
            "pipeline, one call a request": lambda: bench.in_calls(members, 1),
            "pipeline, batches of 4 to the longest": lambda: bench.in_calls(members, 4),
        },
        turns,
    )
    what = f"{len(steps)} requests of {min(steps)} and {max(steps)} steps"
    return _against(what, found, "engine, batches of 4", len(steps))


def same_size(bench: Bench, turns: int, steps: int, sizes: Sequence[int]) -> list[Row]:
    """Images a second at the same batch size and step count."""
    rows = []
    for n in sizes:
        members = bench.members([steps] * n)
        contenders: dict[str, Callable[[], object]] = {
            "engine": lambda members=members, n=n: bench.in_batches(members, n),  # type: ignore[misc]
            "pipeline": lambda members=members, n=n: bench.in_calls(members, n),  # type: ignore[misc]
        }
        if n > 1:
            mixed = bench.members([steps] * n, ADAPTERS)
            contenders["engine, two adapters in the batch"] = (
                lambda mixed=mixed, n=n: bench.in_batches(mixed, n)  # type: ignore[misc]
            )
        found = in_turns(bench, contenders, turns)
        rows += _against(f"batch of {n}, {steps} steps", found, "engine", n)
    return rows


def switching(bench: Bench, turns: int) -> list[Row]:
    """From one adapter to another: resident, from host memory, from disk; and diffusers' way."""
    engine, pipeline = bench.engine, bench.pipeline
    first, second = ADAPTERS
    from_disk = open_engine(
        EngineSettings(
            **{
                **{f: getattr(bench.settings, f) for f in bench.settings.__struct_fields__},
                "tier": Tier.DISK,
                "slots": 1,
                "warm": (),
            }
        ),
        time.perf_counter,
    )
    from_disk.switch([first], ())

    def activate() -> None:
        engine.slots.use([(second, 1)])
        engine.slots.use([(first, 1)])

    def load(target: SdxlEngine) -> None:
        target.switch([second], [first])
        target.switch([first], [second])

    def reload() -> None:
        pipeline.unload_lora_weights()
        bench.load(second)
        pipeline.unload_lora_weights()
        bench.load(first)

    engine.switch((), [second])
    contenders: dict[str, Callable[[], object]] = {
        "engine, load from host memory": lambda: load(engine),
        "engine, load from disk": lambda: load(from_disk),
        "pipeline, load_lora_weights": reload,
    }
    found = in_turns(bench, contenders, turns)
    engine.switch([second], ())
    bench.load(second)

    def set_adapters() -> None:
        pipeline.set_adapters(second)
        pipeline.set_adapters(first)

    found |= in_turns(
        bench,
        {"engine, both resident": activate, "pipeline, set_adapters, both resident": set_adapters},
        turns,
    )
    pipeline.delete_adapters(second)
    from_disk.close()
    halved = {name: seconds / 2 for name, seconds in found.items()}
    return _against("one switch", halved, "engine, both resident", None)


def overheads(bench: Bench, sizes: Sequence[int]) -> list[Row]:
    """Of a step, what is not the UNet: scheduler and engine."""
    rows = []
    for n in sizes:
        spans = bench.engine.run(bench.members([20] * n), _made).spans
        outside = [s.seconds - (s.unet_s or 0.0) for s in spans if s.phase is Phase.STEP][1:]
        row = {"work": f"engine and scheduler, a step of {n}", "contender": "engine"}
        rows.append({**row, "seconds": median(outside), "images_per_s": None, "ratio": None})
    return rows


def _against(what: str, found: dict[str, float], ours: str, images: int | None) -> list[Row]:
    """Rows with each contender's time as a multiple of ours."""
    return [
        {
            "work": what,
            "contender": name,
            "seconds": seconds,
            "images_per_s": None if images is None else images / seconds,
            "ratio": seconds / found[ours],
        }
        for name, seconds in found.items()
    ]


def page(rows: Sequence[Row], bench: Bench, turns: int, command: str) -> str:
    """The results as Markdown."""
    setup = bench.engine.setup
    versions = ", ".join(f"{name} {number}" for name, number in setup.versions.items())
    lines = [
        f"# Speed of the executor on {setup.device}",
        "",
        f"Written by `{command}`. Model `{bench.settings.model}`, {bench.settings.dtype}, "
        f"{bench.size} x {bench.size} pixels, guidance {GUIDANCE:g}, adapters of rank "
        f"{setup.rank}. Contenders take turns; medians of {turns}. The ratio is the contender's "
        "time by the engine's: above 1, the engine is faster. One torch thread on the CPU.",
        "",
        f"{machine()}; {versions}",
        "",
        "| work | contender | seconds | images a second | ratio |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        rate = "" if row["images_per_s"] is None else f"{row['images_per_s']:.3g}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.3g}"
        cells = (row["work"], row["contender"], f"{row['seconds']:.3g}", rate, ratio)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


#: What can be measured.
PARTS = ("mixed-list", "same-size", "switching", "overheads")


def measured(bench: Bench, parts: Sequence[str], turns: int, sizes: Sequence[int]) -> list[Row]:
    """The rows of these parts; told as they come, as the whole takes minutes."""
    tiny = bench.settings.model == "tiny"
    rows: list[Row] = []
    for part in parts:
        if part == "mixed-list":
            more = mixed_list(bench, turns, [20, 60] * 6 if tiny else [10, 30] * 2)
        elif part == "same-size":
            more = same_size(bench, turns, 20 if tiny else 12, sizes)
        elif part == "switching":
            more = switching(bench, turns)
        else:
            more = overheads(bench, sizes)
        for row in more:
            print(*row.values(), sep=", ", file=sys.stderr, flush=True)
        rows += more
    return rows


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--parts", default=",".join(PARTS), help="by commas, of: %(default)s")
    parser.add_argument("--sizes", default="1,2,4,8", help="batch sizes, by commas")
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    sizes = [int(size) for size in given.sizes.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        size = 64 if given.model == "tiny" else 1024
        bench = Bench(given.model, given.device, size, sizes, Path(folder))
        rows = measured(bench, given.parts.split(","), given.turns, sizes)
    name = f"executor_speed_{given.device.partition(':')[0]}"
    given.output.mkdir(parents=True, exist_ok=True)
    with (given.output / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    command = f"python benchmarks/executor_speed.py {' '.join(sys.argv[1:])}"
    text = page(rows, bench, given.turns, command)
    (given.output / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
