"""Errors of requests, in the shape in which OpenAI's API gives them."""

from __future__ import annotations

from pats_opt.errors import shortened
from pats_opt.serving.answers import ErrorFacts, ErrorKind


class ApiError(Exception):
    """A request that is refused or failed.

    Args:
        status: The HTTP status.
        message: One sentence for the client.
        code: A word for programs.
        param: The field at fault, if there is one.
        retry_after_s: Seconds after which a client may try again, if that can help.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param
        self.message = shortened(message)
        self.retry_after_s = retry_after_s

    @property
    def facts(self) -> ErrorFacts:
        """Why the request is refused or failed, for its client."""
        kind: ErrorKind = "server_error" if self.status >= 500 else "invalid_request_error"
        if self.status == 429:
            kind = "rate_limit_error"
        return ErrorFacts(message=self.message, type=kind, param=self.param, code=self.code)

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response."""
        return {} if self.retry_after_s is None else {"retry-after": str(self.retry_after_s)}
