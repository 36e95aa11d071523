"""Reading and writing: valid files are kept as they are, errors are one line."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_opt.cli import run
from pats_opt.errors import InfeasibleError, InputError
from pats_opt.model.files import (
    encode,
    parse_instance,
    read_instance,
    read_schedule,
    write_instance,
    write_schedule,
)
from pats_opt.model.instance import Instance, digest
from pats_opt.model.parsing import parse_json
from pats_opt.solving.solve import solve
from tests.support.brute_force import best_schedule
from tests.support.strategies import broken_documents, documents, json_values
from tests.support.zoo import adapter, document, gpu, request

Json = dict[str, Any]
Edit = Callable[[Json], object]


def refusal(text: str | bytes) -> str:
    """The one line that refuses a text."""
    with pytest.raises(InputError) as caught:
        parse_instance(text)
    message = str(caught.value)
    assert message
    assert message.isprintable()
    return message


def read_or_refuse(text: str | bytes) -> Instance | InputError:
    """The instance, or the error that refuses it; any other error is a bug."""
    try:
        return parse_instance(text)
    except InputError as error:
        return error


def complete() -> Json:
    """A document with every key of the contract."""
    return document(
        request(
            "r0",
            demand={"vram_gib": 4.0, "batch": 1.0},
            options=[{"steps": 20, "quality": 0.97, "skip": 5}, {"steps": 60, "quality": 1.0}],
            weight=1.0,
            complexity=0.2,
            deadline_s=3.0,
            reject_loss=2.0,
            prompt="a corgi, pixel art",
            negative_prompt="",
            seed=17,
            width=1024,
            height=1024,
            group="call",
        ),
        request("r1", adapter="b", group=None),
        gpus=[gpu(resident=("a",), batch=8.0), gpu("gpu-1", ())],
        adapters=[adapter("a", 1.0, 0.2), adapter("b", 1.0, 0.2)],
        switching={
            "max_per_batch": 1,
            "activate_s": 0.5,
            "pairs": [{"from": None, "to": "a", "load_s": 2.0}],
        },
        service={
            "kind": "steps",
            "step_s": {"base": 0.1, "per_sample": 0.1},
            "overhead_s": {"base": 0.1, "per_sample": 0.1},
        },
        late_price=1.0,
        horizon_ticks=100,
    )


def assert_within(part: Any, whole: Any) -> None:
    """Everything in ``part`` is in ``whole``, which may hold more keys."""
    if isinstance(part, dict):
        for key, value in part.items():
            assert_within(value, whole[key])
    elif isinstance(part, list):
        assert len(part) == len(whole)
        for one, other in zip(part, whole, strict=True):
            assert_within(one, other)
    else:
        assert part == whole


def edited(*edits: Edit) -> str:
    """The complete document as text, after some edits."""
    changed = complete()
    for edit in edits:
        edit(changed)
    return json.dumps(changed)


# -- what is right ---------------------------------------------------------------------------------


def test_complete_document_is_read() -> None:
    """Every key arrives where it belongs."""
    assert_within(complete(), msgspec.to_builtins(parse_instance(json.dumps(complete()))))


def test_neutral_values() -> None:
    """Keys that may be left out have the values of the contract."""
    minimal = parse_instance(json.dumps(document(request("r0"))))
    assert minimal.late_price == 0
    assert minimal.horizon_ticks is None
    assert minimal.switching.pairs == ()
    assert minimal.switching.max_per_batch == 1
    assert minimal.switching.activate_s == 0
    (only,) = minimal.requests
    assert only.weight == 1
    assert only.deadline_s is None
    assert only.reject_loss is None
    assert (only.width, only.height) == (1024, 1024)


def test_empty_instance() -> None:
    """No requests is a valid instance, with loss 0."""
    empty = parse_instance(json.dumps(document()))
    result = solve(empty, "fifo")
    assert result.loss == 0
    assert result.schedule.rejected == ()


def test_ids_need_not_be_file_names(tmp_path: Path) -> None:
    """Ids are free text: a path, a line break or another script in them does no harm."""
    names = ["../x", "/etc/passwd", "two\nlines", "\u202e", "a" * 512, "日本", " "]
    instance = parse_instance(json.dumps(document(*(request(name) for name in names))))
    write_instance(instance, tmp_path / "i.json")
    assert [r.id for r in read_instance(tmp_path / "i.json").requests] == names
    assert [path.name for path in tmp_path.iterdir()] == ["i.json"]


@given(documents())
def test_valid_documents_are_read(valid: Json) -> None:
    """Every valid document is read, and holds what it says."""
    assert_within(valid, msgspec.to_builtins(parse_instance(json.dumps(valid))))


@given(documents(), json_values)
def test_read_then_write_is_the_identity(valid: Json, free: Any) -> None:
    """An instance is written as it was read, byte for byte, ``extra`` included."""
    valid["extra"] = valid["requests"][0]["extra"] = {"free": free}
    text = json.dumps(valid, indent=3).encode()
    instance = parse_instance(text)
    assert zlib.decompress(instance.__dict__["text"]) == text
    assert msgspec.to_builtins(instance.requests[0].extra) == {"free": free}


@given(documents())
def test_written_from_code_reads_back(valid: Json) -> None:
    """An instance that was never a file is written whole and is the same when it is read."""
    built = msgspec.convert(valid, Instance)
    again = parse_instance(encode(built))
    assert again == built
    assert again.sha256 == built.sha256


def test_files_round_trip(tmp_path: Path) -> None:
    """Instances and schedules come back from files as they went."""
    text = json.dumps(complete())
    (tmp_path / "a.json").write_text(text)
    instance = read_instance(tmp_path / "a.json")
    write_instance(instance, tmp_path / "below" / "b.json")
    assert (tmp_path / "below" / "b.json").read_text() == text
    schedule = solve(instance, "fifo").schedule
    write_schedule(schedule, tmp_path / "s.json")
    assert read_schedule(tmp_path / "s.json") == schedule
    assert not list(tmp_path.glob(".*")), "a partial file was left"


def test_schedule_keeps_extra(tmp_path: Path) -> None:
    """``extra`` survives in every object of a schedule."""
    best = best_schedule(document(request("r0")))
    assert best is not None
    for node in (best, best["gpus"][0], best["gpus"][0]["batches"][0], best["status"]):
        node["extra"] = {"kept": [1, {"x": None}]}
    (tmp_path / "s.json").write_text(json.dumps(best))
    write_schedule(read_schedule(tmp_path / "s.json"), tmp_path / "t.json")
    assert_within(best, json.loads((tmp_path / "t.json").read_text()))


def test_a_group_that_is_not_given_is_not_written() -> None:
    """An instance without groups has the bytes and the digest that it had before there were any."""
    for key in ({}, {"group": None}, {"group": "call"}):
        read = parse_instance(json.dumps(document(request("r0", **key))))
        (written,) = json.loads(encode(msgspec.structs.replace(read, name="built")))["requests"]
        assert {name: value for name, value in written.items() if name == "group"} == key
    assert refusal(json.dumps(document(request("r0", group="")))).startswith("requests[0].group")


# -- the digest ------------------------------------------------------------------------------------


def formula(value: Any) -> str:
    """The digest as the contract states it."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


