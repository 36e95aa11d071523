"""Pages in a real browser: the Chromium that is installed, driven by playwright.

Every test of this folder skips, with the reason, where there is no Chromium; ``PATS_OPT_CHROMIUM``
names one that is not on the path.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.browser import WIDE, watch

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium without a window, for all tests of this process."""
    named = os.environ.get("PATS_OPT_CHROMIUM")
    path = named or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"there is no Chromium on the path (looked for {', '.join(NAMES)})")
    with sync_playwright() as playwright:
        # As root, as in most containers, Chromium runs only without its sandbox; pages are our own.
        started = playwright.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"],
        )
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that must neither complain on its console nor ask the network for anything."""
    context = browser.new_context(viewport=WIDE)
    made = context.new_page()
    complaints = watch(made)
    yield made
    context.close()
    assert complaints == []
