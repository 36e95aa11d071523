"""Image distances: equal to the originals, honest in their names, and safe in what they read."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pats_opt.errors import InputError
from pats_opt.perceptual import METRICS, available, choose, open_metrics
from pats_opt.perceptual.metric import folder_of, tensor


@pytest.fixture(autouse=True)
def one_thread_and_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def picture(noise: float = 0.0, size: tuple[int, int] = (96, 72), seed: int = 1) -> Image.Image:
    """A smooth picture with a share of noise."""
    width, height = size
    x, y = np.meshgrid(np.linspace(0, 3, width), np.linspace(0, 2, height))
    smooth = np.stack([np.sin(x * y), np.cos(x), np.sin(y)], axis=-1) / 2 + 0.5
    rough = np.random.default_rng(seed).random(smooth.shape)
    return Image.fromarray((255 * ((1 - noise) * smooth + noise * rough)).astype("uint8"))


@pytest.fixture
def alexnet() -> torch.nn.Sequential:
    """AlexNet's convolutions as torchvision has them, with random weights."""
    torch.manual_seed(0)
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    )


def weights_of(network: torch.nn.Sequential, folder: Path) -> Path:
    """Its file under torch's name, with the digest in it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "weights.pth"
    torch.save({f"features.{k}": v for k, v in network.state_dict().items()}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return path.rename(folder / f"alexnet-owt-{digest}.pth")


def test_lpips_is_its_definition(alexnet: torch.nn.Sequential, tmp_path: Path) -> None:
    """Unit vectors of five layers, squared differences under the published heads, averaged."""
    weights = weights_of(alexnet, tmp_path)
    metric = open_metrics(["lpips"], "cpu", str(weights))[0]
    folder = folder_of("torchmetrics")
    assert folder is not None
    heads = torch.load(
        folder / "functional/image/lpips_models/alex.pth", map_location="cpu", weights_only=True
    )
    shift = torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[None, :, None, None]

    def features(image: Image.Image) -> list[Any]:
        x, found = (2 * tensor(image, "cpu") - 1 - shift) / scale, []
        for layer in alexnet:
            x = layer(x)
            if isinstance(layer, torch.nn.ReLU):
                found.append(torch.nn.functional.normalize(x, dim=1))
        return found

    one, two = picture(), picture(0.3)
    with torch.no_grad():
        expected = sum(
            float((heads[f"lin{i}.model.1.weight"] * (a - b) ** 2).sum(dim=1).mean())
            for i, (a, b) in enumerate(zip(features(one), features(two), strict=True))
        )
    assert metric(one, two) == pytest.approx(expected, rel=1e-4)
    assert expected > 1e-4


def test_stlpips_equals_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The original's own network, with the modules it does not need here left out."""

    class Stub(ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return lambda *_, **__: None

    for name in ("IPython", "torchsummary", "torchvision"):
        monkeypatch.setitem(sys.modules, name, Stub(name))
    from stlpips_pytorch import stlpips  # type: ignore[import-untyped]

    original = stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False)
    metric = open_metrics(["stlpips"], "cpu")[0]
    for noise, seed in ((0.02, 1), (0.2, 2), (0.7, 3)):
        one, two = picture(), picture(noise, seed=seed)
        with torch.no_grad():
            expected = original(tensor(one, "cpu"), tensor(two, "cpu"), normalize=True)
        assert metric(one, two) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("name", ["stlpips", "ms_ssim", "ssim", "flip"])
def test_equal_pictures_are_at_no_distance_and_noise_adds_to_it(name: str) -> None:
    metric = open_metrics([name], "cpu")[0]
    assert metric.name == name
    size = (192, 176)
    scores = [metric(picture(size=size), picture(noise, size)) for noise in (0.0, 0.05, 0.2, 0.6)]
    assert scores[0] == pytest.approx(1.0 if metric.similarity else 0.0, abs=1e-6)
    assert scores == sorted(scores, reverse=metric.similarity)
    assert len(set(scores)) == len(scores)


def test_without_alexnet_nothing_is_called_lpips(tmp_path: Path) -> None:
    assert "lpips" not in available(512)
    assert choose([], 512) == ["stlpips"]
    with pytest.raises(InputError, match=r"alexnet-owt-\*\.pth\) are not in"):
        choose(["lpips"], 512)
    with pytest.raises(InputError, match="there is no file"):
        choose([], 512, str(tmp_path / "none.pth"))


def test_alexnet_in_torchs_folder_is_found(alexnet: torch.nn.Sequential) -> None:
    weights_of(alexnet, Path(os.environ["TORCH_HOME"]) / "hub" / "checkpoints")
    assert choose([], 512) == ["lpips"]
    assert open_metrics(["lpips"], "cpu")[0](picture(), picture()) == 0.0


def test_without_learned_metrics_the_plain_ones_stand_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(METRICS["stlpips"], "missing", lambda _: "not installed")
    assert choose([], 512) == ["ms_ssim", "flip"]
    assert choose([], 128) == ["ssim", "flip"]  # MS-SSIM needs more pixels
    for name in ("ms_ssim", "ssim", "flip"):
        monkeypatch.setattr(METRICS[name], "missing", lambda _: "not installed")
    with pytest.raises(InputError, match="pip install stlpips-pytorch"):
        choose([], 512)


def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(InputError, match="no metric 'psnr'"):
        choose(["psnr"], 512)
    with pytest.raises(InputError, match="needs images of 176 pixels or more, not 168"):
        choose(["ms_ssim"], 168)
    assert choose(["flip", "ssim", "flip"], 64) == ["flip", "ssim"]


def test_a_damaged_or_foreign_file_is_refused(alexnet: torch.nn.Sequential, tmp_path: Path) -> None:
    weights = weights_of(alexnet, tmp_path)
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="damaged"):
        open_metrics(["lpips"], "cpu", str(weights))
    junk = tmp_path / "junk.pth"
    junk.write_bytes(b"junk")
    with pytest.raises(InputError, match="cannot be read"):
        open_metrics(["lpips"], "cpu", str(junk))
    torch.save({"other": torch.zeros(1)}, junk)
    with pytest.raises(InputError, match=r"has no 'features\.0\.weight'"):
        open_metrics(["lpips"], "cpu", str(junk))


class Harmful:
    """Payload of a hostile pickle."""

    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["HARM"],)


def test_weights_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARM", str(tmp_path / "harm"))
    torch.save({"features.0.weight": Harmful()}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match="cannot be read"):
        open_metrics(["lpips"], "cpu", str(tmp_path / "evil.pth"))
    assert not (tmp_path / "harm").exists()


def test_pictures_of_any_mode_are_read_as_colours() -> None:
    grey = picture().convert("L")
    metric = open_metrics(["ssim"], "cpu")[0]
    assert metric(grey, grey.convert("RGB")) == pytest.approx(1.0)
