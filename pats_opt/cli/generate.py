"""``pats-opt generate``: instances and suites from a seed."""

from __future__ import annotations

from typing import Any

import click

from pats_opt.cli import completing
from pats_opt.cli.common import FILE, option, seed_option
from pats_opt.cli.recipe import (
    CACHE,
    POPULARITY,
    PROMPTS,
    SITE,
    WORKLOAD,
    recipe_from,
    recipe_options,
)
from pats_opt.errors import InputError


@click.command("generate")
@option("-o --output", "Instance file to write; with --suite, a folder.", FILE)
@option(
    "--suite",
    "Generate a whole suite, given by its name or a TOML file, into the folder -o.",
    metavar="NAME",
    shell_complete=completing.suites,
)
@option("--list list_only", "List the suites and profiles.", is_flag=True)
@option("--name", "Name of the instance.", metavar="TEXT")
@seed_option
@recipe_options(*WORKLOAD, *POPULARITY, *SITE, *CACHE, *PROMPTS)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    output: str | None,
    suite: str | None,
    list_only: bool,
    name: str | None,
    seed: int,
    config: str | None,
    **options: Any,
) -> None:
    """Generate an instance, or a suite of instances. The same seed gives the same bytes.

    \b
      pats-opt generate --requests 40 --adapters 4 --profile a100-40g --seed 1 -o a.json
      pats-opt generate --suite demo -o demo/
    """  # noqa: D301
    if list_only:
        _list()
        return
    if output is None:
        raise InputError("no output is given", hint="add -o FILE, or -o FOLDER with --suite")
    if suite is None:
        from pats_opt.generate import generate
        from pats_opt.model.files import write_instance

        instance = generate(recipe_from(config, options), seed, name=name)
        write_instance(instance, output)
        requests, adapters = len(instance.requests), len(instance.adapters)
        click.echo(f"{output}: {requests} requests, {adapters} adapters", err=True)
        return
    given = [
        parameter.opts[-1]
        for parameter in ctx.command.params
        if parameter.name not in ("suite", "output")
        and ctx.get_parameter_source(parameter.name or "") is click.core.ParameterSource.COMMANDLINE
    ]
    if given:
        raise InputError(f"{given[0]} has no effect on a suite", hint="leave it out")
    from pats_opt.generate.suites import write_suite

    for path in write_suite(suite, output):
        click.echo(path, err=True)


def _list() -> None:
    """Print suites and profiles, one per line."""
    from pats_opt.generate import profile
    from pats_opt.generate.suites import recipes, suites

    click.echo("Suites (--suite):")
    for name, found in suites().items():
        click.echo(f"  {name:<18}{len(list(recipes(name))):>3} instances  {found.about}")
    click.echo("Profiles (--profile):")
    for name in profile.names():
        click.echo(f"  {name:<18}{profile.load(name).about}")
