"""Templates of all pages: one file, nothing fetched, text from files escaped.

A page is a template that extends ``page.html.j2``. Values are escaped by default, markup says so in
the code that made it; Markdown escapes with :func:`cell`.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from pats_opt.errors import one_line
from pats_opt.wording import milliseconds, number, percent

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def environment(package: str) -> Environment:
    """Return the templates of a package and the shared ones; ``.html.j2`` escapes its values.

    Args:
        package: Import name of the package with a folder ``templates``.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape

    made = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("pats_opt.views")]),
        autoescape=select_autoescape(enabled_extensions=("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"plain": one_line, "cell": cell}
    made.filters |= {"number": number, "percent": percent, "ms": milliseconds}
    return made


def cell(text: object) -> str:
    """Escape text for a cell of a Markdown table: one line, nothing marked up."""
    escaped = re.sub(r"([\\`*_{}\[\]<>|#~$&])", r"\\\1", one_line(str(text)))
    return escaped.replace("://", r"\://")  # else taken for a link
