"""The engine on a GPU: the CPU's images, graphs that change nothing, real memory limits."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import msgspec
import pytest
import torch

from pats_opt.execute.engine import open_engine
from pats_opt.execute.engine.sdxl import SdxlEngine
from pats_opt.execute.record import Phase, Tier
from pats_opt.execute.work import EngineSettings, Shape
from tests.execute.engine.conftest import latents_of, member, pixels, run
from tests.execute.engine.test_sdxl import MIXED

pytestmark = pytest.mark.cuda

#: What the order of sums may do over some steps in single precision without TF32.
CLOSE = 2e-2


@pytest.fixture(scope="module")
def cuda(settings: EngineSettings) -> Iterator[SdxlEngine]:
    """The tiny model on the GPU, with graphs."""
    engine = open_engine(msgspec.structs.replace(settings, device="cuda"), perf_counter)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def plain(settings: EngineSettings) -> Iterator[SdxlEngine]:
    """The same without graphs."""
    given = msgspec.structs.replace(settings, device="cuda", graphs=False)
    engine = open_engine(given, perf_counter)
    yield engine
    engine.close()


def test_the_gpu_makes_the_cpus_images(engine: SdxlEngine, plain: SdxlEngine) -> None:
    """Noise is drawn on the CPU, so only rounding differs."""
    expected = latents_of(engine, MIXED)
    for name, found in latents_of(plain, MIXED).items():
        assert torch.allclose(found.cpu(), expected[name], atol=CLOSE, rtol=0)


@pytest.mark.parametrize("adapter", ["l1", "other", None])
def test_graphs_change_nothing(cuda: SdxlEngine, plain: SdxlEngine, adapter: str | None) -> None:
    """Bit for bit, at every batch size on the way down."""
    members = [member(f"{i}", adapter, steps=4 + 2 * i, seed=i) for i in range(3)]
    expected = latents_of(plain, members)
    for _ in range(2):
        found = latents_of(cuda, members)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert cuda._graphs is not None
    assert len(cuda._graphs._captured) >= 3


def test_graphs_of_sizes_and_mixed_batches(cuda: SdxlEngine, plain: SdxlEngine) -> None:
    expected, found = latents_of(plain, MIXED), latents_of(cuda, MIXED)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_spans_fill_the_batch(cuda: SdxlEngine) -> None:
    """Times from the GPU's events: in order, and together no longer than the host saw."""
    began = perf_counter()
    done, ran = run(cuda, [member("a", "l1", steps=6), member("b", "l1", steps=3)])
    took = perf_counter() - began
    assert {span.phase for span in ran.spans} >= {Phase.ENCODE, Phase.STEP, Phase.DECODE}
    assert sum(span.seconds for span in ran.spans) <= took
    ends = [span.start_s + span.seconds for span in ran.spans]
    assert all(b.start_s >= a - 1e-5 for a, b in zip(ends, ran.spans[1:], strict=False))
    assert ran.peak_gib is not None
    assert 0 < ran.peak_gib < 4
    assert done["a"].error is None


def test_peak_memory_counts_what_graphs_hold(settings: EngineSettings) -> None:
    """A replay allocates nothing, but its memory is in use: about what a plain run's takes."""
    peaks = {}
    big = [member(f"{i}", None, steps=4, width=512, height=512) for i in range(4)]
    for graphs in (False, True):
        given = msgspec.structs.replace(settings, device="cuda", graphs=graphs)
        engine = open_engine(given, perf_counter)
        latents_of(engine, big)
        done: list[object] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine, "decode", done.append)
            peaks[graphs] = engine.run(big, lambda _: None).peak_gib
        engine.close()
    assert peaks[True] == pytest.approx(peaks[False], rel=0.3)


def test_warmed_shapes_are_captured_before_the_run(settings: EngineSettings) -> None:
    warm = (Shape(64, 64, 2), Shape(64, 64, 1))
    engine = open_engine(
        msgspec.structs.replace(settings, device="cuda", warm=warm, resident=()), perf_counter
    )
    assert engine._graphs is not None
    assert len(engine._graphs._captured) == 4  # with an adapter and bare
    assert engine.slots.resident == frozenset()
    engine.close()


@pytest.mark.parametrize("tier", [Tier.HOST, Tier.DISK])
def test_loads_reach_the_gpu(settings: EngineSettings, plain: SdxlEngine, tier: Tier) -> None:
    given = msgspec.structs.replace(settings, device="cuda", tier=tier, slots=1, resident=())
    engine = open_engine(given, perf_counter)
    before: list[str] = []
    for adapter in ("l10", "l1", "other"):
        (span,) = engine.switch([adapter], before).spans
        assert span.tier is tier
        assert span.mib is not None
        assert span.mib > 0
        before = [adapter]
        one = member("x", adapter)
        assert torch.equal(latents_of(engine, [one])["x"], latents_of(plain, [one])["x"])
    engine.close()


def test_a_real_memory_limit_splits_the_batch(settings: EngineSettings, plain: SdxlEngine) -> None:
    """With little memory the same images come, in smaller batches."""
    many = [member(f"{i}", "l1", steps=2, seed=i, width=512, height=512) for i in range(16)]
    _, enough = run(plain, many)
    (_, single) = run(plain, many[:1])
    assert enough.peak_gib is not None
    assert single.peak_gib is not None
    assert enough.peak_gib > single.peak_gib
    expected, _ = run(plain, many)
    plain_free = (enough.peak_gib + single.peak_gib) / 2
    reserved = torch.cuda.memory_reserved() / 2**30
    engine = open_engine(
        msgspec.structs.replace(settings, device="cuda", memory_gib=reserved + plain_free),
        perf_counter,
    )
    try:
        done, _ = run(engine, many)
        for name, one in expected.items():
            assert abs(pixels(done[name]) - pixels(one)).max() <= 1
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        engine.close()
