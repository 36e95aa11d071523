"""The MIP solvers by name."""

from __future__ import annotations

from functools import partial

from pats_solvers.milp.contract import Backend, Name


def backend(name: Name) -> Backend:
    """The backend of a name; its packages are imported when it is asked for."""
    if name == "cbc":
        from pats_solvers.milp.cbc import solve

        return solve
    from pats_solvers.milp import native

    return partial(native.solve, name)
