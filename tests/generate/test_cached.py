"""Approximate caching in the generator: options, look-ups, arrivals, and each source of hits."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pats_opt import Instance
from pats_opt.caching.cache import PromptCache
from pats_opt.caching.embedders import embedder
from pats_opt.errors import InputError
from pats_opt.generate import Recipe, generate
from pats_opt.generate.approximate import SHARES, ApproximateCache
from pats_opt.model.problem import Problem

#: Loss of quality at each skip, in shares of 1, of the mean prompt.
LOST = {0: 0.0, 5: 0.02954, 10: 0.04192, 15: 0.05622, 20: 0.06765, 25: 0.0848}


def made(seed: int = 0, count: int = 30, /, parts: Any = None, **cache: object) -> Instance:
    """An instance of 50 steps with approximate caching."""
    recipe = {"steps": {"full": {"values": [50]}}, "requests": count, "approximate_cache": cache}
    return generate(msgspec.convert(recipe | (parts or {}), Recipe), seed)


def found(instance: Instance) -> list[tuple[int, float | None]]:
    """Level and similarity of each request."""
    looked = [r.extra["approximate_cache"] for r in instance.requests]  # type: ignore[index]
    return [(one["level"], one.get("similarity")) for one in looked]


def test_options_are_the_levels_with_the_formula() -> None:
    """The formula: 1 - s g(K), with s / (1 + s) the complexity."""
    for request in made(spread=2.0).requests:
        assert [(o.steps, o.skip) for o in request.options] == [
            (50 - k, k) for k in sorted(LOST)[::-1]
        ]
        assert request.complexity is not None
        s = request.complexity / (1 - request.complexity)
        for option in request.options:
            assert option.quality == pytest.approx(max(0, 1 - s * LOST[option.skip]), abs=2e-5 * s)


def test_spread_is_that_of_the_prompts() -> None:
    same = made(spread=0.0)
    assert {r.complexity for r in same.requests} == {0.5}
    assert len({r.options for r in same.requests}) == 1
    assert len({r.complexity for r in made(spread=0.5).requests}) == 30


def test_a_recipe_without_the_table_has_none_of_it() -> None:
    """Everything that the table does not concern is drawn as before."""
    recipe = {"steps": {"full": {"values": [50]}}, "requests": 30}
    plain, cached = generate(msgspec.convert(recipe, Recipe)), made(lookup_s=0.0)
    for before, after in zip(plain.requests, cached.requests, strict=True):
        assert before.extra is msgspec.UNSET
        assert before.options != after.options
        changed = {"extra", "options", "complexity"}
        for name in set(before.__struct_fields__) - changed:
            assert getattr(before, name) == getattr(after, name)


def test_a_look_up_delays_the_arrival_and_keeps_the_deadline() -> None:
    parts = {"terms": {"deadline_share": 1.0}}
    at_once, later = made(parts=parts, lookup_s=0.0), made(parts=parts, lookup_s=0.4)
    for before, after in zip(at_once.requests, later.requests, strict=True):
        assert after.arrival_s == pytest.approx(before.arrival_s + 0.4)
        assert before.deadline_s is not None
        assert after.deadline_s is not None
        due = before.arrival_s + before.deadline_s
        assert after.arrival_s + after.deadline_s == pytest.approx(due)


def test_a_deadline_within_the_look_up_is_0() -> None:
    parts = {"terms": {"deadline_share": 1.0}}
    assert {r.deadline_s for r in made(parts=parts, lookup_s=1e6).requests} == {0.0}


def test_images_of_a_request_share_its_look_up() -> None:
    instance = made(parts={"images": {"count": {"values": [3]}}})
    by_request = Counter(r.id.partition(".")[0] for r in instance.requests)
    assert set(by_request.values()) == {3}
    for i in range(0, 90, 3):
        assert len({level for level, _ in found(instance)[i : i + 3]}) == 1


# -- sources of hits -------------------------------------------------------------------------------


def test_shares_are_the_shares() -> None:
    """Default shares, within four standard errors; a level is drawn for each request by itself."""
    count = 20_000
    levels = [level for level, similarity in found(made(1, count)) if similarity is None]
    seen = Counter(levels)
    expected = dict(zip((5, 10, 15, 20, 25), SHARES, strict=True))
    expected[0] = 1 - sum(SHARES)
    for level, share in expected.items():
        error = (share * (1 - share) / count) ** 0.5
        assert seen[level] / count == pytest.approx(share, abs=4 * error)
    pairs = Counter(pairwise(levels))
    assert pairs[5, 5] / count == pytest.approx(0.426**2, abs=0.015)


def test_shares_of_none_and_of_all() -> None:
    assert {k for k, _ in found(made(levels=[10], shares=[0.0]))} == {0}
    assert {k for k, _ in found(made(levels=[10], shares=[1.0]))} == {10}


def test_log_in_order_from_a_drawn_row(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("prompt,similarity\na,0.6\nb,0.8\nc,0.97\nd,-0.1\n")
    known: list[tuple[int, float | None]] = [(0, 0.6), (10, 0.8), (25, 0.97), (0, -0.1)]
    firsts = set()
    for seed in range(12):
        rows = found(made(seed, 6, source="log", log=str(path)))
        first = known.index(rows[0])
        firsts.add(first)
        assert rows == [known[(first + i) % 4] for i in range(6)]
    assert firsts == {0, 1, 2, 3}


def prompts_file(tmp_path: Path, count: int = 60) -> str:
    """Prompts, every third of which comes again soon."""
    path = tmp_path / "prompts.txt"
    lines = [f"a photo of thing{i // 3} beside tree{i // 3 % 7}" for i in range(count)]
    path.write_text("\n\n".join(lines) + "\n")
    return str(path)


def test_prompts_are_those_of_the_file_and_looked_up_in_their_order(tmp_path: Path) -> None:
    """The generator's answers are those of a cache that gets the same stream."""
    path = prompts_file(tmp_path)
    instance = made(3, 40, source="prompts", prompts=path, warm=15)
    lines = [line for line in Path(path).read_text().splitlines() if line]
    mine = [r.prompt for r in instance.requests]
    (start,) = [i for i in range(len(lines)) if lines[i : i + 40] == mine and i >= 15][:1]
    cache = PromptCache(ApproximateCache(source="prompts").settings(), embedder())
    adapters = [r.adapter for r in instance.requests]
    for i, prompt in enumerate(lines[start - 15 : start]):
        cache.request(prompt, adapters[i % 40])
    again = [cache.request(p, a)[:2] for p, a in zip(mine, adapters, strict=True)]
    assert found(instance) == again
    assert {level for level, _ in again} >= {0, 25}


