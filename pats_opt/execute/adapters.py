"""Which file is which adapter: a folder of safetensors, mapped by adapter id.

An adapter ``a`` is the file ``a.safetensors`` of the folder, unless ``adapters.json`` there maps
ids to other files (relative to the folder): ``{"pixel-art": "v2/pixel.safetensors"}``. Nothing here
needs torch but making random adapters.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pats_opt.errors import InputError
from pats_opt.model.files import parse_json, read_bytes

#: The mapping's file in a folder of adapters.
MAPPING = "adapters.json"


def find_adapters(folder: str | Path, ids: Iterable[str]) -> dict[str, str]:
    """Files of the adapters that the folder has; ids without one are left out.

    Raises:
        InputError: The folder or its mapping cannot be read, or names a file that is not there.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError("there is no such folder", file=str(root), hint="check --adapters")
    mapping = _mapping(root)
    found = {}
    for name in ids:
        if name in mapping:
            path = root / mapping[name]
            if not path.is_file():
                raise InputError(
                    f"adapter {name!r} is mapped to {mapping[name]!r}, which is not there",
                    file=str(root / MAPPING),
                    hint="correct the path, which is relative to the folder",
                )
            found[name] = str(path)
        elif _is_plain(name) and (path := root / f"{name}.safetensors").is_file():
            found[name] = str(path)
    return found


def _mapping(root: Path) -> dict[str, str]:
    path = root / MAPPING
    if not path.is_file():
        return {}
    try:
        mapping = parse_json(read_bytes(path))
    except InputError as error:
        raise error.in_file(str(path)) from None
    if isinstance(mapping, dict) and all(isinstance(v, str) for v in mapping.values()):
        return mapping
    raise InputError(
        "this is no mapping of adapter ids to files",
        file=str(path),
        hint='write it as {"adapter id": "file.safetensors"}',
    )


def _is_plain(name: str) -> bool:
    """Whether an id can be a file's name as it is; others need the mapping."""
    return name == Path(name).name and name not in (".", "..") and "\0" not in name


def make_adapters(
    model: str, ids: Iterable[str], folder: str | Path, rank: int | None = None
) -> dict[str, str]:
    """Random adapters for a built-in model, in a folder; those that are there already are kept.

    Args:
        model: ``tiny`` or ``sdxl-random``.
        ids: Adapters to make.
        folder: Where; made if need be. Names are digests of ids, so any id will do.
        rank: Of the LoRA; None for the model's usual one.

    Raises:
        InputError: The extra is not installed, or the folder cannot be written.
    """
    import hashlib

    from pats_opt.execute.engine import require

    require()
    from pats_opt.execute.engine.random_lora import write_random

    root = Path(folder)
    kind = model if rank is None else f"{model}-r{rank}"
    files = {
        name: root / f"{kind}-{hashlib.sha256(name.encode()).hexdigest()[:16]}.safetensors"
        for name in ids
    }
    try:
        write_random(model, [(n, f) for n, f in files.items() if not f.is_file()], rank)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"adapters cannot be written ({reason})", file=str(root)) from None
    return {name: str(file) for name, file in files.items()}
