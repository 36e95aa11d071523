"""``pats-opt replay``: play a load at an image server, and report what it got."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pats_opt.cli import common, completing, terminal
from pats_opt.cli.common import FILE, INPUT_FILE, option

if TYPE_CHECKING:
    from pats_opt.model.instance import Instance
    from pats_opt.serving.client import ReplayedRequest, ReplaySettings
    from pats_opt.serving.replaying import ReplayFigures, ReplaySummary

#: Figures of the printed table, with their headings.
ROWS = {
    "served": "served",
    "errors": "errors",
    "late": "late",
    "goodput_per_s": "goodput per s",
    "latency_mean_s": "latency mean, s",
    "latency_p50_s": "latency p50, s",
    "latency_p95_s": "latency p95, s",
    "latency_p99_s": "latency p99, s",
    "latency_max_s": "latency max, s",
    "quality_loss": "loss of quality",
    "latency_loss": "loss of latency",
    "late_loss": "loss of deadlines",
    "loss": "loss, the three together",
}


@click.command("replay")
@click.argument("file", metavar="INSTANCE|LOG", type=INPUT_FILE)
@option("--url", "Address of the server.", default="http://127.0.0.1:8000", metavar="URL")
@option(
    "--speed",
    "Factor by which arrivals are sped up.",
    click.FloatRange(0, min_open=True),
    default=1.0,
    metavar="X",
)
@option(
    "--predict",
    "Policy that serves the same load in the simulator, for comparison; for an INSTANCE.",
    metavar="POLICY",
    shell_complete=completing.specs,
)
@option("--api-key-file key_file", "File whose first key is the server's.", FILE, metavar="FILE")
@option("--model", "Model of every request.  [default: the request's adapter]", metavar="NAME")
@option(
    "--plain",
    "Leave out what OpenAI's API has not: seeds, steps, deadlines. For other servers.",
    is_flag=True,
)
@option(
    "--timeout",
    "Give an answer up after S seconds.",
    click.FloatRange(0, min_open=True),
    default=600.0,
    metavar="S",
    callback=common.finite,
)
@common.new_folder_option
@common.json_option
def command(
    file: str,
    url: str,
    speed: float,
    predict: str | None,
    key_file: str | None,
    model: str | None,
    plain: bool,
    timeout: float,
    output: str | None,
    as_json: bool,
) -> None:
    """Play the requests of INSTANCE or LOG at a server in real time, and report what they got.

    The server is one of 'pats-opt serve', or any with OpenAI's Images API. Each request is sent at
    its arrival, whatever became of those before, and its latency counts from there. DIR gets
    requests.jsonl, a line for each, and summary.json.
    """
    from pats_opt.cli.serve import require
    from pats_opt.cli.simulate import named_policy

    require("aiohttp")
    from pats_opt.serving.client import ReplaySettings
    from pats_opt.serving.replaying import summarize
    from pats_opt.serving.settings import read_keys

    policy = None if predict is None else named_policy(predict, {})
    instance = _read(file, predicts=policy is not None)
    settings = ReplaySettings(
        url=url,
        speed=speed,
        key=None if key_file is None else read_keys(key_file)[0],
        model=model,
        plain=plain,
        timeout_s=timeout,
    )
    folder = Path(output) if output is not None else common.new_folder("replay")
    found = _play(instance, settings, quiet=as_json)
    summary = summarize(instance, found, speed, policy)
    _write(folder, found, summary)
    if as_json:
        common.print_json(summary)
    else:
        _print(summary, folder)


def _read(file: str, *, predicts: bool) -> Instance:
    """Return the instance of a file: itself, or the load of a log."""
    from pats_opt.errors import InputError
    from pats_opt.importers.trace import import_trace
    from pats_opt.model.files import read_instance

    if file.lower().endswith(".json"):
        return read_instance(file)
    if predicts:
        raise InputError(
            "a log has no GPUs to predict with",
            file=file,
            hint="make an instance of it with 'pats-opt import trace', and replay that",
        )
    return import_trace(file).instance


def _play(instance: Instance, settings: ReplaySettings, *, quiet: bool) -> list[ReplayedRequest]:
    """Play a load with a bar of progress."""
    from pats_opt.serving.client import replay

    def failed(one: ReplayedRequest) -> bool:
        return one.error is not None

    last = terminal.failures_and_last(failed, lambda one: f"{one.latency_s:.1f} s")
    with terminal.progress(len(instance.requests), last, quiet=quiet) as done:
        return replay(instance, settings, done)


def _write(folder: Path, found: list[ReplayedRequest], summary: ReplaySummary) -> None:
    """Write the files of a replay."""
    import msgspec

    from pats_opt.model.files import encode, write_bytes

    lines = b"".join([msgspec.json.encode(one) + b"\n" for one in found])
    write_bytes(folder / "requests.jsonl", lines)
    write_bytes(folder / "summary.json", encode(summary))


def _print(summary: ReplaySummary, folder: Path) -> None:
    """Print a summary as a table."""
    from pats_opt.tables.statistics import ratio
    from pats_opt.wording import counted, number

    def value(figures: ReplayFigures, name: str) -> float | None:
        found: float | None = getattr(figures, name)
        return found

    measured, predicted = summary.measured, summary.predicted
    rows = []
    for name, heading in ROWS.items():
        now = value(measured, name)
        cells = [number(now)]
        if predicted is not None:
            then = value(predicted, name)
            cells = [number(then), number(now), number(ratio(then, now))]
        rows.append([heading, *cells])
    head = ["measured"] if predicted is None else ["predicted", "measured", "ratio"]
    terminal.print_table(["", *head], rows, left=1)
    for error, count in list(summary.errors.items())[:5]:
        click.echo(f"{counted(count, 'request')}: {error}")
    click.echo(
        f"{counted(summary.requests, 'request')} in {summary.seconds:.1f} s, sent at most "
        f"{1000 * summary.sent_late_s:.0f} ms late: {folder}"
    )
