"""Profiling on a real GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from pats_opt.cli import run
from pats_opt.generate import profile as profiles


@pytest.mark.cuda
def test_a_gpu_reports_its_memory(tmp_path: Path) -> None:
    """The tiny model at SDXL's size: every part is measured, and larger images take more memory.

    Decoding, one image after the other, may need more than all of a small batch's steps; then more
    images take no more.
    """
    out = tmp_path / "gpu.toml"
    sizes = ["--sizes", "1024x1024,512x512", "--shrink", "1"]
    arguments = ["--batches", "1,2", "--steps", "5", "--repeats", "2", "--max-batch", "4"]
    assert run(["profile", "--device", "cuda", *sizes, *arguments, "-o", str(out)]) == 0
    found = profiles.load(str(out))
    assert "missing" not in found.sources
    assert [table.batch for table in found.memory.measured] == [(1, 2, 4), (1, 2, 4)]
    assert found.memory.max_batch == 4
    assert found.memory.measured[0].gib > found.memory.measured[1].gib
    assert (
        found.base_vram_gib + 4 * found.memory.request_gib(1024, 1024) < found.memory.capacity_gib
    )
    assert found.step_s(1) > 0
    assert set(found.load.tiers) == {"host", "disk"}
    assert "cuda" in found.sources["setup"]
