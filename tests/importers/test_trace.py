"""Request logs: formats, columns, times, windows, families, images, and what is wrong in them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from msgspec import UNSET

from pats_opt.errors import InputError
from pats_opt.generate.recipe import Recipe
from pats_opt.importers.mapping import LogMapping
from pats_opt.importers.trace import ImportedTrace, import_trace
from pats_opt.model.files import encode

ROWS: list[dict[str, Any]] = [
    {"t": 100.0, "lora": "b;a", "ckpt": "m1", "steps": 30, "n": 1, "prompt": "a cat", "ok": "yes"},
    {"t": 90.0, "lora": "", "ckpt": "m1", "steps": 40, "n": 2, "prompt": "two dogs", "ok": "yes"},
    {"t": 110.5, "lora": "a;b", "ckpt": "m2", "steps": 30, "n": 4, "prompt": "x" * 90, "ok": "no"},
    {"t": 130.0, "lora": "c", "ckpt": "m2", "steps": 10, "n": 1, "prompt": "", "ok": "yes"},
]


def csv_text(rows: list[dict[str, Any]]) -> str:
    lines = [",".join(rows[0]), *(",".join(str(v) for v in row.values()) for row in rows)]
    return "\n".join(lines) + "\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    path.write_text(csv_text(ROWS))
    return path


def read(path: Path, recipe: dict[str, Any] | None = None, **mapping: Any) -> ImportedTrace:
    """Import with a mapping and a recipe given as plain tables."""
    mapping["columns"] = {"time": "t", **mapping.get("columns", {})}
    return import_trace(
        path, msgspec.convert(mapping, LogMapping), msgspec.convert(recipe or {}, Recipe)
    )


def written(path: Path, kind: str) -> Path:
    """ROWS in a format, under the name that goes with it."""
    path = path / f"log.{kind}"
    plain, zipped = kind.removesuffix(".gz"), kind.endswith(".gz")
    if plain == "parquet":
        pl.DataFrame(ROWS).write_parquet(path)
        data = path.read_bytes()
    elif plain == "jsonl":
        data = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    else:
        data = csv_text(ROWS).replace(",", "\t" if plain == "tsv" else ",").encode()
    path.write_bytes(gzip.compress(data) if zipped else data)
    return path


@pytest.mark.parametrize(
    "kind", ["csv", "csv.gz", "tsv", "jsonl", "jsonl.gz", "parquet", "parquet.gz"]
)
def test_formats_give_the_same_instance(kind: str, tmp_path: Path) -> None:
    columns = {"adapter": "lora", "steps": "steps", "prompt": "prompt"}
    requests = read(written(tmp_path, kind), columns=columns).instance.requests
    assert [(r.arrival_s, r.adapter, r.options[-1].steps, r.prompt[:8]) for r in requests] == [
        (0.0, "base", 40, "two dogs"),
        (10.0, "a+b", 30, "a cat"),
        (20.5, "a+b", 30, "xxxxxxxx"),
        (40.0, "c", 10, ""),
    ]


def test_adapters_as_lists(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pl.DataFrame({"t": [0, 1, 2], "lora": [["b", "a"], [], ["a"]]}).write_parquet(path)
    kept = read(path, columns={"adapter": "lora"}, lora_only=True).instance
    assert [r.adapter for r in kept.requests] == ["a+b", "a"]


@pytest.mark.parametrize(
    ("family", "adapters"),
    [
        ("set", ["base", "a+b", "a+b", "c"]),
        ("first", ["base", "b", "a", "c"]),
        ("column", ["base", "b;a", "a;b", "c"]),
        ("base+set", ["m1", "m1/a+b", "m2/a+b", "m2/c"]),
    ],
)
def test_families(log: Path, family: str, adapters: list[str]) -> None:
    found = read(
        log,
        {"service": {"profile": "production"}},
        columns={"adapter": "lora", "base_model": "ckpt"},
        family=family,
    )
    assert [r.adapter for r in found.instance.requests] == adapters


def test_windows(log: Path) -> None:
    """Both ends of a window belong to it; the earliest rows count."""

    def ids(**window: Any) -> list[float]:
        return [r.arrival_s for r in read(log, window=window).instance.requests]

    assert ids(since="100", until="130") == [0.0, 10.5, 30.0]
    assert ids(since="100", count=2) == [0.0, 10.5]
    assert ids(count=1) == [0.0]
    assert ids(where=["ok=yes"]) == [0.0, 10.0, 40.0]
    assert ids(where=["ok!=yes"]) == [0.0]
    assert ids(where=["ok=yes", "lora=c"]) == [0.0]


def test_speed_up_moves_arrivals_closer(log: Path) -> None:
    found = read(log, speed=10.0)
    assert [r.arrival_s for r in found.instance.requests] == [0.0, 1.0, 2.05, 4.0]
    assert found.span_s == 4.0
    assert found.load == pytest.approx(10 * (read(log).load or 0))


def test_load_is_work_over_time(log: Path) -> None:
    """documents, b = 4: a request of s steps with a switch of 1.16 s is (0.06 s + 1.16) / 4."""
    found = read(log, columns={"adapter": "lora", "steps": "steps"})
    work = (2.4 + 0) + (1.8 + 2.32) + (1.8 + 2.32) + (0.6 + 1.16)
    assert found.load == pytest.approx(work / 4 / 40.0)


def test_lora_only(log: Path) -> None:
    found = read(log, columns={"adapter": "lora"}, lora_only=True)
    assert [r.adapter for r in found.instance.requests] == ["a+b", "a+b", "c"]


@pytest.mark.parametrize(
    ("mode", "count", "weights"),
    [
        ("split", 8, {1.0}),
        ("group", 8, {1.0}),
        ("share", 8, {1.0, 0.5, 0.25}),
        ("stack", 4, {1.0}),
        ("one", 4, {1.0}),
    ],
)
def test_images(log: Path, mode: str, count: int, weights: set[float]) -> None:
    found = read(log, {"images": {"mode": mode}}, columns={"images": "n"})
    assert found.requests == 4
    assert len(found.instance.requests) == count
    assert {r.weight for r in found.instance.requests} == weights


@pytest.mark.parametrize(
    ("cells", "time_format", "arrivals"),
    [
        (["5", "6.5"], "auto", [0.0, 1.5]),
        (["5000", "6500"], "ms", [0.0, 1.5]),
        (["1", "2"], "min", [0.0, 60.0]),
        (["2023-11-16 18:15:46.6805900", "2023-11-16 18:15:50.9951690"], "auto", [0.0, 4.314579]),
        (["2023-11-16T18:15:46Z", "2023-11-16T20:15:47+02:00"], "auto", [0.0, 1.0]),
        (["2023-11-16T18:15", "2023-11-16T13:16-0500"], "iso", [0.0, 60.0]),
        (["2023-11-16", "2023-11-17"], "iso", [0.0, 86400.0]),
        (["16.11.2023 18:00", "16.11.2023 18:05"], "%d.%m.%Y %H:%M", [0.0, 300.0]),
    ],
)
def test_times(tmp_path: Path, cells: list[str], time_format: str, arrivals: list[float]) -> None:
    path = tmp_path / "log.csv"
    path.write_text("t\n" + "\n".join(cells) + "\n")
    found = read(path, window={"time_format": time_format})
    assert [r.arrival_s for r in found.instance.requests] == arrivals


@pytest.mark.parametrize("zone", [None, "Asia/Tokyo"])
def test_typed_times_with_and_without_zone(tmp_path: Path, zone: str | None) -> None:
    from datetime import datetime

    path = tmp_path / "log.parquet"
    times = pl.Series("t", [datetime(2024, 1, 1, 9), datetime(2024, 1, 1, 10)])
    pl.DataFrame([times.dt.replace_time_zone(zone)]).write_parquet(path)
    assert [r.arrival_s for r in read(path).instance.requests] == [0.0, 3600.0]
    since = "2024-01-01T09:30" if zone is None else "2024-01-01T09:30+09:00"
    assert len(read(path, window={"since": since}).instance.requests) == 1


def test_iso_window(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("t\n2024-01-01T10:00:00Z\n2024-01-01T11:00:00Z\n2024-01-01T12:00:00Z\n")
    found = read(path, window={"since": "2024-01-01 10:30", "until": "2024-01-01T11:30:00Z"})
    assert found.requests == 1


def test_everything_a_log_can_tell(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        "t,who,p,neg,c,due,w,h,weight,call\n0,u1,a cat,blurry,0.3,12.5,512,768,2,c9\n1,u2,,,,,,,,\n"
    )
    names = {
        "id": "who",
        "prompt": "p",
        "negative_prompt": "neg",
        "complexity": "c",
        "deadline": "due",
        "width": "w",
        "height": "h",
        "weight": "weight",
        "group": "call",
    }
    one, two = read(path, columns=names).instance.requests
    assert (one.id, one.prompt, one.negative_prompt, one.complexity) == (
        "u1",
        "a cat",
        "blurry",
        0.3,
    )
    assert (one.deadline_s, one.width, one.height, one.weight) == (12.5, 512, 768, 2.0)
    assert one.demand["vram_gib"] == pytest.approx(4.0 * 512 * 768 / 1024**2, abs=1e-4)
    assert (two.deadline_s, two.width, two.weight) == (None, 1024, 1.0)
    assert (one.group, two.group) == ("c9", UNSET)
    modes = {"images": {"mode": "group"}}
    assert [r.group for r in read(path, modes, columns=names).instance.requests] == ["c9", "u2"]
    assert two.complexity is not None


def test_complexity_from_prompt_length_or_prompt(log: Path, tmp_path: Path) -> None:
    by_prompt = read(log, columns={"prompt": "prompt"}).instance.requests
    assert by_prompt[2].complexity == pytest.approx(1 - 2 ** (-90 / 33), abs=1e-3)
    path = tmp_path / "lengths.csv"
    path.write_text("t,len\n0,22\n1,\n")
    one, two = read(path, columns={"prompt_length": "len"}, length_unit="tokens").instance.requests
    assert one.complexity == pytest.approx(1 - 2 ** (-99 / 33), abs=1e-3)
    assert two.complexity is not None


def test_adapters_are_drawn_where_the_log_has_none(log: Path) -> None:
    first = read(log, {"popularity": {"adapters": 2}}).instance
    assert encode(first) == encode(read(log, {"popularity": {"adapters": 2}}).instance)
    assert {r.adapter for r in first.requests} <= {"lora-1", "lora-2"}


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("set", {"a+b": 0.0428 + 0.1709, "b": 0.1709, "c": 0.17, "base": 0.0}),
        ("first", {"b": 0.1709, "a": 0.0428, "c": 0.17, "base": 0.0}),
    ],
)
def test_ranks_give_the_memory(tmp_path: Path, family: str, expected: dict[str, float]) -> None:
    """One rank for each adapter, in any row; without one, the profile's memory."""
    path = tmp_path / "log.csv"
    path.write_text("t,lora,r\n1,b;a,64;16\n2,b,64.0\n3,c,\n4,a;b,\n5,,\n")
    found = read(path, columns={"adapter": "lora", "rank": "r"}, family=family).instance
    assert {a.id: a.vram_gib for a in found.adapters} == {
        name: pytest.approx(gib) for name, gib in expected.items()
    }


