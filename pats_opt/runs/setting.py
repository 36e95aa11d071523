"""Settings of a run: what of its instance is changed, and how its service is measured."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from pats_opt.model.fleet import FleetSetting, RequestSpan, equipped, part
from pats_opt.model.instance import Instance, digest


class RunSetting(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Changes that a run makes to its instance, whose file stays as it is, and its measurement.

    Attributes:
        fleet: Other GPUs, cache or batches.
        span: The requests that are served; None for all.
        windows: Parts of the requests, by arrival, whose service is measured apart; 0 for none.
        slo_s: Seconds within which requests should be served; None for no such objective.
    """

    fleet: FleetSetting = FleetSetting()
    span: RequestSpan | None = None
    windows: Annotated[int, Meta(ge=0)] = 0
    slo_s: Annotated[float, Meta(gt=0)] | None = None

    def of(self, instance: Instance) -> Instance:
        """The instance as this run has it.

        Its digest is made of the file's and the setting, not of its text: no schedule of it is
        written, and the text of many requests takes longer than their simulation may.

        Raises:
            InputError: The instance cannot have this fleet.
        """
        chosen = instance if self.span is None else part(instance, self.span)
        made = equipped(chosen, self.fleet)
        fields = {name: getattr(self.fleet, name) for name in FleetSetting.__struct_fields__}
        span = None if self.span is None else [self.span.first, self.span.count]
        made.__dict__["sha256"] = digest([instance.sha256, fields, span])
        return made
