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

# Reports of experiments are pages of their own: the guide links to them as they are, where a
# reader of the Markdown is led to the same report as text.
REPORT = re.compile(r"\[([^\]]+)\]\(((?:\.\./)*(?:experiments/)?\w+/result/report)\.md\)")


def link_reports(_app: Sphinx, _docname: str, source: list[str]) -> None:
    """Make links to reports lead to their pages."""
    source[0] = REPORT.sub(r'<a class="reference" href="\2.html">\1</a>', source[0])


def copy_reports(app: Sphinx, failed: Exception | None) -> None:
    """Lay the reports beside the guide."""
    if failed is None:
        for report in sorted(ROOT.glob("experiments/*/result/report.html")):
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
