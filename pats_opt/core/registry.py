"""Registry of solvers and policies. Each is imported only when it is used.

Third parties add theirs under the entry-point group ``pats_opt.solvers``. A solver is named with
its parameters as ``name:key=value:key=value``, for example ``milp:backend=scip``.
"""

from __future__ import annotations

import re
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import msgspec
import msgspec.inspect
from msgspec.inspect import LiteralType, Metadata

from pats_opt.core.policy import Policy
from pats_opt.core.solver import Solver
from pats_opt.errors import InputError
from pats_opt.nearest import choose, near, nearest

#: Arguments of every run, which are no parameters of a solver.
ARGUMENTS = ("time_limit", "seed", "jobs", "start", "progress", "phase")

ENTRY_POINTS = "pats_opt.solvers"

#: Built-in solvers and policies by name, as ``module:class``, in the order that users see.
BUILT_IN: dict[str, str] = {
    "auto": "pats_solvers.auto:Auto",
    "exact": "pats_solvers.exact:Exact",
    "dp": "pats_solvers.dp:Dp",
    "milp": "pats_solvers.milp:Milp",
    "cpsat": "pats_solvers.cpsat:CpSat",
    "lagrangian": "pats_solvers.primal_dual:Lagrangian",
    "local-search": "pats_solvers.local:LocalSearch",
    "belady": "pats_solvers.belady:Belady",
    "served": "pats_solvers.served:ServedSchedule",
    "pats": "pats_solvers.online.pats:Pats",
    "price-index": "pats_solvers.online.price_index:PriceIndex",
    "fifo": "pats_solvers.online.simple:Fifo",
    "exhaustive": "pats_solvers.online.polling:Exhaustive",
    "gated": "pats_solvers.online.polling:Gated",
    "k-limited": "pats_solvers.online.polling:KLimited",
    "amortized": "pats_solvers.online.demand:Amortized",
    "cost-aware": "pats_solvers.online.demand:CostAware",
    "drain-first": "pats_solvers.online.polling:DrainFirst",
    "family-index": "pats_solvers.online.demand:FamilyIndex",
    "patient": "pats_solvers.online.polling:Patient",
    "polar": "pats_solvers.online.polar:Polar",
    "fcfs-grouped": "pats_solvers.online.simple:FcfsGrouped",
    "affinity": "pats_solvers.online.simple:Affinity",
    "batch-completion": "pats_solvers.online.simple:BatchCompletion",
    "vllm-lora": "pats_solvers.online.simple:VllmLora",
    "srpt": "pats_solvers.online.scored:Srpt",
    "edd": "pats_solvers.online.scored:Edd",
    "mdd": "pats_solvers.online.scored:Mdd",
    "atcs": "pats_solvers.online.scored:Atcs",
    "credits": "pats_solvers.online.credits:Credits",
    "prompt-aware": "pats_solvers.online.levels.controlled:PromptAware",
    "proteus": "pats_solvers.online.levels.controlled:Proteus",
    "nirvana": "pats_solvers.online.levels.fixed:Nirvana",
    "clipper": "pats_solvers.online.levels.fixed:Clipper",
    "online-optimum": "pats_solvers.semi_markov.policy:OnlineOptimum",
}


def names() -> list[str]:
    """Return the names of all solvers and policies, built-in ones first."""
    others = sorted(point.name for point in entry_points(group=ENTRY_POINTS))
    return [*BUILT_IN, *(name for name in others if name not in BUILT_IN)]


def policies() -> list[str]:
    """Return the names of the built-in online policies."""
    return [name for name, home in BUILT_IN.items() if home.startswith("pats_solvers.online.")]


def load(name: str) -> type[Solver] | type[Policy]:
    """Return the class registered under ``name``.

    Raises:
        InputError: The name is unknown; the message has the nearest ones.
    """
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        found: type[Solver] | type[Policy] = getattr(import_module(module), attribute)
        return found
    for point in entry_points(group=ENTRY_POINTS, name=name):
        return point.load()  # type: ignore[no-any-return]
    raise InputError(f"there is no solver or policy {name!r}", hint=choose(name, names()))


def make(spec: str, **params: Any) -> Solver | Policy:
    """Make a solver or policy from its name, with parameters as ``name:key=value`` or keywords.

    Raises:
        InputError: A name or parameter is unknown, or a value out of range.
    """
    name, *settings = spec.split(":")
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise InputError(
                f"parameter {setting!r} of {name!r} has no value", hint="write it as key=value"
            )
        params[key] = value
    made = load(name)
    if not (isinstance(made, type) and issubclass(made, msgspec.Struct)):
        raise _no_struct(name)
    known = [f.name for f in msgspec.structs.fields(made)]
    for key in params:
        if key not in known:
            raise InputError(f"{name!r} has no parameter {key!r}", hint=_meant(key, known))
    try:
        return msgspec.convert(params, made, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(
            f"{name!r}: {error}".replace(" - at `$.", " for `"), hint=_choices(made, str(error))
        ) from None


def _meant(key: str, known: list[str]) -> str:
    """Return the hint for an unknown parameter: one of the solver's, or an argument of any run."""
    if not near(key, known) and (arguments := near(key, ARGUMENTS, cutoff=0.55)):
        return f"did you mean the argument {arguments[0]!r} of every run?"
    return f"it has: {nearest(key, known)}" if known else "it has none"


def _no_struct(name: str) -> InputError:
    return InputError(
        f"{name!r} is no msgspec.Struct", hint="make it one: its fields are its parameters"
    )


def _choices(made: Any, error: str) -> str:
    """Return the hint for a wrong value of a parameter, with the nearest values if known."""
    for field in msgspec.inspect.type_info(made).fields:  # type: ignore[attr-defined]
        kind = field.type.type if isinstance(field.type, Metadata) else field.type
        if f"`$.{field.name}`" in error and isinstance(kind, LiteralType):
            value = re.search("enum value '(.*?)'", error)
            return choose(value[1] if value else "", map(str, kind.values))
    return "correct the parameter"


def format_value(value: object) -> str:
    """Format the value of a parameter so that a specification reads back the same value."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value) if isinstance(value, float) else str(value)


def parameters(thing: Solver | Policy) -> dict[str, Any]:
    """Return the parameters of a solver or policy, ready for JSON.

    Raises:
        InputError: The object is no struct.
    """
    if not isinstance(thing, msgspec.Struct):
        raise _no_struct(thing.name)
    built: dict[str, Any] = msgspec.to_builtins(thing)
    return built
