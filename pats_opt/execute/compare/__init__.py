"""Predicted against measured: what a schedule promised, and what running it took.

:func:`compare` makes the figures, :func:`sentences` says them, :func:`write_page` shows them.
Nothing here needs the model or its packages: an ``execution.json`` is enough.
"""

from pats_opt.execute.compare.comparing import compare
from pats_opt.execute.compare.document import ExecutionComparison
from pats_opt.execute.compare.page import write_page
from pats_opt.execute.compare.sentences import sentences

__all__ = ["ExecutionComparison", "compare", "sentences", "write_page"]
