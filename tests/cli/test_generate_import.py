"""The commands ``generate`` and ``import``."""

from __future__ import annotations

from pathlib import Path

import pytest

import pats_opt
from pats_opt.cli import run
from pats_opt.model.instance import Overlap

LOG = "when,lora,steps\n10,a,30\n11,b,40\n12.5,a;b,30\n"


@pytest.fixture
def log(tmp_path: Path) -> str:
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return str(path)


def test_generate_takes_options_over_the_file(tmp_path: Path) -> None:
    config = tmp_path / "recipe.toml"
    config.write_text('requests = 9\n[service]\nprofile = "a100-40g"\n[gpus]\ncount = 2\n')
    out = tmp_path / "made.json"
    args = ["generate", "--config", str(config), "--requests", "5", "--pruned", "", "-o", str(out)]
    assert run(args) == 0
    instance = pats_opt.read_instance(out)
    assert (len(instance.requests), len(instance.gpus), instance.tick_s) == (5, 2, 0.05)
    assert {len(r.options) for r in instance.requests} == {1}


def test_generate_is_seeded(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.json" for i in range(3)]
    for path, seed in zip(paths, ("4", "4", "5"), strict=True):
        assert run(["generate", "--seed", seed, "--name", "x", "-o", str(path)]) == 0
    first, same, other = (path.read_bytes() for path in paths)
    assert first == same != other


def test_every_option_of_generate_reaches_the_instance(tmp_path: Path) -> None:
    out = tmp_path / "made.json"
    args = (
        "--requests 12 --arrivals bursty --cv 2 --load 0.5 --complexity 0.1:1,0.9:3"
        " --steps 30:9,40:1 --images 1:1,2:1 --adapters 6 --zipf 1 --base-share 0.1"
        " --profile tiers --tick 1 --gpus 2 --vram 40,24 --batch 3 --resident popular"
        " --max-resident 2 --max-per-batch 2 --activate 0.1 --tier disk --load-channels 2"
        " --switch-price 0.25 --latency-price 0.01 --late-price 1 --deadline-share 1"
        " --reject-share 1 --pruned 10,20 --sizes 512x512:1,768x768:1 --image-mode share"
        " --ranks 8:1,16:1 --lora-hidden 640 --lora-layers 280 --lora-bytes 4"
    )
    assert run(["generate", *args.split(), "-o", str(out)]) == 0
    instance = pats_opt.read_instance(out)
    assert instance.tick_s == 1.0
    assert [g.capacity for g in instance.gpus] == [
        {"vram_gib": 40.0, "batch": 3.0},
        {"vram_gib": 24.0, "batch": 3.0},
    ]
    assert all(len(g.resident) == 2 for g in instance.gpus)
    switching = instance.switching
    assert (switching.max_resident, switching.max_per_batch) == (2, 2)
    assert (switching.activate_s, switching.price_per_s) == (0.1, 0.25)
    assert switching.overlap == Overlap(channels=2)
    assert (instance.latency_price_per_s, instance.late_price) == (0.01, 1.0)
    assert {a.vram_gib for a in instance.adapters if a.id != "base"} == {0.0107, 0.0214}
    assert {r.width for r in instance.requests} == {512, 768}
    assert {r.weight for r in instance.requests} == {0.5, 1.0}
    assert all(r.deadline_s and r.reject_loss for r in instance.requests)
    assert {o.steps for r in instance.requests for o in r.options} >= {10, 20, 30}


def test_generate_writes_a_suite(tmp_path: Path) -> None:
    assert run(["generate", "--suite", "demo", "-o", str(tmp_path / "demo")]) == 0
    paths = sorted((tmp_path / "demo").glob("*.json"))
    assert len(paths) >= 6
    assert all(pats_opt.read_instance(path).name == path.stem for path in paths)


def test_generate_lists_suites_and_profiles(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", "--list"]) == 0
    out = capsys.readouterr().out
    assert "documents-small" in out
    assert "a100-40g" in out


def looked_up(path: Path) -> list[tuple[int, float | None, list[int]]]:
    """Level, similarity and skips of each request of a file."""
    requests = pats_opt.read_instance(path).requests
    extras = [r.extra["approximate_cache"] for r in requests]  # type: ignore[index]
    return [
        (one["level"], one.get("similarity"), [o.skip for o in r.options])
        for one, r in zip(extras, requests, strict=True)
    ]


def test_every_option_of_approximate_caching_reaches_the_instance(tmp_path: Path) -> None:
    """Three prompts, the first of which is looked up before the requests."""
    out, prompts, table = tmp_path / "made.json", tmp_path / "prompts.txt", tmp_path / "table.csv"
    prompts.write_text("a red fox\na red fox in snow\na red fox\n")
    table.write_text("skip,quality\n0,0.9\n8,0.8\n20,0.7\n")
    args = (
        "--requests 2 --steps 40 --adapters 1 --approximate-cache prompts --cache-levels 8,20"
        f" --cache-thresholds 0.1,0.9 --prompts {prompts} --warm-prompts 1 --embedder words"
        " --cache-capacity 1 --cache-eviction lru --cache-scope global --lookup-time 2"
        f" --quality-spread 0 --skip-quality-table {table}"
    )
    assert run(["generate", *args.split(), "-o", str(out)]) == 0
    (first, _, skips), second = looked_up(out)
    assert (first, skips) == (8, [20, 8, 0])
    assert second == (20, 1.0, [20, 8, 0])
    instance = pats_opt.read_instance(out)
    assert instance.requests[0].arrival_s == 2.0
    assert [o.quality for o in instance.requests[0].options] == [0.7, 0.8, 0.9]


def test_approximate_caching_alone_draws_from_the_published_shares(tmp_path: Path) -> None:
    """The option needs no value; another option of the cache turns it on too."""
    out = tmp_path / "made.json"
    for args in (["--approximate-cache"], ["--cache-shares", "0.426,0.213,0.046,0.032,0.059"]):
        assert run(["generate", "--steps", "50", *args, "-o", str(out)]) == 0
        rows = looked_up(out)
        assert {tuple(skips) for _, _, skips in rows} == {(25, 20, 15, 10, 5, 0)}
        assert len({level for level, _, _ in rows}) > 2


def test_import_looks_up_prompts_and_takes_logged_similarities(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, out = tmp_path / "log.csv", tmp_path / "made.json"
    log.write_text("t,prompt,cosine\n0,a red fox,0.7\n1,a red fox,\n2,blue sky over hills,0.96\n")
    args = ["import", "trace", str(log), "--time", "t", "--full", "50", "--adapters", "1"]
    own = [*args, "--prompt", "prompt", "--approximate-cache", "prompts", "-o", str(out)]
    assert run(own) == 0
    assert [row[:2] for row in looked_up(out)] == [(0, None), (25, 1.0), (0, None)]
    logged = [*args, "--similarity", "cosine", "--approximate-cache", "log", "-o", str(out)]
    assert run(logged) == 0
    assert [row[:2] for row in looked_up(out)] == [(5, 0.7), (0, None), (25, 0.96)]
    assert run([*args, "--approximate-cache", "prompts", "-o", str(out)]) == 2
    expected = "pats-opt: error: approximate_cache.source: there are no prompts to look up"
    assert capsys.readouterr().err.splitlines()[-1].startswith(expected)


def test_import_keeps_columns_and_reads_deadlines_in_milliseconds(tmp_path: Path) -> None:
    log, out = tmp_path / "log.csv", tmp_path / "made.json"
    log.write_text("t,due,user,tier\n0,1500,ann,\n1,,bob,gold\n")
    args = ["import", "trace", str(log), "--time", "t", "--deadline", "due", "-o", str(out)]
    assert run([*args, "--deadline-unit", "ms", "--keep", "user", "--keep", "tier"]) == 0
    requests = pats_opt.read_instance(out).requests
    assert [(r.deadline_s, r.extra) for r in requests] == [
        (1.5, {"user": "ann", "tier": ""}),
        (None, {"user": "bob", "tier": "gold"}),
    ]
    assert run([*args, "--keep", "usr"]) == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "add -o FILE"),
        (["--suite", "dem"], "choose one of: demo"),
        (["--suite", "demo", "--requests", "5"], "--requests has no effect on a suite"),
        (["--arrivals", "often"], "--arrivals: "),
        (["--arrivals", "square", "--square", "1:2"], "'1:2': write it as LOW:HIGH:S"),
        (["--arrivals", "square", "--square", "0:0:9"], "--square: a square wave needs a rate abo"),
        (["--arrivals", "day", "--day-length", "0"], "--day-length: expected a number > 0"),
        (["--load", "much"], "write it as X"),
        (["--images", "1:x"], "write it as N:SHARE"),
        (["--sizes", "big"], "write it as WxH:SHARE"),
        (["--profile", "h900"], "choose one of: a100-40g"),
        (["--quality-table", "none.csv"], "no such file"),
        (["--config", "none.toml"], "none.toml: no such file"),
        (["--vram", "9"], "fits no GPU"),
        (["--approximate-cache", "promts"], "invalid value 'promts'; write 'log' or 'prompts' or"),
        (["--approximate-cache", "log"], "there is no log of similarities; name a file (--simil"),
        (["--approximate-cache", "prompts"], "there are no prompts to look up; name a file of"),
        (["--cache-levels", "10,5"], "approximate_cache: 'levels' needs rising numbers of steps"),
        (
            ["--cache-thresholds", "0.5,0.4,0.3,0.2,0.1"],
            "'thresholds' needs one cosine for each of",
        ),
        (["--cache-thresholds", "high"], "'high': write it as X,"),
        (["--cache-eviction", "lrru"], "--cache-eviction: invalid value 'lrru'; write 'lcbfu' or"),
        (["--approximate-cache", "--steps", "20"], "level 25 leaves nothing of the 20 steps of"),
        (["--skip-quality-table", "none.csv", "--steps", "50"], "none.csv: no such file"),
        (["--load-channels", "0"], "--load-channels: expected a whole number >= 1"),
        (["--load-channels", "1", "--service", "slot"], "needs 'service.kind' steps"),
    ],
)
def test_generate_refuses_in_one_line(
    args: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["-o", str(tmp_path / "x")] if args else []
    assert run(["generate", *args, *output]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_config_errors_name_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "recipe.toml"
    config.write_text("[gpus]\ncounts = 2\n")
    assert run(["generate", "--config", str(config), "-o", str(tmp_path / "x")]) == 2
    error = capsys.readouterr().err
    assert str(config) in error
    assert "counts" in error


def test_import_trace(log: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.json"
    args = ["import", "trace", log, "--time", "when", "--adapter", "lora", "--steps", "steps"]
    assert run([*args, "--speed", "2", "--gpus", "2", "--pruned", "15", "-o", str(out)]) == 0
    instance = pats_opt.read_instance(out)
    assert [(r.arrival_s, r.adapter) for r in instance.requests] == [
        (0.0, "a"),
        (0.5, "b"),
        (1.25, "a+b"),
    ]
    assert [[o.steps for o in r.options] for r in instance.requests] == [
        [15, 30],
        [15, 40],
        [15, 30],
    ]
    assert len(instance.gpus) == 2
    captured = capsys.readouterr()
    assert "3 rows, 3 requests, 3 adapters" in captured.err
    assert captured.out == ""


def test_import_says_when_no_queue_will_form(
    log: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["import", "trace", log, "--time", "when", "--speed", "0.01", "-o", str(tmp_path / "x")]
    assert run(args) == 0
    assert "increase it with --speed" in capsys.readouterr().err


def test_import_names_the_nearest_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["import", "trac"]) == 2
    assert "choose one of: trace" in capsys.readouterr().err


def test_import_lists_its_formats(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["import", "--help"]) == 0
    assert "CSV, JSON lines or Parquet" in capsys.readouterr().out


def test_import_needs_the_time_column(log: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["import", "trace", log, "-o", "x.json"]) == 2
    assert "--time" in capsys.readouterr().err
