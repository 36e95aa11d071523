"""Saves images beside the GPU's work: one thread that encodes, writes and journals, in order."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Mapping
from queue import Queue
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from pats_opt.errors import one_line
from pats_opt.execute.journal import BatchEnded, JournalWriter, LoadEnded, RequestFinished
from pats_opt.execute.output import IMAGES, ImageFolder
from pats_opt.execute.record import BatchRun, LatentLookup, LoadRun, MemberRun, Phase, Span
from pats_opt.execute.work import Finished, Member

#: What the keys of the text in a file begin with.
PREFIX = "pats-opt:"

#: Of zlib: the quickest. An image of 1024 pixels takes 0.1 s, where the default takes 0.5 s for a
#: file a quarter smaller, and a GPU may make several a second.
COMPRESSION = 1


def encode(picture: Any, text: Mapping[str, str]) -> bytes:
    """A ``PIL.Image`` as a PNG file with texts, UTF-8, under keys that begin with ``pats-opt:``."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, value in text.items():
        info.add_itxt(PREFIX + key, value)
    file = io.BytesIO()
    picture.save(file, "png", pnginfo=info, compress_level=COMPRESSION)
    return file.getvalue()


def describe(
    member: Member, common: Mapping[str, str], latents: LatentLookup | None = None
) -> dict[str, str]:
    """Texts of an image's file: its request, what it started from, and what the run has in common.

    Args:
        member: The request, with the steps that it ran and skipped.
        common: Texts of every image of the run.
        latents: Its look-up, where there is a folder of latents.
    """
    start: dict[str, str] = {}
    if latents is not None and latents.level:
        start = {
            "latents_level": str(latents.level),
            "latents_prompt": latents.prompt or "",
            "latents_request": latents.request or "",
            "latents_similarity": str(latents.similarity),
        }
    return {
        "request": member.id,
        "adapter": member.adapter or "",
        "prompt": member.prompt,
        "negative_prompt": member.negative_prompt,
        "seed": str(member.seed),
        "steps": str(member.steps),
        "skip": str(member.skip),
        "size": f"{member.width}x{member.height}",
        **start,
        **common,
    }


#: Pictures that may wait to be saved; the GPU's worker waits when there are more.
WAITING = 16


class _Picture(Struct, frozen=True):
    batch: int
    finished: Finished


class Saver:
    """Saves what leaves batches, and ends each batch once all of it is saved.

    Args:
        journal: Where it is noted.
        images: Where it is kept.
        names: File name of each request.
        text: What every image's file says besides its request.
        clock: The run's clock.
        saved: Told of each request that has left, once that is on disk.
    """

    def __init__(
        self,
        journal: JournalWriter,
        images: ImageFolder,
        *,
        names: Mapping[str, str],
        text: Mapping[str, str],
        clock: Callable[[], float],
        saved: Callable[[MemberRun], None],
    ) -> None:
        self._journal, self._images = journal, images
        self._names, self._text, self._clock = names, text, clock
        self._saved = saved
        self._queue: Queue[_Picture | BatchRun | LoadRun | None] = Queue(WAITING)
        self._members: list[MemberRun] = []
        self._spans: list[Span] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="saver", daemon=True)
        self._thread.start()

    def put(self, batch: int, finished: Finished) -> None:
        """Hand over what left a batch; waits while many wait.

        Raises:
            OSError: Something cannot be written; nothing is saved any more.
        """
        self._put(_Picture(batch, finished))

    def end(self, batch: BatchRun) -> None:
        """Hand over a batch all of whose members have left; they and their saving are added."""
        self._put(batch)

    def loaded(self, load: LoadRun) -> None:
        """Note a load that has ended beside the batches."""
        self._put(load)

    def close(self) -> None:
        """Wait until all is saved.

        Raises:
            OSError: Something could not be written.
        """
        self._queue.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _put(self, item: _Picture | BatchRun | LoadRun) -> None:
        if self._error is not None:
            raise self._error
        self._queue.put(item)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._error is not None:
                continue  # a worker that hands something over must not wait for ever
            try:
                if isinstance(item, _Picture):
                    self._leave(item)
                elif isinstance(item, LoadRun):
                    self._journal.append(LoadEnded(load=item))
                else:
                    self._end(item)
            except BaseException as error:
                self._error = error

    def _leave(self, picture: _Picture) -> None:
        if picture.finished.error is not None:
            member = self._failed(picture.finished, picture.finished.error)
            self._journal.append(RequestFinished(batch=picture.batch, member=member))
        else:
            member = self._save(picture)
        self._members.append(member)
        self._saved(member)

    def _save(self, picture: _Picture) -> MemberRun:
        member, began = picture.finished.member, self._clock()
        try:
            text = describe(member, self._text, picture.finished.latents)
            data = encode(picture.finished.picture, text)
        except Exception as error:
            failed = self._failed(picture.finished, f"{type(error).__name__}: {error}")
            self._journal.append(RequestFinished(batch=picture.batch, member=failed))
            return failed
        name = self._names[member.id]
        self._images.write_part(name, data)
        done = MemberRun(
            id=member.id,
            option=member.option,
            completion_s=self._clock(),
            image=f"{IMAGES}/{name}",
            sha256=hashlib.sha256(data).hexdigest(),
            latents=picture.finished.latents,
        )
        self._journal.append(RequestFinished(batch=picture.batch, member=done))
        self._images.settle(name)
        self._spans.append(
            Span(phase=Phase.SAVE, start_s=began, seconds=self._clock() - began, ids=(member.id,))
        )
        return done

    @staticmethod
    def _failed(finished: Finished, why: str) -> MemberRun:
        return MemberRun(id=finished.member.id, option=finished.member.option, error=one_line(why))

    def _end(self, batch: BatchRun) -> None:
        whole = replace(batch, members=tuple(self._members), spans=(*batch.spans, *self._spans))
        self._members, self._spans = [], []
        self._journal.append(BatchEnded(batch=whole))
