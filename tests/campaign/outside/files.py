"""Files of every kind that a command reads, small and right, with the commands that read them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from pats_opt.core import registry
from pats_opt.errors import InfeasibleError, NoScheduleError
from pats_opt.model.files import encode
from pats_opt.solving.solve import solve
from pats_opt.testing.instances import random_instance

RECIPE = b"""\
requests = 6
arrivals = { process = "bursty", cv = 2.0, load = 1.2 }
popularity = { adapters = 3, zipf = 0.8, base_share = 0.1 }
steps = { full = { values = [30, 60], weights = [1, 2] }, pruned = [15] }
service = { profile = "a100-40g", tick_s = 0.6 }
gpus = { count = 2, batch = 4 }
switching = { max_resident = 2, max_per_batch = 2, price_per_s = 0.1 }
terms = { latency_price_per_s = 0.01, late_price = 1.0, deadline_share = 0.5, reject_share = 0.2 }
quality = { simple_steps = 15, complex_steps = 30 }
images = { mode = "split" }
"""

SUITE = b"""\
about = "Two classes"
recipe = { requests = 4, popularity = { adapters = 2 } }

[[classes]]
name = "first"
seeds = [0, 1]

[[classes]]
name = "second"
seeds = [7]
recipe = { service = { profile = "a100-40g" } }
"""

PROFILE = b"""\
format = "pats-opt/profile"
version = 1
name = "own"
device = "a device"
tick_s = 0.6
step_s = { base = 0.03, per_sample = 0.118 }
overhead_s = { base = 0.1, per_sample = 0.05 }

[memory]
capacity_gib = 40.0
adapter_gib = 0.17
max_batch = 21

[[memory.measured]]
width = 1024
height = 1024
batch = [1, 2, 4]
gib = [9.1, 11.5, 16.2]

[load]
tier = "disk"
tiers.disk.seconds = [1.153]