@given(documents(), json_values)
def test_digest_is_that_of_the_text(valid: Json, free: Any) -> None:
    """The digest follows the contract's formula on the text as given, not as completed."""
    valid["extra"] = {"free": free}
    text = json.dumps(valid, indent=2, ensure_ascii=False)
    assert parse_instance(text).sha256 == formula(json.loads(text))


@pytest.mark.parametrize(
    "number",
    [1e16, 1.5e-5, 1e-4, 9.99e-5, 5e-324, 1e308, 123456789012345680.0, 2**64, 10**30, -1e-7, 1.0],
)
def test_digest_of_numbers_that_writers_disagree_on(number: float) -> None:
    """The digest is right where JSON writers differ: tiny, huge and whole numbers."""
    text = json.dumps(document(extra={"n": [number], "m": number, "2e5": "0.00001"}))
    assert parse_instance(text).sha256 == formula(json.loads(text))
    if 0 <= number <= 1e9:  # alone, too
        text = json.dumps(document(latency_price_per_s=number))
        assert parse_instance(text).sha256 == formula(json.loads(text))


def test_digest_of_keys_in_other_scripts() -> None:
    """Keys are sorted by code point, outside the basic plane too."""
    free = {"\U0001f600": 1, "\uffee": 2, "z": 3, "é": 4, "\x7f": 5, "\u2028": 6}
    assert parse_instance(json.dumps(document(extra=free))).sha256 == formula(document(extra=free))


