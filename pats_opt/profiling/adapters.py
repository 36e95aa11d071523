"""Adapters to switch between, and the shapes of their files."""

from __future__ import annotations

import math
import os
from collections import Counter
from pathlib import Path

from pats_opt.errors import InputError
from pats_opt.execute.adapters import find_adapters, make_adapters
from pats_opt.execute.engine.lora_file import refuse_other_kinds
from pats_opt.execute.options import BUILT_IN
from pats_opt.profiling.measurements import AdapterFile

#: Most adapters: enough that one is always out of the slots.
MOST = 4

#: Endings of the names of LoRA's matrices, of shapes (rank, inputs) and (outputs, rank).
_DOWN = ("lora_A.weight", "lora.down.weight", "lora_down.weight")
_UP = ("lora_B.weight", "lora.up.weight", "lora_up.weight")


def adapters_of(
    model: str, folder: str | None, scratch: Path, rank: int | None = None
) -> dict[str, str]:
    """Return files to switch between: those of a folder, else random ones made in ``scratch``.

    Args:
        model: As in :class:`~pats_opt.execute.work.EngineSettings`.
        folder: Folder of LoRA files, or None.
        scratch: Folder for random ones.
        rank: Rank of random ones; None for the model's usual one.

    Raises:
        InputError: The folder has fewer than two, or no adapters can be made for the model.
    """
    if folder is None:
        if model not in BUILT_IN:
            raise InputError(
                f"there are no adapters for {model!r}",
                hint="name a folder of at least two LoRA files with --adapters",
            )
        return make_adapters(model, [f"profile-{i}" for i in range(MOST)], scratch, rank)
    names = sorted(file.stem for file in Path(folder).glob("*.safetensors"))
    found = dict(find_adapters(folder, names[:MOST]).files)
    if len(found) < 2:
        raise InputError(
            f"{len(found)} adapters are too few to switch between",
            file=folder,
            hint="put at least two .safetensors files there",
        )
    return found


def describe(files: dict[str, str]) -> tuple[AdapterFile, ...]:
    """Read the size of each file, and the adapter's shape from its header.

    Raises:
        InputError: A file is no LoRA in safetensors.
    """
    return tuple(_described(name, path) for name, path in files.items())


def _described(name: str, path: str) -> AdapterFile:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            refuse_other_kinds(path, names)
            shapes = {key: file.get_slice(key).get_shape() for key in names}
        downs = [shape for key, shape in shapes.items() if key.endswith(_DOWN)]
        ups = [shape for key, shape in shapes.items() if key.endswith(_UP)]
        ranks = [int(shape[0]) for shape in downs]
        widths = Counter([int(down[1]) for down in downs] + [int(up[0]) for up in ups])
    except (OSError, ValueError, IndexError, SafetensorError) as error:
        raise InputError(
            f"this is no LoRA in safetensors ({error})", file=path, hint="name another folder"
        ) from None
    if not ranks:
        raise InputError("this file holds no LoRA layer", file=path, hint="name another folder")
    return AdapterFile(
        id=name,
        rank=max(ranks),
        mib=round(Path(path).stat().st_size / 2**20, 3),
        layers=len(downs),
        hidden=max(widths, key=lambda width: (widths[width], width)),
        weights=sum(map(math.prod, downs + ups)),
    )


def drop_from_cache(path: str) -> None:
    """Ask the system, which may refuse, to drop a file from its cache."""
    if hasattr(os, "posix_fadvise"):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)  # unwritten data is not dropped
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)
