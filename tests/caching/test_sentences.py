"""Sentence encoders from a folder, with a tiny BERT of random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from pats_opt.caching.embedders import embedder
from pats_opt.errors import InputError
from pats_opt.generate.approximate import ApproximateCache

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "fox", "snow", "in", "the"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the model and its tokenizer."""
    path = tmp_path_factory.mktemp("encoder")
    (path / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = transformers.BertTokenizerFast(str(path / "vocab.txt"))
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    transformers.BertModel(config).eval().save_pretrained(path)
    return str(path)


def test_a_vector_is_the_mean_over_the_tokens(folder: str) -> None:
    """The tokens of the words and of both ends, by the model's own numbers."""
    found = embedder(f"minilm:{folder}").embed("red fox in the snow")
    model = transformers.BertModel.from_pretrained(folder).eval()
    ids = [WORDS.index(word) for word in ["[CLS]", "red", "fox", "in", "the", "snow", "[SEP]"]]
    with torch.no_grad():
        layer = model(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()
    mean = layer.astype(np.float64).mean(axis=0)
    assert found == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


def test_similar_and_empty_prompts(folder: str) -> None:
    """Equal prompts have cosine 1; case does not count, order does."""
    encoder = embedder(f"minilm:{folder}")
    index = encoder.index()
    first, same, other = (encoder.embed(p) for p in ("red fox", "Red FOX", "fox red"))
    assert first is not None
    assert other is not None
    index.add(0, first)
    found = index.nearest(same)
    assert found is not None
    assert tuple(found) == (0, 1.0)
    assert not np.allclose(first, other)
    assert encoder.embed("  ") is None
    assert encoder.embed("snow " * 2000) is not None


def test_loading_leaves_the_terminal_alone(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    bars = transformers.logging.is_progress_bar_enabled()
    embedder(f"minilm:{folder}").embed("fox")
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""
    assert transformers.logging.is_progress_bar_enabled() == bars


def test_thresholds_are_its_own() -> None:
    levels = ApproximateCache(source="prompts", embedder="minilm:folder").found_levels()
    assert [levels.of(cosine) for cosine in (0.62, 0.63, 0.84, 0.91, 0.96)] == [0, 10, 15, 20, 25]


def test_folders_that_hold_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none: there is no such folder; name a model's folder"):
        embedder(f"minilm:{tmp_path / 'none'}")
    with pytest.raises(InputError, match=r"this is no sentence encoder \(.*\); name a folder with"):
        embedder(f"minilm:{tmp_path}")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(InputError, match=r"need.*transformers; install the extra: pip install"):
        embedder("minilm:anything")