def test_digest_of_built_instance_is_that_of_its_file() -> None:
    """A schedule made before the instance is saved still fits afterwards."""
    built = msgspec.convert(complete(), Instance)
    assert built.sha256 == parse_instance(encode(built)).sha256 == digest(json.loads(encode(built)))


def test_replace_gives_a_new_digest() -> None:
    """A changed copy is another instance: neither digest nor text is carried over."""
    instance = parse_instance(json.dumps(complete()))
    changed = msgspec.structs.replace(instance, late_price=2.0)
    assert changed.sha256 != instance.sha256
    assert parse_instance(encode(changed)).late_price == 2.0


# -- what is wrong ---------------------------------------------------------------------------------

TEXTS = {
    b"": "line 1 column 1",
    b"[]": "expected an object",
    b"null": "expected an object",
    b'{"a": 1,}': "line 1 column",
    b'{"a": 1}\n x': "line 2 column 2",
    b'{\n"a": NaN}': "line 2: NaN is no number",
    b'{"a": [1, -Infinity]}': "-Infinity is no number",
    b'{"a": 1e999}': "1e999 is no number",
    b'{"a": ' + b"9" * 5000 + b"}": "is no number",
    b'{"a": 1, "a": 1}': "key 'a' is there twice",
    b'{"a": [0, {"b": {"c": 1, "c": 2}}]}': "a[1].b: key 'c' is there twice",
    b'{"k\\u003a": 1, "k:": 1}': "key 'k:' is there twice",
    b'{"a": "\\u003a", "b": {"x": 1, "x": 2}}': "b: key 'x' is there twice",
    b'{"a": "\\ud800"}': "is half a character",
    b'{"a": "\\udc00\\ud800"}': "is half a character",
    b"\xff": "byte 0: this is not UTF-8",
    b'{"a": "caf\xe9"}': "byte 10: this is not UTF-8",
    b"\xff\xfe{\x00}\x00": "not UTF-8",
    b"\xef\xbb\xbf{}": "byte-order mark",
    b"\x1f\x8b\x08\x00": "not UTF-8",
    b'{"a": "\x01"}': "line 1 column 8",
    b"\x00" * 10: "line 1 column 1",
    b"[" * 100_000: "nested too deeply",
    b'{"extra": ' + b"[" * 50_000 + b"]" * 50_000 + b"}": "nested too deeply",
    b'{"extra": ' * 20_000 + b"1" + b"}" * 20_000: "nested too deeply",
    b'{"' + b"x" * 100_000 + b'": 1}': "unknown key 'xxx",
}


@pytest.mark.parametrize(("text", "expected"), TEXTS.items(), ids=[*map(str, range(len(TEXTS)))])
def test_texts_that_are_no_documents(text: bytes, expected: str) -> None:
    """Each text that cannot be a document is refused with its place."""
    message = refusal(text)
    assert expected in message
    assert len(message) < 300


def test_escapes_that_are_characters_are_read() -> None:
    """Surrogate pairs, escaped backslashes and escaped colons are fine."""
    text = json.dumps(document(name="NAME")).replace("NAME", r"\ud83d\ude00 \\ud800 \u003a \/")
    assert parse_instance(text).name == "\U0001f600 \\ud800 : /"


def _set(*path: str | int, to: Any) -> Edit:
    def edit(changed: Json) -> None:
        node: Any = changed
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = to

    return edit


def _drop(*path: str | int) -> Edit:
    def edit(changed: Json) -> None:
        node: Any = changed
        for key in path[:-1]:
            node = node[key]
        del node[path[-1]]

    return edit