[sources]
step_s = "measured"
"""

RUN_FILE = b"""\
title = "Two policies"
instances = ["i.json"]
solvers = ["price-index", "fifo"]
time_limit = 10
seed = 1
"""

QUALITY = b"""\
steps,complexity,lpips
10,0.1,0.31
20,0.1,0.06
40,0.1,0.01
10,0.9,0.52
20,0.9,0.27
40,0.9,0.08
"""

LOG = b"""\
arrived,lora,steps,prompt,images,weight,id,width,height
2024-05-01T09:00:00,pixel-art,30,a corgi,1,1.0,a,1024,1024
2024-05-01T09:00:02,watercolor,30,"a harbour, boats",2,2.0,b,512,512
2024-05-01T09:00:03,pixel-art;line-art,50,a castle,1,0.5,c,1024,1024
2024-05-01T09:00:05,,30,"a ""big"" market",1,1.0,d,768,768
"""

LINES = b"""\
{"t": 0.0, "lora": ["x"], "steps": 30, "prompt": "a corgi", "who": "u1"}
{"t": 1.5, "lora": [], "steps": 20, "prompt": "a cat", "who": "u2"}
{"t": 2.0, "lora": ["x", "y"], "steps": 30, "prompt": null, "who": "u1"}
"""

BINS = b"2\n one\n 10 5 2\n 6\n 4\n 3\n 5\n 2\n two\n 100 3 2\n 60\n 50\n 40\n"

TOUR = b"""\
NAME : five
TYPE : TSP
DIMENSION : 5
EDGE_WEIGHT_TYPE : EUC_2D
NODE_COORD_SECTION
1 0 0
2 3.5 4
3 6 8
4 1 7
5 9 2
EOF
"""

MATRIX = b"""\
NAME: three
TYPE: ATSP
DIMENSION: 3
EDGE_WEIGHT_TYPE: EXPLICIT
EDGE_WEIGHT_FORMAT: FULL_MATRIX
EDGE_WEIGHT_SECTION
0 2 3
4 0 1
2 5 0
EOF
"""

LOTS = b"5\n2\n0 1 0 1 0\n0 0 1 0 1\n2\n0 3\n5 0\n"

#: Files beside an instance and a schedule, by name.
EXAMPLES = {
    "r.toml": RECIPE,
    "u.toml": SUITE,
    "p.toml": PROFILE,
    "c.toml": RUN_FILE,
    "q.csv": QUALITY,
    "l.csv": LOG,
    "l.tsv": LOG.replace(b",", b"\t"),
    "l.jsonl": LINES,
    "b.txt": BINS,
    "t.tsp": TOUR,
    "m.atsp": MATRIX,
    "c.psp": LOTS,
}

#: Solvers by the share of the runs that they have: the quick ones more.
QUICK = ("fifo", "pats", "price-index", "local-search", "credits", "lagrangian")
SLOW = ("auto", "exact", "cpsat", "dp", "milp:backend=highs", "milp:backend=scip")


@dataclass(frozen=True)
class Target:
    """A file to damage, the files beside it, and a command that reads them.

    Attributes:
        kind: What the file is.
        damaged: Its name.
        files: All files by name.
        command: The command line.
        output: A file that the command makes, and what it is.
    """

    kind: str
    damaged: str
    files: dict[str, bytes]
    command: tuple[str, ...]
    output: tuple[str, str] | None = None


@cache
def pair(seed: int) -> tuple[bytes, bytes]:
    """Return a random instance and a schedule of it."""
    rng = random.Random(seed)
    while True:
        instance = random_instance(rng, requests=(1, 4))
        try:
            schedule = solve(instance, rng.choice(("fifo", "pats"))).schedule
        except (InfeasibleError, NoScheduleError):
            continue
        if schedule is not None:
            return encode(instance), encode(schedule)


@cache
def policies() -> tuple[str, ...]:
    """Return the names of the online policies."""
    return tuple(name for name in registry.names() if hasattr(registry.load(name), "start"))


def _instance(rng: random.Random) -> Target:
    name = rng.choice(SLOW if rng.random() < 0.2 else QUICK)
    limit = ("--time-limit", "2")
    command, output = rng.choice(
        (
            (("check", "i.json", "s.json"), None),
            (("check", "i.json", "s.json", "--json"), None),
            (("solve", "i.json", "--solver", name, *limit, "-o", "o.json"), "schedule"),
            (("solve", "i.json", "--solver", name, *limit, "-o", "o.json", "--json"), "schedule"),
            (
                ("simulate", "i.json", "--policy", rng.choice(policies()), "-o", "o.json"),
                "schedule",
            ),
            (("show", "s.json", "--instance", "i.json", "-o", "o.html"), "page"),
            (("export", "graph", "s.json", "--instance", "i.json", "-o", "o.graphml"), "text"),
        )
    )
    files = dict(zip(("i.json", "s.json"), pair(rng.randrange(200)), strict=True))
    return Target("instance", "i.json", files, command, _output(command, output))


def _schedule(rng: random.Random) -> Target:
    command, output = rng.choice(
        (
            (("check", "i.json", "s.json"), None),
            (("check", "i.json", "s.json", "--json"), None),
            (("show", "s.json", "--instance", "i.json", "-o", "o.html"), "page"),
            (("show", "s.json", "--instance", "i.json", "-o", "o.svg"), "text"),
            (("export", "graph", "s.json", "--instance", "i.json"), None),
        )
    )
    files = dict(zip(("i.json", "s.json"), pair(rng.randrange(200)), strict=True))
    return Target("schedule", "s.json", files, command, _output(command, output))


def _recipe(rng: random.Random) -> Target:
    seed = str(rng.randrange(10))
    command = ("generate", "--config", "r.toml", "--seed", seed, "-o", "o.json")
    return Target("recipe", "r.toml", {"r.toml": RECIPE}, command, ("o.json", "instance"))


def _profile(rng: random.Random) -> Target:
    command = ("generate", "--requests", "5", "--profile", "p.toml", "-o", "o.json")
    return Target("profile", "p.toml", {"p.toml": PROFILE}, command, ("o.json", "instance"))


def _suite(rng: random.Random) -> Target:
    command = ("generate", "--suite", "u.toml", "-o", "drawn")
    return Target("suite", "u.toml", {"u.toml": SUITE}, command)


def _run_file(rng: random.Random) -> Target:
    files = {"c.toml": RUN_FILE, "i.json": pair(rng.randrange(200))[0]}
    command = ("gap-report", "--config", "c.toml", "--no-pictures", "--jobs", "1", "-o", "r")
    return Target("run file", "c.toml", files, command)


def _quality(rng: random.Random) -> Target:
    generate = ("generate", "--requests", "5", "--quality-table", "q.csv", "-o", "o.json")
    refit = ("profile", "--refit", "q.csv", "-o", "o.toml")
    command, output = rng.choice(((generate, "instance"), (refit, "text")))
    return Target("quality table", "q.csv", {"q.csv": QUALITY}, command, _output(command, output))


def _log(rng: random.Random) -> Target:
    name, content, columns = rng.choice(
        (
            ("l.csv", LOG, ("arrived", "lora")),
            ("l.tsv", LOG.replace(b",", b"\t"), ("arrived", "lora")),
            ("l.jsonl", LINES, ("t", "lora")),
        )
    )
    others: tuple[str, ...] = ("--steps", "steps", "--prompt", "prompt")
    if name != "l.jsonl":
        more = ("images", "weight", "id", "width", "height")
        others += tuple(part for one in more for part in (f"--{one}", one))
    command = ("import", "trace", name, "--time", columns[0], "--adapter", columns[1], *others)
    options = rng.choice(((), (), ("--count", "2"), ("--lora-only",), ("--family", "first")))
    command += (*options, "-o", "o.json")
    return Target("log", name, {name: content}, command, ("o.json", "instance"))


def _classic(rng: random.Random) -> Target:
    name, form, content = rng.choice(
        (
            ("b.txt", ("bin-packing", "--problem", "one"), BINS),
            ("t.tsp", ("tsplib",), TOUR),
            ("m.atsp", ("tsplib", "--open"), MATRIX),
            ("c.psp", ("csplib058",), LOTS),
        )
    )
    command = ("import", form[0], name, *form[1:], "-o", "o.json")
    return Target(form[0], name, {name: content}, command, ("o.json", "instance"))


def _output(command: tuple[str, ...], kind: str | None) -> tuple[str, str] | None:
    return None if kind is None else (command[command.index("-o") + 1], kind)


#: Kinds of targets, with their shares.
TARGETS: dict[Callable[[random.Random], Target], int] = {
    _instance: 8,
    _schedule: 6,
    _recipe: 3,
    _profile: 3,
    _suite: 2,
    _run_file: 1,
    _quality: 2,
    _log: 4,
    _classic: 3,
}


def target(rng: random.Random) -> Target:
    """Draw a file to damage and a command."""
    return rng.choices([*TARGETS], [*TARGETS.values()])[0](rng)
