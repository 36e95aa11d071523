"""Whether the extra ``execute`` is installed, found out without importing it."""

from __future__ import annotations

from importlib.util import find_spec

from pats_opt.errors import InputError

#: What the engine imports.
PACKAGES = ("torch", "diffusers", "transformers", "peft", "safetensors", "PIL")


def require() -> None:
    """Refuse to go on without the extra.

    Raises:
        InputError: naming what is missing and how to install it.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(
            f"running a model needs {', '.join(missing)}",
            hint="install the extra: pip install 'pats-opt[execute]'",
        )