#: One edit of the complete document, and what its refusal says: the place, then the fault.
FAULTS: list[tuple[Edit, str]] = [
    (_set("format", to="pats-opt/schedule"), "format: this file is of kind 'schedule', not"),
    (_set("version", to=2), "version: invalid value 2; write 1"),
    (_set("tick_s", to=0), "tick_s: expected a number >="),
    (_set("tick_s", to="1"), "tick_s: expected a number, got a text"),
    (_set("tick_s", to=1e7), "tick_s: expected a number <="),
    (_drop("format"), "missing key 'format'; add it: 'pats-opt/instance'"),
    (_drop("version"), "missing key 'version'; add it: 1"),
    (_drop("tick_s"), "missing key 'tick_s'; add it"),
    (_drop("requests"), "missing key 'requests'; add it"),
    (_set("speling", to=1), "unknown key 'speling'; remove it"),
    (_set("base_vram_gib", to=-1), "base_vram_gib: expected a number >= 0"),
    (_set("requests", to={}), "requests: expected a list, got an object"),
    (_set("requests", 1, "id", to="r0"), "requests[1].id: id 'r0' is already used by requests[0]"),
    (_set("gpus", 1, "id", to="gpu-0"), "gpus[1].id: id 'gpu-0' is already used"),
    (_set("adapters", 1, "id", to="a"), "adapters[1].id: id 'a' is already used"),
    (_set("requests", 0, "id", to=""), "requests[0].id: expected a text of length >= 1"),
    (_set("requests", 0, "id", to="x" * 513), "requests[0].id: expected a text of length <= 512"),
    (_set("requests", 0, "id", to=7), "requests[0].id: expected a text, got a whole number"),
    (_set("requests", 0, "adapter", to="no"), "requests[0].adapter: adapter 'no' is not declared"),
    (_set("requests", 0, "arrival_s", to=-1), "requests[0].arrival_s: expected a number >= 0"),
    (_set("requests", 0, "arrival_s", to=1e10), "requests[0].arrival_s: expected a number <="),
    (_set("requests", 0, "weight", to=True), "requests[0].weight: expected a number, got true or"),
    (_set("requests", 0, "weight", to=10**30), "requests[0].weight: expected a number <="),
    (_set("requests", 0, "seed", to=10**30), "requests[0].seed: expected a whole number <="),
    (_set("requests", 0, "width", to=0), "requests[0].width: expected a whole number >= 1"),
    (_set("requests", 0, "prompt", to=None), "requests[0].prompt: expected a text, got null"),
    (_set("requests", 0, "complexity", to=2), "requests[0].complexity: expected a number <= 1"),
    (_set("requests", 0, "extra", to=3), "requests[0].extra: expected an object"),
    (
        _set("requests", 0, "extra", to={"approximate_cache": 5}),
        "requests[0].extra.approximate_cache: expected an object",
    ),
    (
        _set("requests", 0, "extra", to={"approximate_cache": {"level": -5}}),
        "requests[0].extra.approximate_cache.level: expected a whole number >= 0",
    ),
    (
        _set("requests", 0, "extra", to={"approximate_cache": {"level": 5, "similarity": 2}}),
        "requests[0].extra.approximate_cache.similarity: expected a number <= 1",
    ),
    (
        _set("requests", 0, "extra", to={"approximate_cache": {"level": 5, "similarty": 0.9}}),
        "requests[0].extra.approximate_cache: unknown key 'similarty'; did you mean 'similarity'?",
    ),
    (_set("requests", 0, "demand", to={}), "requests[0].demand: 'vram_gib' is missing"),
    (_set("requests", 0, "demand", "batch", to=-1), "requests[0].demand.batch: expected a number"),
    (_set("requests", 0, "demand", "batch", to="1"), "requests[0].demand.batch: expected a number"),
    (_set("requests", 0, "options", to=[]), "requests[0].options: expected a list of length >= 1"),
    (
        _set("requests", 0, "options", 1, "steps", to=0),
        "requests[0].options[1].steps: expected a whole number >= 1",
    ),
    (
        _set("requests", 0, "options", 1, "steps", to=1.5),
        "requests[0].options[1].steps: expected a whole number, got a number",
    ),
    (
        _drop("requests", 0, "options", 1, "quality"),
        "requests[0].options[1]: missing key 'quality'",
    ),
    (_drop("gpus", 0, "capacity", "vram_gib"), "gpus[0].capacity: 'vram_gib' is missing"),
    (_set("gpus", 0, "resident", to=["no"]), "gpus[0].resident[0]: adapter 'no' is not declared"),
    (
        _set("gpus", 0, "resident", to=["a", "a"]),
        "gpus[0].resident[1]: adapter 'a' is listed twice",
    ),
    (
        _set("gpus", 0, "resident", to=["a", "b"]),
        "gpus[0].resident: 2 residents where max_resident",
    ),
    (_set("adapters", 0, "vram_gib", to=11), "gpus[0].resident: base model and residents take 11"),
    (_set("switching", "max_resident", to=0), "switching.max_resident: expected a whole number"),
    (_set("switching", "max_resident", to=2), "switching.pairs: pairs need max_resident 1"),
    (
        _set("switching", "pairs", 0, "from", to="no"),
        "switching.pairs[0].from: adapter 'no' is not",
    ),
    (_set("switching", "pairs", 0, "to", to="no"), "switching.pairs[0].to: adapter 'no' is not"),
    (_set("switching", "pairs", 0, "from", to="a"), "the transition 'a' to 'a' leads nowhere"),
    (
        lambda changed: changed["switching"]["pairs"].append(changed["switching"]["pairs"][0]),
        "switching.pairs[1]: the transition None to 'a' is given twice",
    ),
    (_drop("switching", "pairs", 0, "from"), "switching.pairs[0]: missing key 'from'"),
    (_set("service", "kind", to="x"), "service.kind: invalid value 'x'; write 'steps' or 'slot'"),
    (_drop("service", "kind"), "service: missing key 'kind'"),
    (_drop("service", "step_s", "base"), "service.step_s: needs either both"),
    (_set("service", "step_s", "table", to=[1.0]), "service.step_s: needs either both"),
    (_set("service", "step_s", to={"table": []}), "service.step_s.table: expected a list of"),
    (
        _set("service", "step_s", to={"table": [1, 0]}),
        "service.step_s: a step of 0 s takes no time",
    ),
    (_set("service", "overhead_s", to="1"), "service.overhead_s: expected a number or an object"),
    (_set("horizon_ticks", to=-1), "horizon_ticks: expected a whole number >= 0"),
    (_set("horizon_ticks", to=1.5), "horizon_ticks: expected a whole number or null, got a number"),
]


