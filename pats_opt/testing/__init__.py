"""Conformance suites and random instances to test solvers and policies with, third-party too."""
