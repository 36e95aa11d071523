"""The one script that interactive pages need: Bokeh's, inside the page or once beside many."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from pats_opt.model.files import StrPath, write_bytes


def script() -> str:
    """Bokeh's script, as it stands between ``<script>`` and ``</script>``."""
    from bokeh.resources import Resources

    raw = Resources(mode="inline", components=["bokeh"], log_level="warn", minified=True).js_raw
    return "\n".join(raw).replace("</script", "<\\/script")


def script_name() -> str:
    """Name of the script's file; it tells the version."""
    from bokeh import __version__

    return f"bokeh-{__version__}.min.js"


def script_url(assets: str) -> str:
    """Where a page finds the script, from the folder it lies in, as the page sees it."""
    return quote(f"{assets.rstrip('/')}/{script_name()}", safe="/.")


def write_assets(folder: StrPath) -> Path:
    """Write the script into a folder, for the pages that are written with ``assets``.

    Returns:
        The file.
    """
    path = Path(folder) / script_name()
    write_bytes(path, script().encode())
    return path
