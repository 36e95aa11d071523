"""Importers of request logs and of classic benchmark formats."""

from __future__ import annotations

#: Format -> ("module:attribute" of its click command, one-line help), in the order they are listed.
FORMATS: dict[str, tuple[str, str]] = {
    "trace": (
        "pats_opt.cli.import_trace:command",
        "A request log: CSV, JSON lines or Parquet, plain or gzip.",
    ),
    "bin-packing": (
        "pats_opt.cli.import_bin_packing:command",
        "Bin packing: layouts of BPPLib and of the OR-Library.",
    ),
    "tsplib": (
        "pats_opt.cli.import_tsplib:command",
        "Travelling salesman problems, symmetric or not.",
    ),
    "csplib058": (
        "pats_opt.cli.import_csplib058:command",
        "Discrete lot sizing with sequence-dependent changeovers.",
    ),
}
