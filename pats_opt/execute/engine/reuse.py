"""Approximate caching in the engine: start from an earlier prompt's latents, keep one's own.

A request whose option skips K steps starts from the latents of the nearest earlier prompt: those of
K, or else of the largest level below that are there. Where no prompt is near enough, or has none,
it runs all its steps from its own noise, and its latents are stored when it leaves.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from pats_opt.execute.adapter_set import AdapterSet
from pats_opt.execute.engine.sampling import Sampling
from pats_opt.execute.latent_folder import (
    LatentCacheSettings,
    LatentFolder,
    LookupResult,
    key_of,
    metadata,
)
from pats_opt.execute.latent_index import LatentsStored
from pats_opt.execute.record import LatentLookup
from pats_opt.execute.work import Member

log = logging.getLogger(__name__)


class LatentCache:
    """Uses a folder of latents for the batches of one engine.

    Args:
        settings: Of the folder.
        made_by: What latents depend on besides the member: model, precision, guidance, scheduler.
        adapters: The adapters, which count by their content.
        factor: Pixels of a latent's side.

    Raises:
        InputError: The folder cannot be used, or an adapter's file cannot be read.
    """

    def __init__(
        self,
        settings: LatentCacheSettings,
        made_by: tuple[str, ...],
        adapters: AdapterSet,
        factor: int,
    ) -> None:
        self._settings, self._made_by, self._factor = settings, made_by, factor
        self._folder = LatentFolder(settings)
        self._digests: dict[str | None, str] = {None: ""}
        if settings.scope == "adapter":
            self._digests |= {adapter: adapters.digest(adapter) for adapter in adapters}
        # Of the members of the batch, by id.
        self._found: dict[str, LookupResult] = {}
        self._starts: dict[str, Any] = {}
        self._asked: dict[str, int] = {}
        self._warned = False

    def begin(self, members: Sequence[Member]) -> list[Member]:
        """Look the members of a batch up; return them with the steps that they will skip and run.

        A folder that cannot be used is no reason to stop: its members run all their steps.
        """
        self._found, self._starts = {}, {}
        self._asked = {member.id: member.skip for member in members}
        return [self._begin(member) for member in members]

    def _begin(self, member: Member) -> Member:
        if member.steps + member.skip in self._settings.totals:
            try:
                found = self._folder.look_up(member.prompt, self._scope(member), member.skip)
                while found.source is not None and not self._open(member, found):
                    self._folder.drop(found)
                    found = self._folder.look_up(member.prompt, self._scope(member), member.skip)
                self._found[member.id] = found
            except OSError as error:
                self._warn(error)
        level = self._found[member.id].level if member.id in self._found else 0
        return replace(member, steps=member.steps + member.skip - level, skip=level)

    def _open(self, member: Member, found: LookupResult) -> bool:
        """Read latents of a member's size; whether they are that."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            latents = load(found.data)["latents"]
        except (KeyError, SafetensorError):
            return False
        size = member.height // self._factor, member.width // self._factor
        if latents.ndim != 4 or tuple(latents.shape[-2:]) != size:
            return False
        self._starts[member.id] = latents
        return True

    def start(self, member: Member) -> Any:
        """The latents that a member starts from; None where it starts from noise."""
        return self._starts.get(member.id)

    def levels(self, member: Member) -> frozenset[int]:
        """Levels of which a member's latents are to be kept."""
        found = self._found.get(member.id)
        if found is None or not found.missed:
            return frozenset()
        steps = member.steps + member.skip
        return frozenset(k for k in self._settings.levels.levels if k < steps)

    def end(self, sampling: Sampling) -> LatentLookup | None:
        """Store what was kept of a member that leaves, and return what its look-up came to."""
        member = sampling.member
        found = self._found.pop(member.id, None)
        self._starts.pop(member.id, None)
        stored: tuple[int, ...] = ()
        if found is not None and sampling.kept and sampling.error is None:
            stored = self._store(found, sampling)
        source = None if found is None else found.source
        return LatentLookup(
            asked=self._asked[member.id],
            level=0 if found is None else found.level,
            similarity=None if found is None else found.similarity,
            prompt=None if source is None else source.prompt,
            request=None if source is None else source.request,
            stored=stored,
        )

    def _store(self, found: LookupResult, sampling: Sampling) -> tuple[int, ...]:
        from safetensors.torch import save

        member, scope = sampling.member, self._scope(sampling.member)
        line = LatentsStored(
            key=key_of(scope, member.prompt),
            scope=scope,
            prompt=member.prompt,
            request=member.id,
            files=(),
        )
        held = {level: latents.cpu().contiguous() for level, latents in sampling.kept.items()}
        data = {
            level: save({"latents": latents}, metadata(line))
            for level, latents in held.items()
            if bool(latents.isfinite().all())
        }
        try:
            return self._folder.store(found, line, data)
        except OSError as error:
            self._warn(error)
            return ()

    def _warn(self, error: OSError) -> None:
        """Say once that the folder cannot be used for something."""
        if not self._warned:
            reason = error.strerror or str(error)
            log.warning("%s: some latents are not used (%s)", self._settings.folder, reason)
        self._warned = True

    def _scope(self, member: Member) -> str:
        """Digest of all that latents must share for one request to start from another's."""
        adapter = self._digests[member.adapter] if self._settings.scope == "adapter" else "any"
        steps = member.steps + member.skip
        what = (*self._made_by, adapter, member.width, member.height, steps)
        return hashlib.sha256(msgspec.json.encode(what)).hexdigest()[:32]
