"""``pats-opt completion``: the script that completes commands in a shell."""

from __future__ import annotations

import click

from pats_opt.cli import COMPLETING
from pats_opt.cli.completing import register

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands, options, solvers and files in SHELL.

    \b
    Install it once, then open a new shell:
      bash  pats-opt completion bash >> ~/.bashrc
      zsh   pats-opt completion zsh >> ~/.zshrc       (below the line with compinit)
      fish  pats-opt completion fish > ~/.config/fish/completions/pats-opt.fish
    """  # noqa: D301
    from click.shell_completion import get_completion_class

    register()
    made = get_completion_class(shell)
    assert made is not None
    root = ctx.find_root()
    click.echo(made(root.command, {}, root.info_name or "pats-opt", COMPLETING).source())
