"""Fixtures of the runs' tests: the stub solvers and instance files of the report's tests."""

from tests.report.conftest import plain, stubs, write

__all__ = ["plain", "stubs", "write"]
