"""The model of a server, and the instance that it works on: GPUs and adapters, no requests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from pats_opt.execute.adapter_set import AdapterSet
from pats_opt.execute.adapters import adapters_in, make_adapters
from pats_opt.execute.options import BUILT_IN, Options
from pats_opt.generate.build import assemble
from pats_opt.generate.profile import Profile
from pats_opt.generate.recipe import Recipe
from pats_opt.model.instance import Adapter
from pats_opt.model.problem import Problem
from pats_opt.serving.api import BASE

#: The model that is none: it takes the times of the profile.
FAKE = "fake"

#: Adapters that are made up where a model with random weights has no folder of them.
MADE_UP = tuple(f"lora-{i}" for i in range(1, 5))

#: Largest batch where neither the recipe nor the profile has one.
LARGEST_BATCH = 1024


class ServerModel(Struct, frozen=True, kw_only=True):
    """The model, its adapters and the GPUs that serve them.

    Attributes:
        recipe: GPUs, memory, residents and prices.
        profile: The device, as the recipe names it.
        options: How workers run.
        adapters: The adapters.
        seed: Seed of the policy.
    """

    recipe: Recipe
    profile: Profile
    options: Options
    adapters: AdapterSet
    seed: int = 0

    @property
    def is_fake(self) -> bool:
        """Whether there is no model."""
        return self.options.model == FAKE

    def adapter(self, name: str, parts: int) -> Adapter:
        """Return an adapter of the problem: memory and load time are the sums over its parts."""
        load = self.profile.load_time(self.tier)
        gib = round(parts * self.profile.memory.adapter_gib, 6)
        return Adapter(id=name, vram_gib=gib, load_s=round(parts * load.median, 6))

    @property
    def tier(self) -> str | None:
        """Tier of the profile from which adapters are loaded."""
        return self.recipe.switching.tier


def served_adapters(model: str, folder: str | None, made_up: Callable[[], Path]) -> AdapterSet:
    """Return the adapters to serve.

    Args:
        model: The model.
        folder: Folder of LoRA files; None to make some up for a model with random weights.
        made_up: Gives the folder for those.

    Raises:
        InputError: The folder cannot be read, or is needed.
    """
    if folder is not None:
        return adapters_in(folder)
    if model in BUILT_IN:
        return AdapterSet(files=make_adapters(model, MADE_UP, made_up()))
    return AdapterSet(files=dict.fromkeys(MADE_UP, "") if model == FAKE else {})


def site_of(model: ServerModel) -> Problem:
    """Return the problem without requests.

    Raises:
        InputError: The GPUs do not fit together.
    """
    profile = model.profile
    bare = [] if BASE in model.adapters else [Adapter(id=BASE, vram_gib=0.0, load_s=0.0)]
    files = model.adapters
    adapters = [*bare, *[model.adapter(name, len(files.parts(name))) for name in sorted(files)]]
    gpus = model.recipe.gpus
    largest = gpus.batch or profile.memory.max_batch or LARGEST_BATCH
    recipe = replace(model.recipe, gpus=replace(gpus, batch=largest))
    made = assemble("served", (), adapters, recipe, profile=profile, seed=model.seed, extra={})
    return Problem(made)


def with_ticks(recipe: Recipe, tick_s: float) -> Recipe:
    """Return a recipe with a tick that is short enough to serve by, unless it names one."""
    if recipe.service.tick_s is not None:
        return recipe
    return replace(recipe, service=replace(recipe.service, tick_s=tick_s))
