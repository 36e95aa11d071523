"""Which file is which adapter: a folder of safetensors, mapped by adapter id.

An adapter ``a`` is the file ``a.safetensors`` of the folder, unless ``adapters.json`` there maps
ids to other files (relative to the folder): ``{"pixel-art": "v2/pixel.safetensors"}``. A list of
adapters with scales is a composition: ``{"hero": [{"name": "pixel-art", "scale": 0.8}, {"name":
"a"}]}``. Nothing here needs torch but making random adapters.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping
from pathlib import Path
from stat import S_ISREG

import msgspec

from pats_opt.errors import InputError, in_file
from pats_opt.execute.adapter_set import AdapterSet, Composition
from pats_opt.execute.options import BUILT_IN, Options
from pats_opt.model.files import read_bytes
from pats_opt.model.instance import Instance
from pats_opt.model.parsing import parse_json

#: The mapping's file in a folder of adapters.
MAPPING = "adapters.json"

#: A folder's mapping: the file of an adapter, relative to the folder, or its parts.
AdapterMapping = Mapping[str, str | Composition]

#: Time of a file's last change in ns, its size in bytes, and its inode.
FileMark = tuple[int, int, int]


def adapter_files(
    instance: Instance, options: Options, made_up: Callable[[], Path], used: Container[str]
) -> tuple[AdapterSet, frozenset[str]]:
    """The files of every adapter that is used, and the adapters that are the bare model.

    Args:
        instance: Whose adapters.
        options: What to run with.
        made_up: Gives a folder for random adapters.
        used: Adapters that may be needed.

    Raises:
        InputError: An adapter has no file.
    """
    ids = [a.id for a in instance.adapters]
    found = AdapterSet()
    if options.adapters is not None:
        found = find_adapters(options.adapters, ids)
    without = bare(instance, found)
    needed = [name for name in ids if name in used and name not in without]
    if options.adapters is None and options.model in BUILT_IN:
        found = AdapterSet(files=make_adapters(options.model, needed, made_up()))
    refuse_missing(needed, found, options.adapters)
    return found.only(needed), without


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


def find_adapters(folder: str | Path, ids: Iterable[str]) -> AdapterSet:
    """Adapters that the folder has, by whole paths; ids that it does not have are left out.

    Raises:
        InputError: The folder or its mapping cannot be read, or names what is not there.
    """
    root = Path(folder).absolute()
    if not root.is_dir():
        raise InputError("there is no such folder", file=str(folder), hint="check --adapters")
    mapping = read_mapping(root)
    files, compositions = dict[str, str](), dict[str, Composition]()
    for name in ids:
        _add(root, mapping, name, files, compositions)
    return AdapterSet(files=files, compositions=compositions)


def _add(
    root: Path,
    mapping: AdapterMapping,
    name: str,
    files: dict[str, str],
    compositions: dict[str, Composition],
) -> None:
    """Add an adapter, if the folder has it."""
    entry = mapping.get(name)
    if not isinstance(entry, tuple):
        files |= _file(root, name, entry)
        return
    for part in entry:
        below = mapping.get(part.name)
        found = {} if isinstance(below, tuple) else _file(root, part.name, below)
        if not found:
            raise InputError(
                f"composition {name!r} has the part {part.name!r}, which is no adapter file",
                file=str(root / MAPPING),
                hint="name adapters of the folder, no compositions",
            )
        files |= found
    compositions[name] = entry


def _file(root: Path, name: str, mapped: str | None) -> dict[str, str]:
    """The file of an adapter by its id; nothing where the folder has none."""
    if mapped is not None:
        path = root / mapped
        if not path.is_file():
            raise InputError(
                f"adapter {name!r} is mapped to {mapped!r}, which is not there",
                file=str(root / MAPPING),
                hint="correct the path, which is relative to the folder",
            )
        return {name: str(path)}
    path = root / f"{name}.safetensors"
    return {name: str(path)} if _is_plain(name) and path.is_file() else {}


def adapters_in(folder: str | Path) -> AdapterSet:
    """All adapters that a folder has, those of its mapping included.

    Raises:
        InputError: As :func:`find_adapters`.
    """
    root = Path(folder)
    mapping = read_mapping(root) if root.is_dir() else {}
    return find_adapters(root, _names(root, mapping))


def listed_adapters(root: Path, mapping: AdapterMapping) -> tuple[AdapterSet, list[InputError]]:
    """All adapters of a folder that can be used, and why others cannot.

    Args:
        root: The folder, by its whole path.
        mapping: Its mapping.

    Raises:
        InputError: It cannot be read.
    """
    files, compositions, refused = dict[str, str](), dict[str, Composition](), list[InputError]()
    for name in _names(root, mapping):
        try:
            _add(root, mapping, name, files, compositions)
        except InputError as error:
            refused.append(error)
    return AdapterSet(files=files, compositions=compositions), refused


def _names(root: Path, mapping: AdapterMapping) -> list[str]:
    """Ids of all adapters of a folder: those of its mapping, and those of all other files."""
    try:
        plain = [path.stem for path in root.glob("*.safetensors")] if root.is_dir() else []
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=str(root)) from None
    taken = {(root / file).resolve() for file in mapping.values() if isinstance(file, str)}
    free = [name for name in plain if (root / f"{name}.safetensors").resolve() not in taken]
    return sorted({*mapping, *free})


def file_mark(path: str) -> FileMark | None:
    """A mark of a file's content, which a change of it changes; None where there is no file."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    if not S_ISREG(found.st_mode):  # the empty path of a made-up adapter is the working directory
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read_mapping(root: Path) -> AdapterMapping:
    """The mapping of a folder: the file or the parts of an id; empty where it has none.

    Raises:
        InputError: It cannot be read, or is no such mapping.
    """
    path = root / MAPPING
    if not path.is_file():
        return {}
    with in_file(path):
        document = parse_json(read_bytes(path))
    try:
        mapping = msgspec.convert(document, dict[str, str | Composition])
        if all(map(_is_entry, mapping.values())):
            return mapping
    except msgspec.ValidationError:
        pass
    raise InputError(
        "this is no mapping of adapter ids to files or compositions",
        file=str(path),
        hint='write {"id": "file.safetensors"}, or {"id": [{"name": "other id", "scale": 0.8}, '
        "...]} with each part once",
    )


def _is_entry(entry: str | Composition) -> bool:
    """Whether an entry names a file, or each part of a composition once."""
    return isinstance(entry, str) or 0 < len(entry) == len({part.name for part in entry})


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
