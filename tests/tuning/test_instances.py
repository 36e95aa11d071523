"""Train and test instances are apart, whatever the files are called."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_opt.errors import InputError
from pats_opt.tuning.instances import TuneInstance, instances_of, split, without
from tests.tuning.conftest import write


def case(number: int, group: str = "g") -> TuneInstance:
    return TuneInstance(
        name=f"n{number}", group=group, sha256=f"{number:064x}", file=f"{number}.json"
    )


groups = st.lists(st.sampled_from("abc"), min_size=2, max_size=40)


@given(groups, st.floats(0.01, 0.99), st.integers(0, 5))
def test_split(letters: list[str], share: float, seed: int) -> None:
    """Both sides have an instance, none is on both, and each class gives its share."""
    all_cases = [case(i, letter) for i, letter in enumerate(letters)]
    train, test = split(all_cases, share, seed)
    assert train
    assert test
    assert sorted(c.name for c in (*train, *test)) == sorted(c.name for c in all_cases)
    wanted = min(max(round(share * len(all_cases)), 1), len(all_cases) - 1)
    assert len(test) == wanted
    for letter in set(letters):
        exact = share * letters.count(letter)
        assert int(exact) <= sum(c.group == letter for c in test) <= int(exact) + 1


@given(groups, st.integers(0, 5), st.randoms())
def test_order_and_names_do_not_matter(letters: list[str], seed: int, random: object) -> None:
    """Only digests, classes and the seed decide."""
    all_cases = [case(i, letter) for i, letter in enumerate(letters)]
    shuffled = list(all_cases)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    expected = {c.sha256 for c in split(all_cases, 0.3, seed)[1]}
    assert {c.sha256 for c in split(shuffled, 0.3, seed)[1]} == expected


def test_seeds_differ() -> None:
    all_cases = [case(i) for i in range(20)]
    assert len({str(split(all_cases, 0.3, seed)[1]) for seed in range(5)}) > 1


@pytest.mark.parametrize("count", [0, 1])
def test_too_few(count: int) -> None:
    with pytest.raises(InputError, match="cannot be split into train and test; name at least two"):
        split([case(i) for i in range(count)], 0.3, 0)


def test_apart() -> None:
    """Test instances are never train instances; nothing left to train on is refused."""
    assert without([case(1), case(2)], [case(2), case(3)]) == [case(1)]
    for train, test in (([case(1)], [case(1)]), ([], [case(1)]), ([case(1)], [])):
        with pytest.raises(InputError, match="is a test instance as well"):
            without(train, test)


def test_the_same_instance_counts_once(tmp_path: Path, instances: str) -> None:
    """Given as a file and in a folder, or under another file's name, an instance is one."""
    twin = tmp_path / "twin.json"
    twin.write_bytes((Path(instances) / "small" / "small-0.json").read_bytes())
    found = instances_of([instances, str(twin), instances], ["demo"], tmp_path)
    assert len(found) == 10 + 9
    assert {c.group for c in found} >= {"small", "large", "demo-a100"}
    assert (tmp_path / "instances" / "demo" / "demo-a100-s0.json").is_file()


def test_an_instance_with_its_own_class(tmp_path: Path) -> None:
    """``extra.class`` is the class, else the folder's name."""
    path = write(tmp_path / "folder" / "one.json", extra={"class": "own"})
    other = write(tmp_path / "folder" / "two.json", requests=5)
    assert {c.group for c in instances_of([path, other], [], tmp_path)} == {"own", "folder"}
