"""Entry of the command line: ``pats-opt``, and ``python -m pats_opt``."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line. An error is one line and an exit status, never a traceback."""
    try:
        # Imported here, so that an interrupt meanwhile is one line too.
        from pats_opt.interrupts import leave, take_interrupts
        from pats_opt.streams import take_standard_streams

        take_interrupts()
        take_standard_streams()
        from pats_opt.cli import run

        leave(run())
    except KeyboardInterrupt:
        sys.stderr.write("pats-opt: error: interrupted\n")
        sys.stderr.flush()
        os._exit(4)


if __name__ == "__main__":
    main()
