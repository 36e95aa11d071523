"""The server's page in a browser: live figures, a prompt, keys, and texts that are no markup."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page, ViewportSize, expect

from pats_opt.execute.adapter_set import AdapterSet
from pats_opt.serving.settings import ServerSettings
from tests.serving.running import listening, model
from tests.serving.test_queue import Gate
from tests.support.browser import NARROW, WIDE, barriers, overflow, watch
from tests.support.markup import EVIL, SEEN

Scheme = Literal["light", "dark"]


@contextmanager
def opened(
    browser: Browser,
    url: str,
    complaints: tuple[str, ...] = (),
    size: ViewportSize = WIDE,
    scheme: Scheme = "light",
) -> Iterator[Page]:
    """The page of a server, which may have these complaints."""
    with browser.new_context(viewport=size, color_scheme=scheme) as context:
        page = context.new_page()
        found = watch(page, url)
        page.goto(url)
        yield page
    assert all(any(one in text for one in complaints) for text in found), found


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["desktop", "telephone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_everyone_can_use_it(
    browser: Browser, tmp_path: Path, size: ViewportSize, scheme: Scheme
) -> None:
    gate = Gate()
    with listening(tmp_path, engine=gate, gpus=2) as (url, _):
        with opened(browser, url, size=size, scheme=scheme) as page:
            page.get_by_label("Prompt").fill("a corgi")
            page.get_by_label("Adapter", exact=True).select_option("a")
            page.get_by_role("button", name="Make").click()
            expect(page.locator("#queue tbody")).to_contain_text("a")
            expect(page.locator("#job")).to_contain_text("running, step 3 of ")
            assert overflow(page) == 0
            assert barriers(page) == []
        gate.opened.set()


def test_a_prompt(browser: Browser, tmp_path: Path) -> None:
    """From the form to the images, and the figures that follow."""
    with listening(tmp_path) as (url, _), opened(browser, url) as page:
        expect(page.locator("#summary")).to_have_text("0 images waiting, 0 running, on 1 of 1 GPU.")
        page.get_by_label("Prompt").fill("a corgi")
        page.get_by_label("Adapter", exact=True).select_option("b")
        page.get_by_label("Images", exact=True).fill("2")
        page.get_by_role("button", name="Make").click()
        expect(page.get_by_role("img", name="a corgi")).to_have_count(2)
        expect(page.locator("#job")).to_have_text("done: 2 of 2")
        assert page.get_by_role("img", name="a corgi").first.evaluate("it => it.naturalWidth") == 64
        expect(page.locator("#gpus")).to_contain_text("Resident adapters: b.")
        expect(page.get_by_role("img", name="Images per second")).to_be_visible()
        page.get_by_label("Prompt").fill("fail: now")
        page.get_by_role("button", name="Make").click()
        expect(page.locator("#job")).to_contain_text("failed: ")
        expect(page.get_by_role("button", name="Make")).to_be_enabled()


def test_cancelling(browser: Browser, tmp_path: Path) -> None:
    gate = Gate()
    with listening(tmp_path, engine=gate) as (url, service):
        with opened(browser, url) as page:
            page.get_by_label("Prompt").fill("a corgi")
            page.get_by_role("button", name="Make").click()
            page.get_by_role("button", name="Cancel").click()
            expect(page.locator("#job")).to_contain_text("cancelled")
            assert service.pending == 0
        gate.opened.set()


def test_a_key(browser: Browser, tmp_path: Path) -> None:
    """Without it there are no figures."""
    settings = ServerSettings(port=0, keys=("secret",))
    with (
        listening(tmp_path, settings=settings) as (url, _),
        opened(browser, url, ("401",)) as page,
    ):
        expect(page.locator("#summary")).to_contain_text("No status: give a key of this server")
        page.get_by_label("Key of this server").fill("secret")
        page.get_by_role("button", name="Use it").click()
        expect(page.locator("#summary")).to_contain_text("on 1 of 1 GPU.")
        expect(page.get_by_label("Key of this server")).to_be_hidden()


def test_texts_are_no_markup(browser: Browser, tmp_path: Path) -> None:
    """Prompts and names of adapters show as they are."""
    made = replace(model(tmp_path), adapters=AdapterSet(files={EVIL: ""}))
    with listening(tmp_path, made=made) as (url, _), opened(browser, url) as page:
        page.get_by_label("Prompt").fill(EVIL)
        page.get_by_label("Adapter", exact=True).select_option(EVIL)
        page.get_by_role("button", name="Make").click()
        expect(page.locator("#images img")).to_have_count(1)
        expect(page.locator("#gpus")).to_contain_text(SEEN)
        assert page.locator("#images img").get_attribute("alt") == EVIL
        assert page.locator("img").count() == 1
        assert page.evaluate("window.harmed") is None


def test_markup_would_do_nothing(browser: Browser, tmp_path: Path) -> None:
    """The page's Content-Security-Policy is a second wall."""
    with listening(tmp_path) as (url, _), opened(browser, url, ("Content Security",)) as page:
        page.evaluate(
            "document.body.append(document.createRange().createContextualFragment("
            "'<script>window.harmed = 1</script><img src=x onerror=\"window.harmed = 2\">'))"
        )
        expect(page.locator("#summary")).to_contain_text("on 1 of 1 GPU.")
        assert page.evaluate("window.harmed") is None


def test_a_server_that_ends(browser: Browser, tmp_path: Path) -> None:
    """The page says so."""
    with listening(tmp_path) as (url, _):
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        expect(page.locator("#summary")).to_contain_text("on 1 of 1 GPU.")
    expect(page.locator("#summary")).to_contain_text("No status")
    context.close()
