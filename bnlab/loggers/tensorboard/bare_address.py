"""The page at TensorBoard's bare address, which leads on to the page that TensorBoard is to open on.

Only a browser knows the part of an address after #, so it is a script there that adds what is missing: an address with
such a part keeps it. It waits for TensorBoard to read the runs, which takes seconds for some hundred.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

from bnlab.loggers.tensorboard.first_page import FirstPage

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>TensorBoard</title>
<link rel="icon" href="data:,"></head><body>
<p>TensorBoard reads the runs ...</p><noscript>TensorBoard needs JavaScript.</noscript>
<script>
const first = FIRST;
async function open_it() {
  let known = 0, same = 0;
  for (let tries = 0; tries < 300 && same < 50; tries++) {  // at most a minute, or 10 seconds in which none is added
    const there = new Set(await fetch("data/runs").then(answer => answer.json()).catch(() => []));
    if (first.runs.every(run => there.has(run))) break;
    same = there.size && there.size == known ? same + 1 : 0;
    known = there.size;
    await new Promise(later => setTimeout(later, 200));
  }
  location.replace("?" + first.query + (location.hash.length > 1 ? location.hash : "#" + first.fragment));
}
open_it();
</script></body></html>
"""


def opening_on(app: WSGIApp, first_page: Callable[[], FirstPage]) -> WSGIApp:
    """Return TensorBoard with that page in the place of its own at ``/``; ``/?anything`` is TensorBoard's own.

    Args:
        app: TensorBoard.
        first_page: Returns what TensorBoard is to open on; it is asked each time, since runs are added.
    """

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/" or environ.get("QUERY_STRING"):
            return app(environ, start_response)
        body = _page(first_page()).encode()
        headers = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))]
        start_response("200 OK", [*headers, ("Cache-Control", "no-store")])
        return [body]

    return answer


def _page(first: FirstPage) -> str:
    facts = {"runs": first.runs, "query": first.query, "fragment": first.fragment}
    return _PAGE.replace("FIRST", json.dumps(facts).replace("<", "\\u003c"), 1)
