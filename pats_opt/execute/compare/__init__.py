"""Comparison of an execution with its prediction: times, loss, service, constants.

:func:`compare` makes the document, :func:`sentences` its text, :func:`write_page` its page.
Nothing here needs the model or its packages, as an ``execution.json`` is enough; only
:mod:`distances` reads images.
"""

from pats_opt.execute.compare.comparing import compare
from pats_opt.execute.compare.document import ExecutionComparison
from pats_opt.execute.compare.page import write_page
from pats_opt.execute.compare.sentences import sentences

__all__ = ["ExecutionComparison", "compare", "sentences", "write_page"]
