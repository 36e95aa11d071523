"""Service profiles: those of the package, a user's own, and the memory model."""

from __future__ import annotations

from pathlib import Path

import pytest

from pats_opt.errors import InputError
from pats_opt.generate import profile
from pats_opt.model.timing import to_ticks

OWN = """
format = "pats-opt/profile"
version = 1
name = "bench"
device = "some GPU"
date = "2025-01-31"
tick_s = 0.5
step_s = { table = [0.1, 0.15, 0.2] }
overhead_s = { base = 0.2, per_sample = 0.05 }

[memory]
capacity_gib = 24.0
adapter_gib = 0.2
measured = [
  { width = 512, height = 512, batch = [1, 2, 4], gib = [6.0, 7.0, 9.0] },
  { width = 1024, height = 1024, batch = [1, 2], gib = [8.0, 11.5] },
]

[load]
tier = "disk"
tiers.disk.seconds = [1.0]
tiers.host.seconds = [0.25]

[sources]
step_s = "measured"
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    path = tmp_path / "bench.toml"
    path.write_text(OWN)
    return str(path)


@pytest.mark.parametrize("name", profile.names())
def test_package_profiles_name_the_source_of_every_figure(name: str) -> None:
    found = profile.load(name)
    assert found.name == name
    assert set(found.sources) >= {"step_s", "memory", "load"}
    assert found.load_time(None).median > 0


def test_the_profiles_of_the_issue_are_there() -> None:
    assert set(profile.names()) == {
        "a100-40g",
        "a100-80g",
        "argus-a100",
        "documents",
        "h100-80g",
        "production",
        "tiers",
        "tiny-cpu",
    }


@pytest.mark.parametrize(
    ("name", "figures"),
    [("documents", (0.06, 0.06, 1.16)), ("a100-40g", (0.148, 0.974, 1.153))],
)
def test_figures(name: str, figures: tuple[float, float, float]) -> None:
    """Step time at n = 1 and 8, and the load time."""
    found = profile.load(name)
    assert (found.step_s(1), found.step_s(8), found.load_time(None).median) == pytest.approx(
        figures
    )


def test_memory_model_never_says_less_than_was_measured() -> None:
    for name in profile.names():
        memory = profile.load(name).memory
        base, _ = memory.line
        for table in memory.measured:
            each = memory.request_gib(table.width, table.height)
            for n, gib in zip(table.batch, table.gib, strict=True):
                assert base + n * each >= gib - 1e-9


def test_covering_line_is_the_lowest_one() -> None:
    """Points on a line give it back; one above it lifts it, one below does not."""
    assert profile.covering_line([1, 2, 4], [7, 9, 13]) == pytest.approx((5, 2))
    assert profile.covering_line([1, 2, 4], [7, 8, 13]) == pytest.approx((5, 2))
    base, slope = profile.covering_line([1, 2, 4], [7, 10, 13])
    assert (base + slope, base + 2 * slope) == pytest.approx((8.5, 10))
    assert profile.covering_line([1, 2], [9, 8]) == (9, 0)


def test_own_profile_from_a_file(own: str) -> None:
    found = profile.load(own)
    assert found.memory.line == (5.0, 1.0)
    assert found.memory.request_gib(512, 512) == 1.0
    assert found.memory.request_gib(1024, 1024) == 3.25  # measured: (11.5 - 5) / 2
    assert found.memory.request_gib(1024, 512) == 2.0  # twice the reference's pixels
    assert found.overhead(2) == pytest.approx(0.3)
    assert found.load_time("host").median == 0.25


def test_unknown_tier_names_those_there_are(own: str) -> None:
    with pytest.raises(InputError, match=r"no tier 'tape'; choose one of: disk, host"):
        profile.load(own).load_time("tape")


def test_unknown_profile_names_those_there_are() -> None:
    with pytest.raises(InputError, match=r"no profile 'h900'; choose one of: a100-40g"):
        profile.load("h900")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("tick_s = 0.5", "tick_s = 0.5\ncolour = 1", r"unknown key .?colour"),
        ("tick_s = 0.5", "tick_s = -1", "tick_s: "),
        ("batch = [1, 2]", f"batch = [1, {'9' * 400}]", "batch.1.: "),
        ("gib = [8.0, 11.5]", "gib = [8.0]", "one number for each of 'batch'"),
        ("measured = [", "base_gib = 1.0\nmeasured = [", "both 'base_gib' and 'per_sample_gib'"),
        ('tier = "disk"', 'tier = "tape"', "none of 'tiers'"),
        ("seconds = [0.25]", "seconds = [0.25, 1.0]", "one number for each of 'levels'"),
        ("[sources]", "[sources", "this is not TOML"),
    ],
)
def test_wrong_profile_is_refused_with_its_place(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    path = tmp_path / "wrong.toml"
    assert before in OWN
    path.write_text(OWN.replace(before, after))
    with pytest.raises(InputError, match=message) as caught:
        profile.load(str(path))
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("name", [n for n in profile.names() if n != "documents"])
def test_ticks_of_measured_profiles_distort_little(name: str) -> None:
    """A batch of 20 steps gets at most 5 % longer, and so does one with a load before it."""
    found = profile.load(name)
    batch_s = found.overhead(1) + 20 * found.step_s(1)
    assert found.tick_s <= 0.05 * batch_s * (1 + 1e-9)
    for tier in found.load.tiers.values():
        load_s = tier.median
        longer_s = to_ticks(load_s, found.tick_s) * found.tick_s - load_s
        assert longer_s <= 0.02 * (load_s + batch_s)
