"""How long the page of a schedule takes to write, to open and to zoom, and how large it is.

    python benchmarks/show_speed.py

writes ``benchmarks/results/show_speed.csv`` and ``.md``. Each page is opened in headless Chromium:
the time to open is from the request to the end of the first frame that shows the schedule; a zoom
step, by a key, is from the event to the end of the frame that shows it. Beside the seconds on the
clock stand those that the page's main thread computes, which other work on the machine leaves as
they are. Medians of a few.
"""

from __future__ import annotations

import csv
import os
import platform
import shutil
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from core_speed import machine

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession, Page

RESULTS = Path(__file__).parent / "results"
SIZES = (1_000, 10_000, 100_000)
OPENED = 3
ZOOMS = 8
#: What is promised at 10,000 requests: seconds to open, and MB of the file.
PROMISED_REQUESTS, PROMISED_S, PROMISED_MB = 10_000, 3.0, 6.0

#: Presses a key, and tells the milliseconds until two frames later all of it is drawn.
ZOOM = """key => new Promise(done => {
  const began = performance.now()
  document.getElementById("chart").dispatchEvent(new KeyboardEvent("keydown", {key}))
  requestAnimationFrame(() => requestAnimationFrame(() =>
    setTimeout(() => done(performance.now() - began))))
})"""


class Measured(NamedTuple):
    """One size: seconds, megabytes and milliseconds."""

    requests: int
    batches: int
    write_s: float
    mb: float
    open_s: float
    open_cpu_s: float
    zoom_ms: float
    zoom_cpu_ms: float


def measure(browser: Browser, requests: int, folder: Path) -> Measured:
    """Write, open and zoom the page of a simulated schedule."""
    from pats_opt.generate import Recipe, generate
    from pats_opt.generate.recipe import Popularity
    from pats_opt.solving.solve import solve
    from pats_opt.views.html import show

    instance = generate(Recipe(requests=requests, popularity=Popularity(adapters=30)))
    schedule = solve(instance, "exhaustive").schedule
    path = folder / f"{requests}.html"
    began = time.process_time()
    show(instance, schedule, path)
    write_s = time.process_time() - began
    opened, open_cpu, zooms, zoom_cpu = [], [], [], []
    keys = ["+"] * ZOOMS + ["-"] * ZOOMS
    for _ in range(OPENED):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        clock = page.context.new_cdp_session(page)
        clock.send("Performance.enable", {"timeDomain": "threadTicks"})
        opened.append(_open(page, path))
        open_cpu.append(_computed(clock))
        zooms += [page.evaluate(ZOOM, key) for key in keys]
        zoom_cpu.append((_computed(clock) - open_cpu[-1]) / len(keys) * 1000)
        page.close()
    return Measured(
        requests,
        sum(len(gpu.batches) for gpu in schedule.gpus),
        write_s,
        path.stat().st_size / 1e6,
        statistics.median(opened),
        statistics.median(open_cpu),
        statistics.median(zooms),
        statistics.median(zoom_cpu),
    )


def _computed(clock: CDPSession) -> float:
    """Seconds that the page's main thread has computed."""
    metrics = clock.send("Performance.getMetrics")["metrics"]
    seconds: float = next(m["value"] for m in metrics if m["name"] == "TaskDuration")
    return seconds


def _open(page: Page, path: Path) -> float:
    """Seconds until a page shows its schedule."""
    began = time.perf_counter()
    page.goto(path.as_uri())
    page.wait_for_selector("#chart[data-ready]", timeout=300_000)
    page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    return time.perf_counter() - began


def main() -> None:
    """Measure all sizes and write the results."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        measure(browser, 100, Path(folder))  # imports and warms up
        rows = []
        for size in SIZES:
            rows.append(measure(browser, size, Path(folder)))
            print(rows[-1])
        known = browser.version
        browser.close()
    with (RESULTS / "show_speed.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Measured._fields)
        writer.writerows([*row[:2], *(f"{value:.3f}" for value in row[2:])] for row in rows)
    (RESULTS / "show_speed.md").write_text("\n".join(_report(rows, known)), encoding="utf-8")


def _report(rows: list[Measured], chromium: str) -> list[str]:
    """The report's lines."""
    known = ", ".join(f"{name} {version(name)}" for name in ("pats-opt", "bokeh", "numpy"))
    return [
        "# Size and speed of a schedule's page",
        "",
        f"Written by `python benchmarks/show_speed.py`: `documents` profile, 30 adapters, one GPU, "
        f"the policy `exhaustive`. Headless Chromium {chromium} without a GPU, 1280 x 900; the "
        f"median of {OPENED} openings and of {2 * ZOOMS * OPENED} zoom steps.",
        "",
        f"{machine()}, load {os.getloadavg()[1]:.0f} while measured; "
        f"Python {platform.python_version()}, {known}",
        "",
        f"Promised at {PROMISED_REQUESTS:,} requests: open in {PROMISED_S:g} s, a file below "
        f"{PROMISED_MB:g} MB.",
        "",
        "| requests | batches | write, CPU s | file, MB | open, s | CPU s "
        "| zoom step, ms | CPU ms |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {r.requests:,} | {r.batches:,} | {r.write_s:.1f} | {r.mb:.1f} | {r.open_s:.2f} | "
            f"{r.open_cpu_s:.2f} | {r.zoom_ms:.0f} | {r.zoom_cpu_ms:.0f} |"
            for r in rows
        ),
        "",
    ]


if __name__ == "__main__":
    main()