@pytest.mark.parametrize(("edit", "expected"), FAULTS, ids=[f"{i}" for i in range(len(FAULTS))])
def test_faulty_documents(edit: Edit, expected: str) -> None:
    """Each fault alone is refused with its place, its problem and a hint."""
    message = refusal(edited(edit))
    assert expected in message
    assert "; " in message


@given(broken_documents())
def test_any_change_is_read_or_refused_in_one_line(changed: Json) -> None:
    """Whatever is changed in a document, it is read, or refused in one printable line."""
    text = json.dumps(changed)
    result = read_or_refuse(text)
    if isinstance(result, InputError):
        assert str(result).isprintable()
        assert len(str(result)) < 1500
    else:
        assert_within(json.loads(text), msgspec.to_builtins(result))


@given(documents(), st.data())
def test_any_damage_to_the_text_is_read_or_refused(valid: Json, data: st.DataObject) -> None:
    """Whatever bytes are cut out of or put into a file, it is read, or refused in one line."""
    text = json.dumps(valid).encode()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    damaged = text[:start] + data.draw(st.binary(max_size=4)) + text[end:]
    result = read_or_refuse(damaged)
    assert isinstance(result, Instance) or str(result).isprintable()


@given(st.data())
def test_duplicate_keys_never_pass(data: st.DataObject) -> None:
    """A key that is there twice is found at any depth, however colons and escapes look."""
    marks = st.text(st.sampled_from(':"\\{}, u003aA'), max_size=6)
    inner = data.draw(st.dictionaries(marks, marks | st.integers(), min_size=1, max_size=3))
    key = data.draw(st.sampled_from(sorted(inner)))
    ascii_only = data.draw(st.booleans())

    def escape(text: str) -> str:
        return text.replace(":", "\\u003a") if data.draw(st.booleans()) else text

    pairs = [
        f"{escape(json.dumps(k, ensure_ascii=ascii_only))}:"
        f"{escape(json.dumps(v, ensure_ascii=ascii_only))}"
        for k, v in inner.items()
    ]
    single = "{" + ",".join(pairs) + "}"
    assert parse_json(f'{{"a": [1, {single}]}}') == {"a": [1, inner]}
    double = "{" + ",".join([*pairs, f"{escape(json.dumps(key))}: 0"]) + "}"
    with pytest.raises(InputError, match="is there twice"):
        parse_json(f'{{"a": [1, {double}]}}')


