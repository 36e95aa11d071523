"""Hostile text in instances: on every page it shows as text, in a real browser."""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Dialog, Page

from pats_opt.model.files import encode
from tests.campaign.attack import Attack, Counts, Finding
from tests.campaign.outside.command import case_folder, faults, forked, spawned
from tests.support.browser import WIDE, launched, visit, watch
from tests.support.zoo import adapter, document, gpu, request

#: Set by whatever of the text is run.
HARM = "window.harmed = 1"

#: Texts that are something else in HTML, scripts, styles, templates, Markdown, CSV or a terminal.
TEXTS = (
    f"<script>{HARM}</script>",
    f"</script><script>{HARM}</script>",
    f"</title></style></textarea><script>{HARM}</script>",
    f'"><img src=x onerror="{HARM}">',
    f"' onmouseover='{HARM}' x='",
    f"<svg onload={HARM.replace(' ', '')}>",
    f"<!--<script>{HARM}//-->",
    f"<iframe srcdoc='<script>parent.{HARM}</script>'></iframe>",
    f"<a href='javascript:{HARM}'>x</a>",
    f"javascript:{HARM}",
    "<link rel=stylesheet href=https://pats.invalid/x.css>",
    "<meta http-equiv=refresh content='0;url=https://pats.invalid/'>",
    "<style>body{display:none}</style>",
    "}</style><style>*{display:none}",
    "&lt;b&gt;&amp;&#60;&nbsp;",
    "]]><script>]]>",
    "=1+1",
    "@SUM(A1)",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "\tx\ty",
    "{{7*7}}${7*7}<%= 7 %>#{7}",
    "@{id}$index%s{0}",
    "$x^2$ \\frac{1}{0} \\(y\\)",
    "[a](https://pats.invalid/) **b** `c` | d |\n|---|",
    "\u202egnp.exe\u202c",
    "\u200b\u2028\u2029\ufeff",
    "\x1b[31mred\x1b]0;title\x07",
    "\x00\x01\x7f\x9f",
    "\ud83d\udca9".encode("utf-16", "surrogatepass").decode("utf-16"),
    "e\u0301" * 40,
    "z\u0335\u0321\u0322" * 30,
    "W" * 3000,
    "long words " * 300,
    "\\u003cscript\\u003e \\x3c \\",
    "'\"`\\",
    "../../etc",
    "constructor",
    "__proto__",
)

#: What the report shows in full has at most this many characters.
SHORT = 25

#: An id or a name has at most this many.
MOST = 500


def attempt(seed: int, counts: Counts) -> Iterator[Finding]:
    """Make pages of an instance whose every text is hostile; open them."""
    rng = random.Random(seed)
    instance = hostile(rng)
    with case_folder({"i.json": encode(instance)}) as folder:
        for line in (
            "simulate i.json --policy fifo -o s.json",
            "simulate i.json --policy pats -o t.json",
            "show s.json --instance i.json -o s.html",
            "show s.json t.json --instance i.json -o c.html",
            "show s.json --instance i.json -o s.svg",
            "export graph s.json --instance i.json -o s.graphml",
        ):
            ended = forked(line.split(), folder)
            for fault in faults(ended, names=("i.json", "s.json")):
                yield _finding(instance, line, fault, ended.err)
        report = "gap-report i.json --solvers fifo,pats --jobs 1 -o r"
        ended = spawned(report.split(), folder)
        for fault in faults(ended):
            yield _finding(instance, report, fault, ended.err)
        for problem in _formulas(folder / "r" / "runs.csv"):
            yield _finding(instance, "runs.csv", problem, "")
        if not (folder / "s.html").exists():
            yield _finding(instance, "simulate", "the instance is refused", "")
        with launched() as browser:
            if browser is None:
                counts["pages not opened, without a browser"] += 1
                return
            shown = [folder / name for name in ("s.html", "c.html", "s.svg")]
            pages = [*shown, *sorted((folder / "r").rglob("*.html"))[:3]]
            for path in pages:
                if path.exists():
                    counts[f"pages/{'report' if path not in shown else path.suffix[1:]}"] += 1
                    for problem in _opened(browser, path, instance):
                        yield _finding(instance, path.name, problem, "")


def hostile(rng: random.Random) -> dict[str, Any]:
    """Return an instance whose every id, name and prompt is hostile text."""
    names = [text[:MOST] for text in rng.sample(TEXTS, 3)]
    ids = [text[:MOST] for text in rng.sample(TEXTS, 6)]
    requests = [
        request(
            name,
            adapter=names[n % 2],
            arrival_s=float(n),
            prompt=rng.choice(TEXTS),
            negative_prompt=rng.choice(TEXTS),
            deadline_s=2.0,
        )
        for n, name in enumerate(ids)
    ]
    return document(
        *requests,
        request("refused", steps=10**6, adapter=names[0], prompt=names[1], reject_loss=0.5),
        name=names[2],
        late_price=1.0,
        gpus=[gpu(text[:MOST], ()) for text in rng.sample(TEXTS, 2)],
        adapters=[adapter(names[0], 1.0, 1.0), adapter(names[1], 2.0, 1.0)],
        extra={"class": rng.choice(TEXTS)},
    )


def _opened(browser: Browser, path: Path, instance: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a page in the browser."""
    context = browser.new_context(viewport=WIDE)
    page = context.new_page()
    complaints = watch(page)
    dialogs: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    try:
        visit(page, path)
        _point(page)
        if page.evaluate("window.harmed") is not None:
            yield "text was run as a script"
        if found := page.locator("img[src=x], iframe, meta[http-equiv=refresh]").count():
            yield f"text became {found} elements"
        if dialogs or complaints:
            kinds = {complaint.partition(":")[0] for complaint in complaints}
            yield f"the page complains ({', '.join(sorted(kinds)) or 'dialog'}): {complaints[:3]}"
        if path.name == "report.html":
            text = page.evaluate("document.documentElement.textContent")
            name = instance["name"]
            if name.isprintable() and len(name) <= SHORT and name not in text:
                yield "the instance's name is not on the page"
    finally:
        context.close()


def _point(page: Page) -> None:
    """Point at places all over the page, for what shows then."""
    for y in range(80, WIDE["height"], 160):
        for x in range(100, WIDE["width"], 170):
            page.mouse.move(x, y)


def _formulas(path: Path) -> Iterator[str]:
    """Yield the cells of a table that a spreadsheet would run."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.reader(file):
            for cell in row:
                if re.match(r"[=+\-@\t\r]", cell) and not re.fullmatch(r"-[\d.e+-]+|-?inf", cell):
                    yield f"a cell that is a formula: {cell[:30]}"


def _finding(instance: dict[str, Any], where: str, problem: str, said: str) -> Finding:
    kind = problem.partition(": ")[0]
    return Finding(
        kind=f"{where}: {kind}",
        problem=f"{where}: {problem}",
        files={"standard error": said, "i.json": instance},
    )


ATTACK = Attack(
    "pages",
    "hostile text in ids, names and prompts: pages in a browser show it as text",
    attempt,
    weight=0.7,
)
