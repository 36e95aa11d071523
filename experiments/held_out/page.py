"""The page ``experiments/held_out/result.md``: what was asked, and what the runs answer."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.held_out.run import DEARER, OTHERS, OURS, RESULT
from experiments.questions import page
from experiments.questions.statistics import Interval, student
from experiments.questions.words import Answer, code, listed, table
from pats_opt.wording import counted

PAGE = Path(__file__).parent / "result.md"

#: Share of another policy's loss by which ours may be worse and still count as no worse.
LEVEL = 0.01

INTRODUCTION = """# Held out: is another policy better somewhere?

Written by `python -m experiments.held_out` from `experiments/held_out/result/losses.csv`: every
figure and every verdict below is computed, none is typed. Nothing was tuned on these instances:
generated ones have seeds of their own, and windows of logs have other lengths and beginnings than
those of other experiments, or other adapters. What stands in brackets is a 95 % confidence interval
(Student's, over instances)."""

Losses = Mapping[str, float]


@dataclass(frozen=True)
class Class:
    """A class of instances, each with the losses of the policies.

    Attributes:
        name: The class.
        instances: The losses on each instance, by policy.
    """

    name: str
    instances: Sequence[Losses]

    @property
    def best(self) -> str:
        """The other policy that loses least on average."""
        return min(OTHERS, key=lambda policy: sum(losses[policy] for losses in self.instances))

    def excess(self, policy: str = OURS, over: str | None = None) -> Interval:
        """Return what a policy loses more than another, as a share of that one's mean loss.

        Args:
            policy: The policy.
            over: The other; None for the best of the others.
        """
        other = [losses[over or self.best] for losses in self.instances]
        middle = sum(other) / len(other)
        pairs = zip(self.instances, other, strict=True)
        return student([(losses[policy] - loss) / middle for losses, loss in pairs])

    def worse(self) -> int:
        """Return on how many instances any other policy loses clearly less."""
        return sum(
            losses[OURS] > (1.0 + LEVEL) * min(losses[policy] for policy in OTHERS)
            for losses in self.instances
        )


def main() -> None:
    """Write the page."""
    page.write([answer()], PAGE, INTRODUCTION)


def classes() -> Iterator[Class]:
    """Yield the classes of the table, in its order."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    with RESULT.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            losses = found.setdefault(row["class"], {}).setdefault(row["instance"], {})
            losses[row["policy"]] = float(row["loss"])
    for name, instances in found.items():
        yield Class(name, list(instances.values()))


def percent(value: float) -> str:
    """Return a share as text, with its sign."""
    return f"{100.0 * value:+.1f} %"


def interval(found: Interval) -> str:
    """Return a mean share with its interval."""
    return f"{percent(found.mean)} ({percent(found.low)} to {percent(found.high)})"


def answer() -> Answer:
    """Answer whether another policy is better somewhere."""
    every = [(each, each.excess()) for each in classes()]
    worse = [(each, more) for each, more in every if more.mean > LEVEL]
    clearly = sum(more.low > 0.0 for _, more in worse)
    dearer = [(each, each.excess(DEARER, OURS)) for each, _ in every]
    gains = min(dearer, key=lambda found: found[1].mean)
    harms = max(dearer, key=lambda found: found[1].mean)
    ahead = sum(more.mean < 0.0 for _, more in every)
    single = sum(each.worse() for each, _ in every)
    instances = sum(len(each.instances) for each, _ in every)
    named = listed([f"{each.name} ({code(each.best)}, {interval(more)})" for each, more in worse])
    return Answer(
        question=f"Does another policy lose less than `{OURS}`?",
        experiment="held_out/result",
        verdict=[
            f"By the mean of a class, the best of {len(OTHERS)} others loses over "
            f"{100.0 * LEVEL:g} % less on {len(worse)} of "
            f"{counted(len(every), 'class', 'classes')}; on {clearly} of these the interval leaves "
            f"out equality. `{OURS}` has the least mean loss on {ahead}.",
            f"Where it is worse: {named}." if worse else "It is worse on none.",
            f"A higher price of GPU time is no mend for all: `{DEARER}` changes the loss of the "
            f"default by {percent(gains[1].mean)} on {gains[0].name}, "
            f"{percent(harms[1].mean)} on {harms[0].name}, and "
            f"{percent(sum(more.mean for _, more in dearer) / len(dearer))} on average over the "
            "classes.",
            "The other policy is the one that turned out best on the very instances, so chance "
            f"favours it. More so on single instances: on {single} of {instances} one of the "
            f"others loses over {100.0 * LEVEL:g} % less.",
        ],
        tables=[
            table(
                [
                    "class",
                    "instances",
                    "best other policy",
                    f"`{OURS}` loses more",
                    f"`{DEARER}` than the default",
                    "any other better on",
                ],
                [
                    [
                        each.name,
                        str(len(each.instances)),
                        code(each.best),
                        interval(more),
                        percent(each.excess(DEARER, OURS).mean),
                        str(each.worse()),
                    ]
                    for each, more in every
                ],
            )
        ],
        ran="the policies with their defaults, at the fewest steps where so marked, on classes of "
        "the suites and of `ranking/`, and on windows of two logs",
        not_shown=[
            "loads beside serving, several GPUs, deadlines and rejection",
            "a log of LoRA requests that no other experiment has seen: there is one",
        ],
    )
