"""Pages in a real browser: the Chromium that is installed, driven by playwright.

Every test of this folder skips, with the reason, where there is no Chromium; ``PATS_OPT_CHROMIUM``
names one that is not on the path.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.support.browser import NAMES, WIDE, launched, watch


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window; while it is open, this thread can run no other event loop."""
    with launched() as browser:
        if browser is None:
            pytest.skip(f"there is no Chromium on the path (looked for {', '.join(NAMES)})")
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that must neither complain on its console nor ask the network for anything."""
    context = browser.new_context(viewport=WIDE)
    made = context.new_page()
    complaints = watch(made)
    yield made
    context.close()
    assert complaints == []
