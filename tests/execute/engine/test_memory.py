"""Running out of memory: a batch is split, a request that never fits fails alone."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from pats_opt.execute.engine.sdxl import SdxlEngine
from pats_opt.execute.work import Member
from tests.execute.engine.conftest import latents_of, member, pixels, run


class LiveBytes(TorchDispatchMode):  # type: ignore[misc]
    """Raises torch's out-of-memory error once the tensors made inside take more than a limit."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit, self.live, self.raised = limit, 0, 0
        self.peak: int = 0
        self._known = WeakIdKeyDictionary()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                if storage not in self._known:
                    self._known[storage] = None
                    self.live += storage.nbytes()
                    weakref.finalize(storage, self._gone, storage.nbytes())
        self.peak = max(self.peak, self.live)
        if self.live > self.limit:
            self.raised += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return result

    def _gone(self, size: int) -> None:
        self.live -= size


def needed(engine: SdxlEngine, members: Sequence[Member]) -> int:
    """Bytes that a batch takes where there are enough."""
    with LiveBytes(10**12) as unlimited:
        latents_of(engine, members)
    return int(unlimited.peak)


FOUR = [member(f"{i}", "l1" if i % 2 else "l10", steps=1 + i % 2, seed=i) for i in range(4)]


@pytest.fixture
def forgetful(engine: SdxlEngine) -> Iterator[SdxlEngine]:
    """The engine, which forgets afterwards what once did not fit."""
    yield engine
    engine._largest.clear()
    engine._tiled = False
    engine.pipeline.vae.disable_tiling()


def test_a_batch_that_does_not_fit_is_split(forgetful: SdxlEngine) -> None:
    """The latents are those of an unlimited run, and the batch size that fits is kept."""
    expected = latents_of(forgetful, FOUR)
    enough = (needed(forgetful, FOUR) + needed(forgetful, FOUR[:1])) // 2
    with LiveBytes(enough) as limit:
        found = latents_of(forgetful, FOUR)
    assert limit.raised > 0
    assert list(found) == list(expected)
    for name in expected:
        assert torch.allclose(found[name], expected[name], atol=1e-3, rtol=0)
    assert 1 <= forgetful._largest[64, 64] <= 2
    with LiveBytes(enough) as again:
        latents_of(forgetful, FOUR)
    assert again.raised == 0


def test_out_of_memory_in_a_scheduler_steps_nobody_twice(
    forgetful: SdxlEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It strikes between two members' schedulers, after the first has taken its step."""
    from diffusers import EulerDiscreteScheduler

    expected, _ = run(forgetful, FOUR)
    step, calls = EulerDiscreteScheduler.step, [0]

    def strikes(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = step(self, *args, **kwargs)
        calls[0] += 1
        if calls[0] in (3, 7):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return result

    monkeypatch.setattr(EulerDiscreteScheduler, "step", strikes)
    done, ran = run(forgetful, FOUR)
    assert ran.splits == 2
    for name in expected:
        assert abs(pixels(done[name]) - pixels(expected[name])).max() <= 1


def test_a_request_that_never_fits_fails_alone(forgetful: SdxlEngine) -> None:
    small, large = FOUR[0], member("large", "l1", steps=2, width=128, height=128)
    enough = (needed(forgetful, [large]) + needed(forgetful, [small])) // 2
    with pytest.MonkeyPatch.context() as patch, LiveBytes(enough):
        patch.setattr(forgetful, "decode", lambda _: None)
        done, ran = run(forgetful, [small, large])
    assert done["large"].error is not None
    assert done["large"].error.startswith("out of memory")
    assert done[small.id].error is None
    assert ran.splits > 0


def test_decoding_is_tiled_when_it_does_not_fit(
    forgetful: SdxlEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = forgetful.pipeline.vae
    decode = vae.decode

    def needs_tiles(*args: Any, **kwargs: Any) -> Any:
        if not vae.use_tiling:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return decode(*args, **kwargs)

    monkeypatch.setattr(vae, "decode", needs_tiles)
    done, ran = run(forgetful, [member("a", steps=1)])
    assert ran.splits == 1
    assert np.asarray(done["a"].picture).shape == (64, 64, 3)
