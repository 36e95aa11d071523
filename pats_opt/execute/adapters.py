"""Which file is which adapter: a folder of safetensors, mapped by adapter id.

An adapter ``a`` is the file ``a.safetensors`` of the folder, unless ``adapters.json`` there maps
ids to other files (relative to the folder): ``{"pixel-art": "v2/pixel.safetensors"}``. Nothing here
needs torch but making random adapters.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping
from pathlib import Path

from pats_opt.errors import InputError, in_file
from pats_opt.execute.options import BUILT_IN, Options
from pats_opt.model.files import read_bytes
from pats_opt.model.instance import Instance
from pats_opt.model.parsing import parse_json

#: The mapping's file in a folder of adapters.
MAPPING = "adapters.json"


def adapter_files(
    instance: Instance, options: Options, made_up: Callable[[], Path], used: Container[str]
) -> tuple[dict[str, str], frozenset[str]]:
    """The file of every adapter that is used, and the adapters that are the bare model.

    Args:
        instance: Whose adapters.
        options: What to run with.
        made_up: Gives a folder for random adapters.
        used: Adapters that may be needed.

    Raises:
        InputError: An adapter has no file.
    """
    ids = [a.id for a in instance.adapters]
    files: Mapping[str, str] = {}
    if options.adapters is not None:
        files = find_adapters(options.adapters, ids)
    without = bare(instance, files)
    needed = [name for name in ids if name in used and name not in without]
    if options.adapters is None and options.model in BUILT_IN:
        files = make_adapters(options.model, needed, made_up())
    refuse_missing(needed, files, options.adapters)
    return {name: str(Path(files[name]).absolute()) for name in needed}, without


def bare(instance: Instance, files: Collection[str]) -> frozenset[str]:
    """Adapters that are the bare model: they cost nothing and have no file."""
    return frozenset(
        a.id for a in instance.adapters if a.vram_gib == 0 and a.load_s == 0 and a.id not in files
    )


def refuse_missing(adapters: Iterable[str], files: Collection[str], folder: str | None) -> None:
    """Raise where an adapter has no file.

    Raises:
        InputError: naming the first.
    """
    missing = [name for name in adapters if name not in files]
    if missing:
        count = f" ({len(missing)} adapters have none)" if len(missing) > 1 else ""
        raise InputError(
            f"adapter {missing[0]!r} has no file{count}",
            file=folder,
            hint=f"add {missing[0]}.safetensors to the folder, or map it in adapters.json there"
            if folder
            else "name the folder of LoRA files with --adapters",
        )


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


def adapters_in(folder: str | Path) -> dict[str, str]:
    """Files of all adapters that a folder has, those of its mapping included.

    Raises:
        InputError: As :func:`find_adapters`.
    """
    root = Path(folder)
    try:
        plain = [path.stem for path in root.glob("*.safetensors")] if root.is_dir() else []
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=str(root)) from None
    mapped = _mapping(root) if root.is_dir() else {}
    taken = {(root / file).resolve() for file in mapped.values()}
    free = [name for name in plain if (root / f"{name}.safetensors").resolve() not in taken]
    return find_adapters(root, sorted({*mapped, *free}))


def _mapping(root: Path) -> dict[str, str]:
    path = root / MAPPING
    if not path.is_file():
        return {}
    with in_file(path):
        mapping = parse_json(read_bytes(path))
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
    from pats_opt.execute.engine.lora_file import write_random

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
