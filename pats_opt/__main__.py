"""``python -m pats_opt`` is ``pats-opt``."""

from pats_opt.cli import main

main()
