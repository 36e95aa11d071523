"""Templates of all pages, and the script of interactive ones: inside a page, or beside many.

A page is a template that extends ``page.html.j2``. Values are escaped by default, markup says so in
the code that made it; Markdown escapes with :func:`cell`.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from pats_opt.errors import one_line
from pats_opt.model.files import StrPath, write_bytes
from pats_opt.wording import milliseconds, number, percent

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


@cache
def environment(package: str) -> Environment:
    """Return the templates of a package and the shared ones; ``.html.j2`` escapes its values."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape

    made = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("pats_opt.views")]),
        autoescape=select_autoescape(enabled_extensions=("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"plain": one_line, "cell": cell, "allowed": allowed}
    made.filters |= {"number": number, "percent": percent, "ms": milliseconds}
    return made


def cell(text: object) -> str:
    """Escape text for a cell of a Markdown table: one line, nothing marked up."""
    escaped = re.sub(r"([\\`*_{}\[\]<>|#~$&])", r"\\\1", one_line(str(text)))
    return escaped.replace("://", r"\://")  # else taken for a link


def allowed(script: str) -> Markup:
    """Return what allows a script in a page's Content-Security-Policy: the digest of its text."""
    from markupsafe import Markup

    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Markup("'sha256-{}'").format(digest)


def script() -> str:
    """Return Bokeh's script, for the space between ``<script>`` and ``</script>``."""
    from bokeh.resources import Resources

    raw = Resources(mode="inline", components=["bokeh"], log_level="warn", minified=True).js_raw
    return "\n".join(raw).replace("</script", "<\\/script")


def script_name() -> str:
    """Name of the script's file, with its version."""
    from bokeh import __version__

    return f"bokeh-{__version__}.min.js"


def script_url(assets: str) -> str:
    """Address of the script for a page, from the folder of assets as the page sees it."""
    return quote(f"{assets.rstrip('/')}/{script_name()}", safe="/.")


def write_assets(folder: StrPath) -> Path:
    """Write the script to a file in a folder, for pages with ``assets``; return its path."""
    path = Path(folder) / script_name()
    write_bytes(path, script().encode())
    return path
