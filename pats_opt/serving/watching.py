"""The folder of adapters is looked at again and again while the server runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from pats_opt.errors import InputError
from pats_opt.serving.folder import AdapterFolder
from pats_opt.serving.service import ImageService

log = logging.getLogger(__name__)


@asynccontextmanager
async def watched(service: ImageService) -> AsyncIterator[None]:
    """Keep a service's adapters as its folder has them, while the context lasts."""
    folder, every_s = service.folder, service.settings.watch_s
    if folder is None or not every_s:
        yield
        return
    task = asyncio.create_task(_watch(service, folder, every_s))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _watch(service: ImageService, folder: AdapterFolder, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            service.refresh(await asyncio.to_thread(folder.look))
        except InputError as error:
            service.note_problems([str(error)])
        except Exception:
            log.exception("the folder of adapters could not be looked at")
