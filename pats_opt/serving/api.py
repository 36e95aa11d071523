"""Requests of OpenAI's Images API: read strictly, and turned into requests of the problem."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from pats_opt.errors import InputError
from pats_opt.execute.adapter_set import AdapterPart, Composition
from pats_opt.generate.quality import QualityModel
from pats_opt.importers.complexity import estimate
from pats_opt.model.instance import Adapter, Option, Request
from pats_opt.model.loss import loss_of_expiry
from pats_opt.model.parsing import convert, parse_json
from pats_opt.model.problem import Site
from pats_opt.nearest import meant
from pats_opt.serving.errors import ApiError
from pats_opt.serving.settings import RequestLimits, ServerSettings

#: Adapter of a request that names none.
BASE = "base"

#: Width and height of an image where a request names none, and what both are multiples of.
SIDE, GRAIN = 1024, 8

#: Shortest side of an image.
SHORTEST = 64

#: Sizes of images; both sides are also multiples of 8 within the limits.
SIZE = re.compile(r"auto|([0-9]{1,5})x([0-9]{1,5})")


class ImageExtension(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields of a request that OpenAI's API has not, under the key ``pats_opt``.

    Attributes:
        negative_prompt: Description of what the image must not show.
        seed: Seed of the first image; each further one has the next.
        steps: Denoising steps.
        min_quality: Least quality, 0 to 1, of the steps that a policy may choose.
        deadline_s: Seconds from arrival after which the images are of no use.
        weight: Weight of each image in the loss.
        adapters: Adapters that are combined, each with the scale of its weights; the request names
            no ``model`` then.
    """

    negative_prompt: str = ""
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    steps: Annotated[int, Meta(ge=1)] | None = None
    min_quality: Annotated[float, Meta(ge=0, le=1)] | None = None
    deadline_s: Annotated[float, Meta(gt=0)] | None = None
    weight: Annotated[float, Meta(gt=0)] = 1.0
    adapters: Annotated[tuple[AdapterPart, ...], Meta(min_length=1)] | None = None


class ImageRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/images/generations``, as OpenAI's API reference has it.

    Attributes:
        prompt: Description of the images.
        model: The adapter; the bare model where there is none.
        n: Number of images; 1 where there is none.
        size: Width and height, such as ``1024x1024``: multiples of 8.
        response_format: Whether the response has URLs or the images themselves.
        quality: Chooses steps where ``pats_opt.steps`` does not: ``low`` the fewest, ``high`` and
            ``hd`` the most, any other leaves it to the policy.
        style: Accepted and not used, as the other fields of OpenAI's API.
        pats_opt: Fields that OpenAI's API has not.
    """

    prompt: str
    model: str | None = None
    n: Annotated[int, Meta(ge=1)] | None = None
    size: str | None = None
    response_format: Literal["url", "b64_json"] | None = None
    quality: Literal["auto", "low", "medium", "standard", "high", "hd"] | None = None
    style: Literal["vivid", "natural"] | None = None
    background: Literal["auto", "opaque"] | None = None
    moderation: Literal["auto", "low"] | None = None
    output_format: Literal["png"] | None = None
    output_compression: Literal[100] | None = None
    partial_images: Literal[0] | None = None
    stream: Literal[False] | None = None
    user: str | None = None
    pats_opt: ImageExtension | None = None


class RequestAdapter(Struct, frozen=True):
    """Adapter of a request.

    Attributes:
        adapter: As the problem has it.
        parts: Files that it is made of, each with its scale; none of the bare model.
    """

    adapter: Adapter
    parts: Composition


class ImageOrder(Struct, frozen=True, kw_only=True):
    """A request that was understood: its images, and how they are to be returned."""

    id: str
    adapter: RequestAdapter
    images: tuple[Request, ...]
    as_url: bool


def read_request(data: bytes, limits: RequestLimits) -> ImageRequest:
    """Read the body of a request; the seed of one that names none is chosen.

    Raises:
        ApiError: It is not as the API has it, or beyond a limit; the message is one sentence.
    """
    try:
        document = parse_json(data)
        if not isinstance(document, dict):
            raise InputError("the body is no JSON object", hint="send an object")
        given = convert(document, ImageRequest)
    except InputError as error:
        where = f"{error.place}: " if error.place else ""
        mend = f"; {error.hint}" if error.hint and "'extra'" not in error.hint else ""
        raise _refusal(f"{where}{error.problem}{mend}", error.place) from None
    except (ValueError, OverflowError):
        raise _refusal("the body is not JSON", None) from None
    _limit(given, limits)
    more = given.pats_opt or ImageExtension()
    if more.seed is None:
        more = replace(more, seed=secrets.randbelow(2**32))
    return replace(given, pats_opt=more)


def _refusal(message: str, param: str | None, code: str = "invalid_value") -> ApiError:
    return ApiError(400, message, code=code, param=param)


def _limit(given: ImageRequest, limits: RequestLimits) -> None:
    more = given.pats_opt or ImageExtension()
    if not given.prompt.strip():
        raise _refusal("prompt: the prompt is empty", "prompt")
    for place, characters in longest(limits).items():
        count = len(_value(given, more, place))
        if count > characters:
            raise _refusal(
                f"{place}: {count} characters are more than the {characters} allowed", place
            )
    for place, most in largest(limits).items():
        value = _value(given, more, place)
        if value is not None and value > most:
            raise _refusal(f"{place}: {value:g} is more than the {most:g} allowed", place)
    if more.adapters is not None:
        _limit_parts(given, more.adapters, limits)
    if more.seed is not None and more.seed + (given.n or 1) > 2**63:
        raise _refusal("pats_opt.seed: the seeds of all images must be below 2^63", "pats_opt.seed")


def _limit_parts(given: ImageRequest, parts: Sequence[AdapterPart], limits: RequestLimits) -> None:
    place, most = "pats_opt.adapters", limits.scale
    if given.model not in (None, BASE):
        raise _refusal(f"{place}: name the adapters here or as the model, not both", place)
    if len(parts) > limits.parts:
        raise _refusal(f"{place}: {len(parts)} are more than the {limits.parts} allowed", place)
    if len({part.name for part in parts}) < len(parts):
        raise _refusal(f"{place}: each adapter may be there once", place)
    for part in parts:
        if not -most <= part.scale <= most:
            raise _refusal(
                f"{place}: the scale of {part.name!r} must be from {-most:g} to {most:g}",
                place,
            )


def largest(limits: RequestLimits) -> dict[str, float]:
    """Return the largest value of each field that has a limit, by its place."""
    return {
        "n": limits.images,
        "pats_opt.steps": limits.steps,
        "pats_opt.deadline_s": limits.deadline_s,
        "pats_opt.weight": limits.weight,
    }


def longest(limits: RequestLimits) -> dict[str, int]:
    """Return the most characters of each text that has a limit, by its place."""
    return {"prompt": limits.prompt, "pats_opt.negative_prompt": limits.prompt}


def _value(given: ImageRequest, more: ImageExtension, place: str) -> Any:
    """Return the value of a field at a place."""
    outer, _, name = place.rpartition(".")
    return getattr(more if outer else given, name)


def size_of(given: ImageRequest, limits: RequestLimits) -> tuple[int, int]:
    """Return width and height of a request's images.

    Raises:
        ApiError: They are not multiples of 8 within the limits.
    """
    if given.size in (None, "auto"):
        return SIDE, SIDE
    found = SIZE.fullmatch(given.size or "")
    width, height = (int(found[1]), int(found[2])) if found else (0, 0)
    for side in (width, height):
        if not SHORTEST <= side <= limits.side or side % GRAIN:
            raise _refusal(
                f"size: write WIDTHxHEIGHT, multiples of {GRAIN} from {SHORTEST} to {limits.side}, "
                "or auto",
                "size",
            )
    return width, height


def options_of(
    given: ImageRequest, settings: ServerSettings, model: QualityModel, complexity: float
) -> tuple[Option, ...]:
    """Return the ways to run a request's images, with fewer steps first.

    Raises:
        ApiError: No step count has the quality that is asked for.
    """
    more = given.pats_opt or ImageExtension()
    if more.steps is not None:
        steps: Sequence[int] = (more.steps,)
    else:
        steps = sorted({s for s in settings.pruned if s < settings.steps} | {settings.steps})
        if given.quality in ("low", "high", "hd"):
            steps = steps[:1] if given.quality == "low" else steps[-1:]
    options = [
        Option(steps=s, quality=round(min(1.0, max(0.0, model(s, complexity))), 4)) for s in steps
    ]
    floor = more.min_quality
    good = [option for option in options if floor is None or option.quality >= floor]
    if not good:
        best = max(option.quality for option in options)
        raise _refusal(
            f"pats_opt.min_quality: no step count reaches it; the best here is {best:g}",
            "pats_opt.min_quality",
        )
    return tuple(good)


def refuse_model(name: str, known: Collection[str], param: str = "model") -> ApiError:
    """Return the error of a request for a model that is not served; ``param`` is the field."""
    hint = meant(name, known)
    listed = "GET /v1/models lists them"
    return ApiError(
        404,
        f"there is no adapter {name!r}; {hint or listed}",
        code="model_not_found",
        param=param,
    )


def order_of(
    given: ImageRequest,
    settings: ServerSettings,
    model: QualityModel,
    adapter: RequestAdapter,
    site: Site,
    *,
    name: str,
    arrival_s: float,
    demand_gib: float,
) -> ImageOrder:
    """Turn a request into one request of the problem for each of its images.

    Args:
        given: The request.
        settings: Limits and step counts.
        model: Quality by steps and complexity.
        adapter: Its adapter.
        site: Prices of waiting and of being late.
        name: Id of the request.
        arrival_s: When it came, on the server's clock.
        demand_gib: Memory of one image of its size.

    Raises:
        ApiError: Its size or quality is refused.
    """
    width, height = size_of(given, settings.limits)
    more, count = given.pats_opt or ImageExtension(), given.n or 1
    complexity = estimate(given.prompt)
    options = options_of(given, settings, model, complexity)
    seed = more.seed or 0
    return ImageOrder(
        id=name,
        adapter=adapter,
        as_url=given.response_format != "b64_json",
        images=tuple(
            Request(
                id=name if count == 1 else f"{name}.{i}",
                arrival_s=arrival_s,
                adapter=adapter.adapter.id,
                demand={"vram_gib": demand_gib, "batch": 1.0},
                options=options,
                weight=more.weight,
                complexity=complexity,
                deadline_s=more.deadline_s,
                reject_loss=loss_of_expiry(options, more.deadline_s, site),
                prompt=given.prompt,
                negative_prompt=more.negative_prompt,
                seed=seed + i,
                width=width,
                height=height,
                group=name if count > 1 else msgspec.UNSET,
            )
            for i in range(count)
        ),
    )
