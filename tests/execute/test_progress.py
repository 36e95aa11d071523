"""Steps of a batch, as engines and the thread that asks them report them."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from pats_opt.execute import progress
from pats_opt.execute.progress import progress_sent


def test_only_changes_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that fails ends the reports, not the batch."""
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    found: list[Mapping[str, int]] = [{}, {}, {"a": 1}, {"a": 1}, {"a": 2, "b": 1}]
    sent, failed = list[dict[str, int]](), threading.Event()

    def ask() -> Mapping[str, int]:
        if not found:
            failed.set()
            raise RuntimeError
        return found.pop(0)

    with progress_sent(ask, sent.append):
        assert failed.wait(60)
    assert sent == [{"a": 1}, {"a": 2, "b": 1}]
