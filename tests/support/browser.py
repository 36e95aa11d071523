"""Helpers for tests of pages in a browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

#: Names under which Chromium is installed.
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

#: A desktop and a telephone.
WIDE: ViewportSize = {"width": 1280, "height": 900}
NARROW: ViewportSize = {"width": 390, "height": 844}

#: Axe would read style sheets again by itself, which a page on the disk may not.
NO_FETCHING = {"preload": False}

#: Where a page may take things from: itself and its own folder.
OWN = ("file:", "data:", "blob:")


@contextmanager
def launched() -> Iterator[Browser | None]:
    """Chromium without a window; None where there is none (``PATS_OPT_CHROMIUM`` names one)."""
    path = os.environ.get("PATS_OPT_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        yield None
        return
    with sync_playwright() as playwright:
        # As root, as in most containers, Chromium runs only without its sandbox; pages are our own.
        started = playwright.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"],
        )
        yield started
        started.close()


def watch(page: Page, server: str = "file:") -> list[str]:
    """A list that fills with whatever a page complains of or asks the network for.

    Args:
        page: The page.
        server: The server that it comes from, which it may ask.
    """
    complaints: list[str] = []
    own = (server, *OWN)
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on(
        "console",
        lambda said: (
            complaints.append(f"{said.type}: {said.text}")
            if said.type in {"error", "warning"}
            else None
        ),
    )
    page.on(
        "request",
        lambda asked: (
            None if asked.url.startswith(own) else complaints.append(f"request: {asked.url}")
        ),
    )
    return complaints


def visit(page: Page, path: Path) -> None:
    """Open a file, and wait until its scripts have run."""
    page.goto(path.resolve().as_uri(), wait_until="load")


def overflow(page: Page) -> int:
    """How many pixels a page is wider than its window; what scrolls in a box of its own may be."""
    wider: int = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return wider


def too_wide(page: Page) -> list[str]:
    """Figures that are wider than the window, but for those of whole schedules, which scroll."""
    wide: list[str] = page.evaluate(
        """[...document.querySelectorAll("figure:not(.big) svg, #chart")]
        .filter(one => one.getBoundingClientRect().right > window.innerWidth)
        .map(one => one.getAttribute("aria-label"))"""
    )
    return wide


def barriers(page: Page) -> list[str]:
    """Barriers to using a page: the serious findings of axe's rules."""
    return [
        f"{found['id']}: {found['help']}: {[node['target'] for node in found['nodes']][:5]}"
        for found in Axe().run(page, options=NO_FETCHING).response["violations"]
        if found["impact"] in {"serious", "critical"}
    ]
