"""Importers: real request logs and, by the same table, other formats, as instances."""

from __future__ import annotations

#: Format -> ("module:attribute" of its click command, one-line help), in the order they are listed.
FORMATS: dict[str, tuple[str, str]] = {
    "trace": (
        "pats_opt.cli.import_trace:command",
        "A request log: CSV, JSON lines or Parquet, plain or gzip.",
    ),
}
