"""An instance whose every text is markup; what shows it must show text."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser
from typing import Any

from tests.support.zoo import adapter, document, gpu, request

#: Markup for HTML, attributes, scripts, templates, tooltips, Markdown and matplotlib.
EVIL = (
    '"\'><img src=x onerror="window.harmed=1"></script><script>window.harmed=1</script>'
    "<!--|`*x*`\n$x$_&amp;{{ 7 * 7 }}@{id}$index"
)

#: What a reader finds of it in a page's text.
SEEN = "<script>window.harmed=1</script>"


def marked() -> dict[str, Any]:
    """Two adapters on two GPUs; name, ids and prompts are markup; one request may be rejected."""
    first, second = f"{EVIL} one", f"{EVIL} two"
    requests = [
        request(
            f"{EVIL} {n}",
            adapter=(first, second)[n % 2],
            arrival_s=float(n),
            prompt=f"{EVIL} prompt {n}",
            deadline_s=3.0,
        )
        for n in range(6)
    ]
    refused = request(f"{EVIL} refused", steps=10**6, adapter=first, prompt=EVIL, reject_loss=0.5)
    return document(
        *requests,
        refused,
        name=EVIL,
        late_price=1.0,
        gpus=[gpu(f"{EVIL} left", ()), gpu(f"{EVIL} right", ())],
        adapters=[adapter(first, 1.0, 1.0), adapter(second, 2.0, 1.0)],
    )


class Html(HTMLParser):
    """Tags, ids, links and text of a page or a piece of one; a tag closed out of turn fails."""

    VOID = frozenset(("img", "br", "hr", "meta", "link", "input"))

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.links: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the tag, its id and its links."""
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Likewise of a tag without content."""
        self.tags[tag] += 1
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links |= {value or "" for name, value in attrs if name in {"src", "href"}}

    def handle_endtag(self, tag: str) -> None:
        """It closes the tag that was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.text += data
