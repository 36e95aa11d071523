"""An instance whose every text is markup; what shows it must show text."""

from __future__ import annotations

from typing import Any

from tests.support.zoo import adapter, document, gpu, request

#: Markup for HTML, attributes, scripts, templates, tooltips, Markdown and matplotlib.
EVIL = (
    '"\'><img src=x onerror="window.harmed=1"></script><script>window.harmed=1</script>'
    "<!--|`*x*`\n$x$_&amp;{{ 7 * 7 }}@{id}$index"
)

#: What a reader finds of it in a page's text.
SEEN = "<script>window.harmed=1</script>"


def marked() -> dict[str, Any]:
    """Two adapters on two GPUs; name, ids and prompts are markup; one request may be rejected."""
    first, second = f"{EVIL} one", f"{EVIL} two"
    requests = [
        request(
            f"{EVIL} {n}",
            adapter=(first, second)[n % 2],
            arrival_s=float(n),
            prompt=f"{EVIL} prompt {n}",
            deadline_s=3.0,
        )
        for n in range(6)
    ]
    refused = request(f"{EVIL} refused", steps=10**6, adapter=first, prompt=EVIL, reject_loss=0.5)
    return document(
        *requests,
        refused,
        name=EVIL,
        late_price=1.0,
        gpus=[gpu(f"{EVIL} left", ()), gpu(f"{EVIL} right", ())],
        adapters=[adapter(first, 1.0, 1.0), adapter(second, 2.0, 1.0)],
    )
