"""Options of the commands that run a model: which, and how."""

from __future__ import annotations

import click

model = click.option(
    "--model",
    default="tiny",
    show_default=True,
    metavar="MODEL",
    help="tiny, sdxl-random (both with random weights), a diffusers folder, a .safetensors file, "
    "or a hub id.",
)

dtype = click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "float16", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Precision; auto is bfloat16 on a GPU and float32 on the CPU.",
)

shrink = click.option(
    "--shrink",
    type=click.IntRange(1),
    metavar="N",
    help="Divide widths and heights by this (to multiples of 8, at least 64).  "
    "[default: 16 with tiny, else 1]",
)

guidance = click.option(
    "--guidance",
    type=click.FloatRange(0, 100),
    default=5.0,
    show_default=True,
    metavar="X",
    help="Classifier-free guidance scale; 1 or less is none.",
)

memory = click.option(
    "--memory",
    type=click.FloatRange(0, min_open=True),
    metavar="GIB",
    help="Use no more of a GPU's memory than this, as a smaller one.",
)
