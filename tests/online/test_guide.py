"""The policy that the guide builds works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pats_opt.policy import Policy
from pats_opt.testing.policies import PolicyConformance

GUIDE = Path(__file__).parents[2] / "docs" / "add-a-solver.md"


def newest() -> Any:
    """The class in the guide."""
    (code,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.S)
        if "class Newest(" in block
    )
    names: dict[str, Any] = {"__name__": __name__}
    exec(code, names)  # noqa: S102 - our own page
    return names["Newest"]


class TestNewest(PolicyConformance):
    """The suite on it."""

    seeds = range(15)

    def make(self) -> Policy:
        """The policy."""
        made: Policy = newest()()
        return made


def test_it_serves_the_last_first_and_takes_the_common_parameters() -> None:
    from tests.online.asking import ask, members
    from tests.simulate.scripted import problem_of
    from tests.support.zoo import document, request

    problem = problem_of(document(*(request(f"r{i}") for i in range(3))))
    assert members(ask(problem, newest()())[0], problem)[0] == "r2"
    assert members(ask(problem, newest()(max_wait_s=5), tick=9)[0], problem)[0] == "r0"