# -- files -----------------------------------------------------------------------------------------


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A folder, nothing, or a name that no file can have: one line with the path."""
    for path, expected in (
        (tmp_path, "this is a folder"),
        (tmp_path / "none.json", "no such file"),
        (tmp_path / "a" / "b.json", "no such file"),
        (tmp_path / ("x" * 300), "cannot be read"),
        (tmp_path / "nul\0.json", "cannot be read"),
    ):
        with pytest.raises(InputError) as caught:
            read_instance(path)
        assert expected in str(caught.value)
        assert str(caught.value).isprintable()


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without permission: one line with the path and the reason."""

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InputError, match=r"i\.json: cannot be read \(Permission denied\)"):
        read_instance(tmp_path / "i.json")


def test_targets_that_cannot_be_written(tmp_path: Path) -> None:
    """A target that is a folder, or below a file: one line, and nothing is left behind."""
    instance = parse_instance(json.dumps(document()))
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    for target in (tmp_path / "folder", tmp_path / "file" / "i.json"):
        with pytest.raises(InputError, match="cannot be written"):
            write_instance(instance, target)
    assert (tmp_path / "file").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_error_names_file_place_and_mend(tmp_path: Path) -> None:
    """Read from a file, an error begins with the file's name."""
    path = tmp_path / "i.json"
    path.write_text(edited(_set("requests", 0, "adapter", to="no")))
    with pytest.raises(InputError) as caught:
        read_instance(path)
    assert str(caught.value) == (
        f"{path}: requests[0].adapter: adapter 'no' is not declared; "
        "add it to 'adapters' or correct the id"
    )


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (edited(_set("tick_s", to=-1)), 2),
        ("{", 2),
        (json.dumps(document(request("r0", demand={"vram_gib": 99.0}))), 3),
        (json.dumps(document()), 0),
    ],
    ids=["faulty", "no JSON", "fits no GPU", "empty"],
)
def test_exit_status(
    text: str, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line exits with the contract's status and at most one line of error."""
    path = tmp_path / "i.json"
    path.write_text(text)
    assert run(["solve", str(path), "--solver", "fifo", "--json"]) == status
    out, err = capsys.readouterr()
    if status:
        assert out == ""
        assert err.count("\n") == 1
        assert "Traceback" not in err
        assert "i.json" in err or status == 3
    else:
        assert json.loads(out)["loss"] == 0


def test_request_that_fits_no_gpu() -> None:
    """It reads, it is a sound document, but no schedule exists."""
    instance = parse_instance(json.dumps(document(request("r0", demand={"vram_gib": 99.0}))))
    with pytest.raises(InfeasibleError, match=r"requests\[0\] 'r0': it fits no GPU even alone"):
        solve(instance, "fifo")


@pytest.mark.slow
def test_large_file(tmp_path: Path) -> None:
    """A file of 200 MB is read like any other."""
    count = 200
    prompt = "p" * 1_000_000
    large = document(*(request(f"r{i}", prompt=prompt) for i in range(count)))
    path = tmp_path / "large.json"
    path.write_text(json.dumps(large))
    assert path.stat().st_size > 200e6
    instance = read_instance(path)
    assert len(instance.requests) == count
