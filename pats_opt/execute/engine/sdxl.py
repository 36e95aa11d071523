"""The engine: SDXL with adapters in slots, and a denoising loop that members leave one by one.

It does what diffusers' pipeline does, with two differences: every member has its own scheduler and
step count, and adapters change by :mod:`slots`. A batch of one gives the pipeline's image bit for
bit on the CPU; in larger batches it differs by rounding only, so no image depends on its
neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any

from msgspec.structs import replace
from typing_extensions import override

from pats_opt.errors import InputError
from pats_opt.execute.adapter_set import AdapterSet
from pats_opt.execute.engine.adapter_store import AdapterStore
from pats_opt.execute.engine.graphs import Graphs
from pats_opt.execute.engine.latents import Latents, decode, require_restartable
from pats_opt.execute.engine.memory import DeviceMemory, Failure, attempt
from pats_opt.execute.engine.model import open_pipeline, versions
from pats_opt.execute.engine.priming import prime
from pats_opt.execute.engine.reuse import LatentCache
from pats_opt.execute.engine.sampling import (
    BatchConditioning,
    ModelKind,
    Sampling,
    adapter_of,
    check,
    encode,
    encoded_with,
)
from pats_opt.execute.engine.slots import Slots
from pats_opt.execute.engine.stopwatch import CallTimes, Stopwatch
from pats_opt.execute.record import Phase, Span
from pats_opt.execute.work import (
    Engine,
    EngineSettings,
    Finished,
    MeasuredRun,
    Member,
    Setup,
    Shape,
)

_size = attrgetter("member.width", "member.height")


class SdxlEngine(Engine):
    """SDXL on one device.

    Attributes:
        setup: What was opened.
        pipeline: The diffusers pipeline whose parts it uses.
        adapters: The adapters in host memory.
        slots: The adapters on the device.
        decode: Makes a picture of the latents of one image; another may be put in its place.
    """

    def __init__(self, settings: EngineSettings, clock: Callable[[], float]) -> None:
        """Open the model, read and check every adapter, and load the residents.

        Raises:
            InputError: The model, an adapter or the device is not fit.
        """
        import torch

        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        self._settings, self._clock = settings, clock
        self._memory = DeviceMemory(settings.device, settings.memory_gib)
        try:
            self.pipeline = open_pipeline(settings.model, settings.device, settings.dtype)
            self._kind = ModelKind.of(self.pipeline)
            self._device = self._kind.device
            on_cuda = self._device.type == "cuda"
            self._graphs = Graphs(self._call_unet) if settings.graphs and on_cuda else None
            self.adapters = AdapterStore(self.pipeline, settings, self._kind.dtype)
            count = settings.slots if settings.adapters else 0
            layout = self.adapters.layout
            self.slots = Slots(self.pipeline, layout, count, staged=self._graphs is not None)
        except torch.OutOfMemoryError:
            raise InputError(
                f"the model and {settings.slots} adapter slots do not fit the device's memory",
                hint="use a larger device, fewer resident adapters or a smaller --dtype",
            ) from None
        # Not torch's current stream, whose kernels a copy for another slot need not wait for.
        self._loading = torch.cuda.Stream(self._device) if on_cuda else None
        self.decode: Callable[[Any], Any] = partial(decode, self.pipeline.vae)
        distilled = self.pipeline.unet.config.time_cond_proj_dim is not None
        self._guided = settings.guidance > 1 and not distilled
        scheduler = type(self.pipeline.scheduler).__name__
        made_by = (settings.model, settings.dtype, f"{settings.guidance}", scheduler)
        self._latents = Latents(settings.latents, made_by, settings.adapters)
        self._cache: LatentCache | None = None
        self._running = self._watch()
        self._splits, self._tiled = 0, False
        # By size, the members that fitted when memory had run out.
        self._largest: dict[tuple[int, int], int] = {}
        self._conditions = BatchConditioning(guided=self._guided)
        if settings.prime or settings.cache is not None:
            require_restartable(scheduler)
        primed = prime(settings.prime, self._latents, self._loaded, self._sample, self._watch)
        if on_cuda:
            self._warm_up(settings.warm)
        if settings.cache is not None:
            self._cache = LatentCache(settings.cache, made_by, settings.adapters, self._kind.factor)
        for adapter in settings.resident:
            self.slots.put(adapter, self.adapters.fetch(adapter))
        self.setup = Setup(
            device=self._memory.device_name,
            memory_gib=self._memory.total_gib,
            scheduler=scheduler,
            rank=layout.rank,
            versions=versions(),
            primed=primed,
        )

    @override
    def switch(self, load: Sequence[str], evict: Sequence[str]) -> MeasuredRun:
        watch = self._watch()
        for adapter in evict:
            self.slots.evict(adapter)
        tier = self._settings.tier
        for adapter in load:
            with watch.span(Phase.LOAD, ids=(adapter,), tier=tier, mib=self._packed_mib):
                self.slots.put(adapter, self.adapters.fetch(adapter))
                watch.synchronize()
        return MeasuredRun(spans=watch.read())

    @override
    def reserve(self, adapter: str | None, evict: Sequence[str]) -> None:
        for name in evict:
            self.slots.evict(name)
        if adapter is not None:
            self.slots.reserve(adapter)

    @override
    def fill(self, adapter: str) -> Span:
        began = self._clock()
        self.slots.fill(adapter, self.adapters.fetch(adapter), self._loading)
        return Span(
            phase=Phase.LOAD,
            start_s=max(0.0, began),
            seconds=self._clock() - began,
            ids=(adapter,),
            tier=self._settings.tier,
            mib=self._packed_mib,
        )

    @override
    def change_adapters(self, added: AdapterSet, removed: Collection[str]) -> None:
        self.adapters.change(added, removed)

    @property
    def _packed_mib(self) -> float:
        """Size of an adapter in a slot, in MiB."""
        return float(self.adapters.layout.size * self._kind.dtype.itemsize / 2**20)

    @override
    def run(self, members: Sequence[Member], finished: Callable[[Finished], None]) -> MeasuredRun:
        import torch

        self._memory.reset_peak()
        self._splits = 0
        self._running = watch = self._watch()
        if self._cache is not None:
            with watch.span(Phase.LATENTS, n=len(members), ids=tuple(m.id for m in members)):
                members = self._cache.begin(members)
        with torch.no_grad():
            samplings = self._admit(members, watch, finished)
            self._denoise(samplings, watch, lambda s: self._leave(s, watch, finished))
        spans = watch.read()
        graph_gib = 0.0 if self._graphs is None else self._graphs.take_peak_gib()
        return MeasuredRun(
            spans=spans, peak_gib=self._memory.peak_gib(graph_gib), splits=self._splits
        )

    @override
    def progress(self) -> Mapping[str, int]:
        return self._running.steps()

    def _admit(
        self,
        members: Sequence[Member],
        watch: Stopwatch,
        finished: Callable[[Finished], None],
        stop_at_skip: bool = False,
    ) -> list[Sampling]:
        """Encode the prompts, adapter by adapter, and draw the noise."""
        admitted: list[Sampling] = []

        def admit(some: Sequence[Member]) -> None:
            for member in some:
                check(member, self._kind)
            self.slots.use_in_encoders(some[0].adapter)
            conditioned = encode(self.pipeline, self._device, some, guided=self._guided)
            for member, conditioning in zip(some, conditioned, strict=True):
                start = None if stop_at_skip or not member.skip else self._start(member)
                stop = member.skip if stop_at_skip else None
                keep = () if self._cache is None else self._cache.levels(member)
                admitted.append(
                    Sampling(member, self._kind, conditioning, start=start, stop=stop, keep=keep)
                )

        for _, group in groupby(sorted(members, key=encoded_with), key=encoded_with):
            together = list(group)
            # Together where that works; where it does not, the faulty one fails alone.
            pending = [together]
            while pending:
                some = pending.pop()
                held = len(admitted)
                with watch.span(Phase.ENCODE, n=len(some), ids=tuple(m.id for m in some)):
                    failure = attempt(partial(admit, some))
                if failure is None:
                    continue
                del admitted[held:]
                if self._make_room(failure):
                    pending.append(some)
                elif len(some) > 1:
                    pending += [[member] for member in reversed(some)]
                else:
                    finished(Finished(member=some[0], error=failure.reason))
        order = {member.id: i for i, member in enumerate(members)}
        return sorted(admitted, key=lambda s: order[s.member.id])

    def _start(self, member: Member) -> Any:
        starts = self._latents.get if self._cache is None else self._cache.start
        start = starts(member)
        if start is None:
            raise ValueError(f"there are no latents of its first {member.skip} steps to start from")
        return start

    def _denoise(
        self, live: list[Sampling], watch: Stopwatch, leave: Callable[[Sampling], None]
    ) -> None:
        """Step all members until the last has left."""
        adapters = [s.member.adapter for s in live]
        if live and not self.slots.in_use(adapters):
            named = tuple(sorted({a for a in adapters if a is not None}))
            with watch.span(Phase.ACTIVATE, n=len(live), ids=named):
                self.slots.use([(adapter, 1) for adapter in adapters])
        while live:
            ids = tuple(s.member.id for s in live)
            with watch.span(Phase.STEP, n=len(live), ids=ids) as laps:
                for _, group in groupby(sorted(live, key=_size), key=_size):
                    self._advance(list(group), laps)
            for sampling in live:
                if sampling.finished:
                    leave(sampling)
            live = [s for s in live if not s.finished]

    def _advance(self, group: list[Sampling], laps: CallTimes) -> None:
        """One step for each of a group of one size, in as few UNet calls as memory allows."""
        size = _size(group[0])
        goals = {id(s): s.done + 1 for s in group}
        pending, alone, again = list(group), False, True
        while pending:
            most = 1 if alone else self._largest.get(size, len(pending))
            chunk = pending[:most]
            failure = attempt(partial(self._step, chunk, laps))
            pending = [s for s in pending if s.done < goals[id(s)]]
            if failure is None or self._make_room(failure):
                continue
            if len(chunk) > 1 and failure.out_of_memory:
                self._largest[size] = len(chunk) // 2
            elif len(chunk) > 1:
                alone = True
            elif failure.out_of_memory and again:
                again = False  # the first try may have met another's leavings
            else:
                chunk[0].error = failure.reason
                pending.remove(chunk[0])

    def _make_room(self, failure: Failure) -> bool:
        """Where memory ran out, give back what can be; whether the same may now be tried again."""
        if not failure.out_of_memory:
            return False
        freed = self._graphs is not None and self._graphs.give_up()
        self._splits += not freed
        self._memory.give_back()
        return freed

    def _step(self, chunk: Sequence[Sampling], laps: CallTimes) -> None:
        """One UNet call for all of ``chunk``, then each one's own scheduler.

        The rows of an adapter are together: those without text, then those with it.
        """
        import torch

        chunk = sorted(chunk, key=lambda s: adapter_of(s.member))
        groups = [list(some) for _, some in groupby(chunk, key=lambda s: adapter_of(s.member))]
        rows = 2 if self._guided else 1
        inputs = torch.cat([torch.cat([s.scaled() for s in some] * rows) for some in groups])
        times = torch.cat([torch.stack([s.timestep for s in some] * rows) for some in groups])
        self.slots.use([(some[0].member.adapter, rows * len(some)) for some in groups])
        conditions = self._conditions([[s.conditioning for s in some] for some in groups])
        with laps.unet():
            if self._graphs is None or self.slots.mixed:
                predicted = self._call_unet(inputs, times, *conditions)
            else:
                variant = "bare" if self.slots.bare else "adapter"
                predicted = self._graphs(variant, inputs, times, *conditions)
        for some, part in zip(
            groups, predicted.split([rows * len(g) for g in groups]), strict=True
        ):
            noise = part
            if self._guided:
                without, with_text = part.chunk(2)
                noise = without + self._settings.guidance * (with_text - without)
            for i, sampling in enumerate(some):
                sampling.step(noise[i : i + 1])

    def _call_unet(self, inputs: Any, times: Any, embeds: Any, pooled: Any, time_ids: Any) -> Any:
        return self.pipeline.unet(
            inputs,
            times,
            encoder_hidden_states=embeds,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": time_ids},
            return_dict=False,
        )[0]

    def _leave(
        self, sampling: Sampling, watch: Stopwatch, finished: Callable[[Finished], None]
    ) -> None:
        """Decode a member that has all its steps, and hand it over."""
        found = None
        if self._cache is not None:
            with watch.span(Phase.LATENTS, ids=(sampling.member.id,)):
                found = self._cache.end(sampling)
        left = Finished(member=sampling.member, error=sampling.error, latents=found)
        if sampling.error is not None:
            finished(left)
            return
        pictures: list[Any] = []
        while True:
            with watch.span(Phase.DECODE, ids=(sampling.member.id,)):
                failure = attempt(lambda: pictures.append(self.decode(sampling.latents)))
            if failure is None or not failure.out_of_memory:
                break
            if self._make_room(failure):
                continue
            if self._tiled:
                break
            self.pipeline.vae.enable_tiling()
            self.pipeline.vae.tile_latent_min_size = 64  # the default does not tile 1024 pixels
            self._tiled = True
        if failure is not None:
            finished(replace(left, error=failure.reason))
        else:
            finished(replace(left, picture=pictures[0]))

    def _sample(
        self,
        members: Sequence[Member],
        refused: Callable[[Finished], None],
        leave: Callable[[Sampling], None],
    ) -> None:
        """Run members up to where their options start, and hand each over there."""
        import torch

        watch = self._watch()
        with torch.no_grad():
            self._denoise(self._admit(members, watch, refused, stop_at_skip=True), watch, leave)

    def _watch(self) -> Stopwatch:
        return Stopwatch(self._device, self._clock)

    @contextmanager
    def _loaded(self, adapter: str | None) -> Iterator[None]:
        """Have an adapter in a slot for a while, before the run."""
        if adapter is not None:
            self.slots.put(adapter, self.adapters.fetch(adapter))
        yield
        if adapter is not None:
            self.slots.evict(adapter)

    def _warm_up(self, shapes: Iterable[Shape]) -> None:
        """Run each shape once, with an adapter and bare: what a GPU does at first takes seconds."""
        adapters: list[str | None] = [None, *list(self._settings.adapters)[:1]]
        for adapter in adapters if self._settings.slots else [None]:
            with self._loaded(adapter):
                for shape in sorted(shapes, key=lambda s: -s.members):
                    self.run(shape.requests(adapter), lambda _: None)
        self._largest.clear()

    @override
    def close(self) -> None:
        self.adapters.clear()
        self._conditions.clear()
        if self._graphs is not None:
            self._graphs.give_up()
        del self.pipeline, self.slots, self.decode
        self._memory.give_back()