def test_the_first_requests_do_not_depend_on_later_ones(tmp_path: Path) -> None:
    """A shorter file gives the same beginning."""
    path = prompts_file(tmp_path)
    long = made(0, 60, source="prompts", prompts=path, scope="global")
    short = tmp_path / "short.txt"
    short.write_text("\n".join(r.prompt for r in long.requests[:25]))
    first = made(0, 25, source="prompts", prompts=str(short), scope="global")
    assert found(first) == found(long)[:25]


def test_columns_of_prompts(tmp_path: Path) -> None:
    path = tmp_path / "prompts.tsv"
    path.write_text("Id\tPrompt\n1\ta red fox, in snow\n2\t\n3\tA RED fox in snow\n")
    parts = {"popularity": {"adapters": 1}}
    instance = made(0, 2, parts=parts, source="prompts", prompts=str(path))
    assert [r.prompt for r in instance.requests] == ["a red fox, in snow", "A RED fox in snow"]
    assert found(instance) == [(0, None), (25, 1.0)]


@pytest.mark.parametrize("source", ["shares", "log", "prompts"])
def test_a_seed_is_a_seed(source: str, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("similarity\n" + "\n".join(f"{i / 100}" for i in range(100)) + "\n")
    cache = {"source": source, "log": str(log), "prompts": prompts_file(tmp_path)}
    assert made(4, **cache).sha256 == made(4, **cache).sha256
    assert found(made(4, **cache)) != found(made(5, **cache))


def test_the_levels_reach_the_jobs() -> None:
    instance = made(5)
    jobs = Problem(instance).jobs
    assert [job.cache_level for job in jobs] == [found(instance)[j.position][0] for j in jobs]
    assert {o.skip for job in jobs for o in job.options} == set(LOST)


@pytest.mark.parametrize(
    ("cache", "problem"),
    [
        ({"levels": [5, 50], "shares": [0, 0]}, "level 50 leaves nothing of the 50 steps of requ"),
        ({"levels": [5, 30], "shares": [0, 0]}, "no quality is known of 30 of 50 steps skipped"),
        ({"source": "log"}, "there is no log of similarities; name a file"),
        ({"source": "prompts"}, "there are no prompts to look up; name a file of prompts"),
        ({"source": "log", "log": "bad.csv"}, "bad.csv: line 3: 'high' is no cosine; write a"),
        ({"source": "log", "log": "none.csv"}, "none.csv: this log has no rows; add some"),
        ({"source": "log", "log": "other.csv"}, "there is no column 'similarity'; rename one; it"),
        ({"source": "log", "log": "missing.csv"}, "missing.csv: no such file"),
        ({"source": "prompts", "prompts": "other.csv"}, "there is no column 'prompt'; rename one"),
        ({"source": "prompts", "prompts": "two.txt"}, "there are 2 prompts where 30 are needed"),
        (
            {"source": "prompts", "prompts": "two.txt", "embedder": "words2"},
            "there is no embedder 'words2'; choose one of: words",
        ),
        (
            {"source": "prompts", "prompts": "two.txt", "embedder": "math:sqrt"},
            "embedder 'math:sqrt' has no published thresholds; give one cosine for each level",
        ),
        ({"source": "log", "levels": [7]}, "level 7 has no published threshold; give 'thresholds'"),
        ({"quality_table": "similar.csv"}, "this table needs similarities, and shares of hits hav"),
    ],
)
def test_faults_are_one_line(
    cache: dict[str, Any], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "bad.csv": "similarity\n0.5\nhigh\n",
        "none.csv": "similarity\n",
        "other.csv": "cosine\n0.5\n",
        "two.txt": "one prompt\nanother prompt\n",
        "similar.csv": "similarity,skip,quality\n0,0,1\n0,25,0.9\n0.5,0,1\n0.5,25,0.95\n",
    }.items():
        Path(name).write_text(text)
    count = 2 if "embedder" in cache else 30
    with pytest.raises(InputError) as caught:
        made(0, count, **cache)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("cache", "problem"),
    [
        ({"levels": [10, 5], "shares": [0, 0]}, "'levels' needs rising numbers of steps"),
        ({"thresholds": [0.9, 0.8, 0.7, 0.6, 0.5]}, "'thresholds' needs one cosine for each"),
        ({"thresholds": [0.9]}, "'thresholds' needs one cosine for each of 'levels'"),
        ({"shares": [0.5, 0.5, 0.5, 0, 0]}, "'shares' needs one share for each of 'levels', 1 at"),
        ({"shares": [0.5]}, "'shares' needs one share for each of 'levels'"),
        ({"eviction": "lrru"}, "Invalid enum value 'lrru'"),
        ({"spread": -1}, "Expected `float` >= 0"),
    ],
)
def test_faulty_tables_of_the_recipe(cache: dict[str, Any], problem: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=problem):
        made(**cache)
