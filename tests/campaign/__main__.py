"""``python -m tests.campaign``: random attacks for as long as wanted, and one table of them."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import click

from tests.campaign import table
from tests.campaign.campaign import PROGRESS, Campaign
from tests.campaign.catalogue import ATTACKS


def _chosen(_: click.Context, __: click.Parameter, names: str | None) -> list[str]:
    chosen = list(ATTACKS) if names is None else names.split(",")
    for name in chosen:
        if name not in ATTACKS:
            raise click.BadParameter(f"no attack {name!r}; there are: {', '.join(ATTACKS)}")
    return chosen


@click.command()
@click.option("--minutes", type=click.FloatRange(0), default=60.0, show_default=True)
@click.option("--seed", type=int, default=int(time.strftime("%Y%m%d")), help="Default: the date.")
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True)
@click.option("--only", callback=_chosen, help="Attacks, with commas; default: all.")
@click.option("--repeat", type=int, help="Repeat one try of one attack by its seed.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder of the campaign.")
@click.option("--resume", is_flag=True, help="Go on with the campaign in the folder.")
def main(
    *,
    minutes: float,
    seed: int,
    jobs: int,
    only: list[str],
    repeat: int | None,
    output: Path | None,
    resume: bool,
) -> None:
    """Attack the toolkit at random; exit status 1 where anything was found."""
    if repeat is not None:
        found = [f for name in only for f in ATTACKS[name].found(repeat, Counter())]
        for finding in found:
            click.echo(f"{finding.kind}: {finding.problem}")
            for name, content in finding.files.items():
                click.echo(f"--- {name}\n{content}")
        sys.exit(1 if found else 0)
    folder = output or Path("out") / f"campaign-{seed}"
    if (folder / PROGRESS).exists() and not resume:
        raise click.UsageError(f"{folder} has a campaign; add --resume, or name another with -o")
    attacks = [ATTACKS[name] for name in only]
    campaign = Campaign(folder, seed, attacks, lambda line: click.echo(line, err=True))
    status = 0
    try:
        campaign.run(60 * minutes, jobs)
    except KeyboardInterrupt:
        status = 130
    click.echo(table.write(campaign))
    sys.exit(1 if campaign.progress.found else status)


if __name__ == "__main__":
    main()
