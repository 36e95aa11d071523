"""The guide: Markdown pages, the command line's help, and the docstrings, as one site.

The repository's root is the source folder, so that pages outside ``docs/`` belong to the guide and
one relative link works on the site, in a checkout and on the hub alike. ``make docs`` runs it.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "solvers")]

from pats_opt import __version__  # noqa: E402 (found by the line above)

project = "PATS-opt"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
]

root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "*/README.md",
    "experiments/*.md",
    "experiments/*/result.md",
    "benchmarks/results/*.md",
    "CHANGELOG.md",
]
exclude_patterns = [".*", "**/.*", "out", "build", "dist", "tests", "pats_opt", "**/__pycache__"]

myst_heading_anchors = 3

autodoc_mock_imports = ["pytest"]  # which only the conformance suites need
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]

smartquotes = False  # "--policy" is no dash

html_theme = "furo"
html_title = "PATS-opt"
html_extra_path = ["site"]
html_copy_source = False
html_show_search_summary = False  # would be fetched, which a browser refuses to pages on the disk
html_show_sphinx = False
html_show_copyright = False

# Reports of experiments are no part of the guide, they lie beside it: as a page where that is in
# the repository, else as the text that readers of the Markdown are led to.
REPORT = re.compile(r"\[([^\]]+)\]\(((?:\.\./)*)((?:experiments/)?\w+/result/report)\.md\)")


def link_reports(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Make links to reports lead to what lies beside the guide."""
    folder = (ROOT / docname).parent

    def link(found: re.Match[str]) -> str:
        report = f"{found[2]}{found[3]}"
        kind = "html" if (folder / f"{report}.html").is_file() else "md"
        return f'<a class="reference" href="{report}.{kind}">{found[1]}</a>'

    source[0] = REPORT.sub(link, source[0])


def copy_reports(app: Sphinx, failed: Exception | None) -> None:
    """Lay the reports beside the guide."""
    if failed is not None:
        return
    for report in sorted(ROOT.glob("experiments/*/result/report.*")):
        target = Path(app.outdir) / report.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(report, target)


def level_captions(
    _app: Sphinx, _page: str, _template: str, context: dict[str, Any], _tree: object
) -> None:
    """Say of which level the headings of the navigation are, which the theme does not."""
    tree = context["furo_navigation_tree"]
    context["furo_navigation_tree"] = tree.replace(
        'role="heading"', 'role="heading" aria-level="2"'
    )


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("html-page-context", level_captions, priority=900)  # after the theme's own
    app.connect("source-read", link_reports)
    app.connect("build-finished", copy_reports)
