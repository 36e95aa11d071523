"""The server's page: one file that asks its own server only."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from pats_opt.views.page import environment


class ServerPage(NamedTuple):
    """The page and its Content-Security-Policy, which no other page may hold in a frame."""

    html: str
    policy: str


@cache
def server_page() -> ServerPage:
    """Return the page; it is the same for all servers."""
    made = environment("pats_opt.serving")
    script = made.get_template("server.js").render()
    html = made.get_template("server.html.j2").render(script=script)
    found = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert found is not None
    return ServerPage(html, f"{found[1]}; frame-ancestors 'none'")
