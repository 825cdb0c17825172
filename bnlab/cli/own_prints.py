"""Standard output is for results: what a user's own layer prints while it is used goes to standard error."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def own_prints_on_stderr() -> Iterator[None]:
    """Send to standard error whatever is printed in this context, by Python, by C and by processes that begin in it."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