def test_ranks_of_typed_cells_and_of_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"t": 1, "lora": ["b", "a"], "r": [64, 16]}\n{"t": 2, "lora": ["c"]}\n')
    recipe = {"ranks": {"rank": {"values": [8]}, "bytes": 1}}
    found = read(path, recipe, columns={"adapter": "lora", "rank": "r"}).instance
    assert {a.id: a.vram_gib for a in found.adapters} == {
        "a+b": pytest.approx(0.0855 + 0.0214),
        "c": 0.0107,
    }


@pytest.mark.parametrize(
    ("text", "mapping", "message"),
    [
        *(
            (
                f"t,lora,r\n1,a,8\n2,b,{rank}\n",
                {"columns": {"adapter": "lora", "rank": "r"}},
                f"row 2, column 'r': '{rank}' is no whole number from 1 to 65536; correct it",
            )
            for rank in ("0", "-8", "8.5", "r16", "nan", "1e9")
        ),
        (
            "t,lora,r\n1,a,8\n2,a;b,16;8\n",
            {"columns": {"adapter": "lora", "rank": "r"}},
            "row 2, column 'r': adapter 'a' has rank 16 here and 8 before; give each adapter one",
        ),
        (
            "t,lora,r\n1,a;b,8\n",
            {"columns": {"adapter": "lora", "rank": "r"}},
            "row 1, column 'r': 1 rank for 2 adapters; give one for each",
        ),
        ("t,r\n1,8\n", {"columns": {"rank": "r"}}, "--rank needs a column of adapters; add"),
        (
            "t,lora\n1,a\n",
            {"columns": {"time": "tt"}},
            r"no column 'tt' \(--time\); choose one of: t",
        ),
        ("t,lora\n1,a\n", {"columns": {"adapter": "loras"}}, r"choose one of: lora"),
        ("t\n1\nsoon\n", {}, "row 2, column 't': 'soon' is no time"),
        ("t\n1\nnan\n", {}, "row 2, column 't'"),
        (
            "t\n1\n2\n",
            {"window": {"since": "5"}},
            "no request is in the window; the log has times",
        ),
        ("t\n1\n", {"window": {"where": ["t=7"]}}, "the filters leave no row"),
        ("t\n1\n", {"window": {"where": ["t"]}}, "write it as column=value"),
        ("t\n1\n", {"window": {"where": ["x=1"]}}, r"no column 'x' \(--where\)"),
        ("t\n1\n", {"window": {"since": "noon"}}, "--from: 'noon' is no time"),
        ("t\n1\n", {"window": {"time_format": "days"}}, "no time format 'days'"),
        (
            "t,s\n1,30\n2,many\n",
            {"columns": {"steps": "s"}},
            "row 2, column 's': 'many' is no number",
        ),
        ("t,s\n1,0\n", {"columns": {"steps": "s"}}, "no number from 1 to"),
        ("t,c\n1,1.5\n", {"columns": {"complexity": "c"}}, "no number from 0 to 1"),
        (
            "t,i\n1,a\n2,a\n",
            {"columns": {"id": "i"}},
            "row 2, column 'i': the id 'a' is already in row 1",
        ),
        (
            f"t,i\n1,a\n2,{'b' * 600}\n",
            {"columns": {"id": "i"}},
            r"log.csv: requests.1..id: expected a text of length <= 512",
        ),
        ("t\n1\n", {"lora_only": True}, "--lora-only needs a column"),
        ("t\n1\n", {"family": "base+set"}, "needs a base model"),
        ("t,x\n1,2\n3,4,5\n", {}, "cannot be read as a log"),
        ("", {}, "this file is empty"),
        ("t\n", {}, "leave no row"),
    ],
)
def test_wrong_input_is_refused_in_one_line(
    tmp_path: Path, text: str, mapping: dict[str, Any], message: str
) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read(path, **mapping)
    assert "\n" not in str(caught.value)


def test_row_numbers_are_the_files_even_under_filters(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("t,ok,s\n3,no,x\n2,yes,30\n1,yes,x\n")
    with pytest.raises(InputError, match="row 3, column 's'"):
        read(path, columns={"steps": "s"}, window={"where": ["ok=yes"]})


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv.gz", "jsonl.gz", "parquet.gz"])
def test_file_of_another_format_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"log.{kind}"
    path.write_bytes(b"this, is no\nsuch file\n\xff")
    with pytest.raises(InputError, match="log") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_names_that_tell_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(csv_text(ROWS))
    with pytest.raises(InputError, match="the name has no known ending"):
        read(path)
    assert read(path, format="csv").requests == 4
    with pytest.raises(InputError, match="this is a folder"):
        read(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "none.csv")
