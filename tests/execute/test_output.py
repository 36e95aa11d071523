"""The output folder: names that are safe, files that stay inside, one run at a time."""

from __future__ import annotations

import os
import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_opt.errors import InputError
from pats_opt.execute.output import ImageFolder, Output, file_names
from tests.execute.runs import of, problem, run
from tests.support.zoo import request

NASTY = [
    "../../escape",
    "/etc/passwd",
    "..",
    ".",
    ".hidden",
    "a/b",
    "a\\b",
    "C:\\x",
    "nul\0byte",
    "CON",
    "con.txt",
    "lpt1.",
    "trailing.",
    "trailing ",
    "-rf",
    "R0",
    "r0",
    "Ä",
    "A\u0308",
    "\u202egnp",
    "x" * 512,
    "😀" * 200,
    "line\nbreak",
    "a:b",
    "a?*<>|",
    "\ud800",
]

ids = st.lists(
    st.one_of(
        st.sampled_from(NASTY),
        st.text(min_size=1, max_size=40),
        st.text(alphabet="./\\aA", min_size=1, max_size=5),
        st.text(alphabet=string.hexdigits + "-_", min_size=1, max_size=30),
    ),
    unique=True,
    max_size=30,
)


@given(ids=ids)
def test_names_are_safe_and_distinct(ids: list[str]) -> None:
    """One plain name each, different without regard to case, that no system treats specially."""
    names = file_names(ids, ".png")
    assert list(names) == ids
    assert len({name.lower() for name in names.values()}) == len(ids)
    for name in names.values():
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,119}\.png", name)
        assert not re.match(r"(?i)(con|prn|aux|nul|com\d|lpt\d)\.", name)
        assert len(os.fsencode(name)) <= 124


@given(ids=ids)
def test_names_of_made_names_are_distinct(ids: list[str]) -> None:
    """An id cannot take the name that was made for another."""
    stems = [name.removesuffix(".png") for name in file_names(ids, ".png").values()]
    both = list(dict.fromkeys([*ids, *stems, *(stem.upper() for stem in stems)]))
    names = file_names(both, ".png")
    assert len({name.lower() for name in names.values()}) == len(both)


def test_plain_ids_keep_their_names() -> None:
    """A good file name stays as it is."""
    assert file_names(["r0", "req-1.b", "x_2"], ".png") == {
        "r0": "r0.png",
        "req-1.b": "req-1.b.png",
        "x_2": "x_2.png",
    }


def test_nothing_is_written_outside_whatever_the_ids(tmp_path: Path) -> None:
    """A run of nasty ids leaves one image each, and the folder's surroundings untouched."""
    nasty = [name for name in NASTY if name.isprintable() or "\n" in name]
    story = of(*(request(name, adapter="base") for name in nasty))
    folder = tmp_path / "deep" / "out"
    outcome = run(folder, story)
    assert outcome.error is None
    assert len(list((folder / "images").iterdir())) == len(nasty)
    assert {p.name for p in tmp_path.iterdir()} == {"deep"}
    assert {p.name for p in folder.parent.iterdir()} == {"out", "adapters"}
    assert all(p.resolve().is_relative_to(folder.resolve()) for p in folder.rglob("*"))


@pytest.mark.parametrize("name", ["images", "journal"])
def test_a_folder_that_is_a_link_is_refused(tmp_path: Path, name: str) -> None:
    """A link planted in the place of a folder is not followed."""
    (tmp_path / "elsewhere").mkdir()
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="symbolic link"):
        run(folder, problem())
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("name", ["r0.png", "r0.png.part"])
def test_a_file_that_is_a_link_is_replaced(tmp_path: Path, name: str) -> None:
    """A link planted in the place of an image is replaced, and what it names is not touched."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    folder = tmp_path / "out"
    images = Output(folder).images
    (images / name).symlink_to(precious)
    keeper = ImageFolder(images)
    assert not keeper.settled("r0.png", "0" * 64)
    keeper.write_part("r0.png", b"image")
    keeper.settle("r0.png")
    assert precious.read_text() == "precious"
    assert not (images / "r0.png").is_symlink()
    assert (images / "r0.png").read_bytes() == b"image"


@pytest.mark.parametrize("name", ["execution.json", "trace.json"])
def test_a_document_that_is_a_link_is_replaced(tmp_path: Path, name: str) -> None:
    """The same for the documents written at the end."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / name).symlink_to(precious)
    assert run(folder, problem()).error is None
    assert precious.read_text() == "precious"
    assert not (folder / name).is_symlink()


def test_a_journal_or_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """Neither is opened through a link."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    for name in (".lock", "journal/gpu-0.jsonl"):
        folder = tmp_path / name.replace("/", "-")
        Output(folder)
        (folder / name).symlink_to(precious)
        with pytest.raises(InputError, match="symbolic link"):
            run(folder, problem())
    assert precious.read_text() == "precious"


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    """Neither a folder in use nor a file is written to, with --resume or without."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("years of work")
    for resume in (False, True):
        with pytest.raises(InputError, match="not empty"):
            run(folder, problem(), resume=resume)
        with pytest.raises(InputError, match="Not a directory"):
            run(tmp_path / "file", problem(), resume=resume)
    assert [p.name for p in folder.iterdir()] == ["thesis.tex"]


def test_images_without_a_journal_are_refused(tmp_path: Path) -> None:
    """Images that nothing is known of are not written over."""
    folder = tmp_path / "out"
    images = Output(folder).images
    (images / "r0.png").write_bytes(b"mine")
    for resume in (False, True):
        with pytest.raises(InputError, match="not empty"):
            run(folder, problem(), resume=resume)
    assert (images / "r0.png").read_bytes() == b"mine"


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    """While one run has the folder, another says so and does nothing."""
    folder = tmp_path / "out"
    output = Output(folder)
    with (
        output.locked(),
        pytest.raises(InputError, match="another run is using this folder"),
    ):
        run(folder, problem())
    assert run(folder, problem()).error is None


def test_a_folder_in_which_nothing_was_made_is_free(tmp_path: Path) -> None:
    """A run that failed before its first image can be begun again with other options."""
    from tests.execute.fakes import open_refusing

    folder = tmp_path / "out"
    failed = run(folder, problem(), engine=open_refusing)
    assert isinstance(failed.error, InputError)
    assert run(folder, problem(), guidance=2.0).error is None
