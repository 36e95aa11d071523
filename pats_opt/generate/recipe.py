"""The recipe of an instance: one table per component, with defaults and units.

The same structs are the tables of a ``--config`` TOML file, of ``pats_opt/data/suites.toml`` and,
for everything that a request log lacks, of ``import``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from pats_opt.generate.approximate import ApproximateCache
from pats_opt.generate.config import ConfigTable, Mix, NotNegative, Positive, Share
from pats_opt.generate.quality import Quality
from pats_opt.generate.ranks import AdapterRanks
from pats_opt.generate.shapes import DayShape, SquareWave
from pats_opt.model.instance import Overhead, StepTime

Whole = Annotated[int, Meta(ge=1, le=1_000_000_000)]


class Arrivals(ConfigTable, frozen=True, kw_only=True):
    """Arrival times: a renewal process of the given load, or all at tick 0.

    ``poisson`` has exponential inter-arrival times. ``bursty`` has the coefficient of variation
    ``cv``: above 1 a hyperexponential of two phases with balanced means, below 1 a constant plus an
    exponential. ``regular`` has constant ones; ``at-once`` has none. ``day`` and ``square`` are
    Poisson processes whose rate follows the shape of that name, from its beginning on.

    Attributes:
        load: Offered GPU time / available GPU time, where ``rate_per_s`` is None. A request offers
            1/b of a full-step batch of b requests and of its switches, with b = ``batch``, or the
            largest batch that fits where that is smaller. See
            :func:`pats_opt.generate.draw.work_s`.
        switches_per_batch: Switches (at the mean load time) counted with each of these batches.
        rate_per_s: Requests per second; replaces ``load``.
    """

    process: Literal["poisson", "bursty", "regular", "at-once", "day", "square"] = "poisson"
    cv: NotNegative = 3.0
    load: Positive = 1.0
    batch: Whole = 4
    switches_per_batch: NotNegative = 1.0
    rate_per_s: Positive | None = None
    day: DayShape = DayShape()
    square: SquareWave = SquareWave()


class Popularity(ConfigTable, frozen=True, kw_only=True):
    """Popularity of adapters. An adapter that no request draws is left out of the instance.

    Attributes:
        adapters: Adapters to draw from.
        zipf: Exponent s: adapter i = 1, 2, ... is drawn with weight ``1 / (i + shift) ** s``.
        shift: The Zipf-Mandelbrot shift.
        base_share: Share of requests without adapter (id ``base``).
        depths: Numbers of most recently used adapters, rising.
        hits: ``hits[i]`` is the (cumulative) probability that a request takes one of the
            ``depths[i]`` most recently used adapters; otherwise it draws afresh.
    """

    adapters: Whole = 4
    zipf: NotNegative = 0.8
    shift: NotNegative = 0.0
    base_share: Share = 0.0
    depths: tuple[Whole, ...] = ()
    hits: tuple[Share, ...] = ()

    def __post_init__(self) -> None:
        rising = list(self.depths) == sorted(set(self.depths)) and list(self.hits) == sorted(
            self.hits
        )
        if len(self.depths) != len(self.hits) or not rising:
            raise ValueError("'hits' needs one number for each of 'depths', both rising")


class Complexity(ConfigTable, frozen=True, kw_only=True):
    """Complexity of prompts: one of ``levels`` plus or minus up to ``spread``, cut to 0..1.

    The default is the documents' premise of two kinds of prompts, simple and complex.
    """

    levels: Mix = Mix(values=(0.2, 0.8))
    spread: Share = 0.0


class StepCounts(ConfigTable, frozen=True, kw_only=True):
    """Step counts: each request's full count, and the pruned options below it.

    Attributes:
        full: Full step counts.
        pruned: Options below the full count; None for 20 in ``generate``, and for no such options
            in the import of a log, where the log says what is served.
    """

    full: Mix = Mix(values=(60.0,))
    pruned: tuple[Annotated[int, Meta(ge=1, le=1_000_000)], ...] | None = None


class ImageCount(ConfigTable, frozen=True, kw_only=True):
    """Images per request, and the requests that a request of n images becomes.

    A batch is counted in requests (its step time depends on their number), so the modes differ:

    ``split``
        n requests of one image each (``r7.0`` ... ``r7.3``), each with the full weight. The GPU
        time is right; the loss counts images.
    ``group``
        As ``split``, and each names the request as its ``group``, those of one image too: metrics
        are given by group besides.
    ``share``
        As ``split``, each with 1/n of the weight: the loss counts requests, and the latency of a
        request is the mean over its images.
    ``stack``
        One request with n times the demand on every resource, which runs as one member. Its steps
        take as long as those of one image: right only where step time hardly grows with n
        (``documents``).
    ``one``
        One request of one image; the count is ignored.

    None is ``split``, and in the import of a log ``group`` where a row has several images.
    """

    count: Mix = Mix(values=(1.0,))
    mode: Literal["split", "group", "share", "stack", "one"] | None = None


class ImageSize(ConfigTable, frozen=True, kw_only=True):
    """An image size in pixels with its share; ``vram_gib`` overrides the profile's memory model.

    A size changes the memory a request needs, not its step time: the problem has one step time.
    """

    width: Annotated[int, Meta(ge=1, le=65536)] = 1024
    height: Annotated[int, Meta(ge=1, le=65536)] = 1024
    share: NotNegative = 1.0
    vram_gib: NotNegative | None = None


class ServiceSettings(ConfigTable, frozen=True, kw_only=True):
    """The service profile (name or file), and values that replace its own (None: the profile's).

    Attributes:
        kind: ``slot`` is the documents' slotted model, in which a batch takes one tick.
        tick_s: Seconds per tick.
        step_s: Seconds per step, as in an instance.
        overhead_s: Seconds per batch besides its steps, as in an instance.
    """

    profile: str = "documents"
    kind: Literal["steps", "slot"] = "steps"
    tick_s: Annotated[float, Meta(ge=1e-6, le=1e6)] | None = None
    step_s: StepTime | None = None
    overhead_s: NotNegative | Overhead | None = None


class GpuSettings(ConfigTable, frozen=True, kw_only=True):
    """The GPUs.

    Attributes:
        vram_gib: Memory of each, taken in turn; empty for the profile's.
        batch: Largest batch; None for the profile's.
        resident: ``popular`` starts each GPU with the most requested adapters it can hold.
    """

    count: Annotated[int, Meta(ge=1, le=100_000)] = 1
    vram_gib: tuple[Positive, ...] = ()
    batch: Whole | None = None
    resident: Literal["none", "popular"] = "none"


class AdapterCache(ConfigTable, frozen=True, kw_only=True):
    """The adapter cache and its costs.

    Attributes:
        activate_s: Between resident adapters; None for the profile's.
        price_per_s: Loss per second of switching. The default prices make the quality,
            latency and switching terms of good schedules alike in size with ``documents``.
        tier: Where adapters are loaded from; None for the profile's.
        load_s: Seconds to load the adapters, taken in turn; empty for those of the tier.
        channels: Loads that may run at a time on a GPU while it serves; None where it serves nobody
            while it loads.
        pairs_spread: Above 0, the time of each transition is drawn within this share of the
            target's load time (needs ``max_resident`` 1 and no ``channels``).
    """

    max_resident: Whole = 1
    max_per_batch: Whole = 1
    activate_s: NotNegative | None = None
    price_per_s: NotNegative = 0.5
    tier: str | None = None
    load_s: tuple[NotNegative, ...] = ()
    channels: Whole | None = None
    pairs_spread: Share = 0.0

    def __post_init__(self) -> None:
        if self.pairs_spread and self.max_resident != 1:
            raise ValueError("'pairs_spread' needs 'max_resident' 1")
        if self.pairs_spread and self.channels:
            raise ValueError("'pairs_spread' has no 'channels': loads beside serving have no pairs")


class Terms(ConfigTable, frozen=True, kw_only=True):
    """Prices, deadlines and rejection.

    Attributes:
        latency_price_per_s: Loss per second from arrival to completion.
        late_price: Loss per missed deadline.
        deadline_share: Share of requests with a deadline.
        deadline_slack: Bounds of their deadline, as multiples of the time that the request takes
            alone at full steps, its adapter's load included.
        reject_share: Share of requests that may be rejected.
        reject_loss: Loss of a rejection; None for the request's best quality (the documents'
            "served at most once").
        weight: Weights of requests.
        horizon_slack: Where given, everything must end within this multiple of the time that
            serving the requests one at a time takes after the last arrival; 1 always suffices.
    """

    latency_price_per_s: NotNegative = 0.05
    late_price: NotNegative = 0.0
    deadline_share: Share = 0.0
    deadline_slack: tuple[Positive, Positive] = (2.0, 6.0)
    reject_share: Share = 0.0
    reject_loss: NotNegative | None = None
    weight: Mix = Mix(values=(1.0,))
    horizon_slack: Positive | None = None


class Recipe(ConfigTable, frozen=True, kw_only=True):
    """Everything that ``generate`` takes except the seed."""

    requests: Annotated[int, Meta(ge=0, le=100_000_000)] = 20
    arrivals: Arrivals = Arrivals()
    popularity: Popularity = Popularity()
    complexity: Complexity = Complexity()
    steps: StepCounts = StepCounts()
    images: ImageCount = ImageCount()
    sizes: Annotated[tuple[ImageSize, ...], Meta(min_length=1)] = (ImageSize(),)
    service: ServiceSettings = ServiceSettings()
    gpus: GpuSettings = GpuSettings()
    switching: AdapterCache = AdapterCache()
    ranks: AdapterRanks = AdapterRanks()
    quality: Quality = Quality()
    terms: Terms = Terms()
    approximate_cache: ApproximateCache | None = None

    def __post_init__(self) -> None:
        if self.switching.channels and self.service.kind == "slot":
            raise ValueError("'switching.channels' needs 'service.kind' steps: a slot has no loads")
