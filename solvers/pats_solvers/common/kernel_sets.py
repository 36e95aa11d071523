"""Sets of kernels: each is compiled as a whole, by any process, before a solver needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

#: The folder of the solvers.
ROOT = Path(__file__).resolve().parents[1]


class KernelSet:
    """Kernels that one function compiles by calling them.

    The function's machine code is kept on disk (:mod:`pats_solvers.common.compiled`). A mark beside
    it says that the set is complete for this processor.

    Attributes:
        name: Module and name of the set, by which another process finds it.
    """

    def __init__(self, compile_all: Callable[[], object], packages: tuple[str, ...]) -> None:
        self.name = f"{compile_all.__module__}:{compile_all.__name__}"
        self._compile_all, self._packages, self._loaded = compile_all, packages, False

    def __call__(self) -> None:
        """Compile the kernels, or load them; once in a process."""
        if self._loaded:
            return
        self._compile_all()
        self._loaded = True
        for mark in self._marks():
            if mark is not None:
                mark.touch()

    def is_ready(self) -> bool:
        """Return whether the kernels are compiled for this processor, in this version."""
        return self._loaded or all(mark is not None and mark.exists() for mark in self._marks())

    def _marks(self) -> Iterator[Path | None]:
        """Yield a file in the folder of each package; it goes when the package changes."""
        from llvmlite.binding import get_host_cpu_name

        from pats_solvers.common.compiled import cache_folder

        for package in self._packages:
            folder = cache_folder(ROOT / package)
            name = f"{self.name.replace(':', '.')}-{get_host_cpu_name()}.ready"
            yield None if folder is None else folder / name


def kernel_set(*packages: str) -> Callable[[Callable[[], object]], KernelSet]:
    """Make a function that compiles kernels of some packages a set.

    Args:
        packages: Folders below that of the solvers, such as ``dp/fleet``.
    """
    return lambda compile_all: KernelSet(compile_all, packages)
