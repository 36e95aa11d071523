"""The pages name every policy."""

from __future__ import annotations

import re
from pathlib import Path

from pats_opt.core.registry import BUILT_IN, load
from pats_opt.core.solver import Kind

PAGE = Path(__file__).parents[2] / "solvers" / "README.md"


def test_every_policy_has_a_row() -> None:
    """The table of online policies is that of the registry."""
    text = PAGE.read_text(encoding="utf-8").split("## Online policies")[1]
    named = re.findall(r"^\| `([\w-]+)` \|", text, re.M)
    assert sorted(named) == sorted(n for n in BUILT_IN if load(n).kind is Kind.ONLINE)


def test_every_policy_documents_its_rule_source_and_parameters() -> None:
    """Each docstring says more than its first line; it or a base names every parameter."""
    from msgspec.structs import fields

    for name in BUILT_IN:
        policy = load(name)
        if policy.kind is not Kind.ONLINE:
            continue
        told = policy.__doc__ or ""
        assert len(told.splitlines()) > 4, name
        pages = "\n".join(base.__doc__ or "" for base in policy.__mro__)
        own = [f.name for f in fields(policy)]  # type: ignore[arg-type]
        missing = [p for p in own if not re.search(rf"^ +{p}: ", pages, re.M)]
        assert not missing, (name, missing)
