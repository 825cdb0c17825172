"""Many small cases in one test: pytest takes two milliseconds per test, as much as many of these cases themselves."""

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
import torch

MOST_NAMED = 20
"""Cases that failed and that a message names."""


def folded(names: str | Sequence[str], cases: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test once for all cases, where `pytest.mark.parametrize` would make a test of each.

    All cases are run, each with the same random numbers to begin with, as a test has them. Of those that fail the
    first one's error is raised, with a note that names all. No case can be skipped alone; no cases at all are an error.
    For cases that leave nothing behind: fixtures are made once for all of them.

    Args:
        names: The argument of the test, or several, as `parametrize` takes them.
        cases: A value for the argument, or for several as many values, per case.
    """
    of_one = isinstance(names, str)
    names = [names] if isinstance(names, str) else list(names)
    listed = [dict(zip(names, (case,) if of_one else case, strict=True)) for case in cases]

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run_all(**given: Any) -> None:
            assert listed, f"there are no cases of {', '.join(names)}"
            failed: list[tuple[dict[str, Any], BaseException]] = []
            for case in listed:
                torch.default_generator.manual_seed(0)
                try:
                    test(**given, **case)
                except (Exception, pytest.fail.Exception) as error:
                    failed.append((case, error))
                except pytest.skip.Exception as skip:
                    failed.append((case, AssertionError(f"a case cannot be skipped alone: {skip}")))
            if failed:
                told = [", ".join(f"{name}={_short(value)}" for name, value in case.items()) for case, _ in failed]
                more = [f"and {len(told) - MOST_NAMED} more"] if len(told) > MOST_NAMED else []
                listing = "\n  ".join(told[:MOST_NAMED] + more)
                failed[0][1].add_note(
                    f"{len(failed)} of {len(listed)} cases failed; the error is the first one's:\n  {listing}"
                )
                raise failed[0][1]

        signature = inspect.signature(test)
        others = [parameter for name, parameter in signature.parameters.items() if name not in names]
        run_all.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]  # pytest reads it
        return run_all

    return decorate


def _short(value: Any) -> str:
    name = getattr(value, "__qualname__", None)
    return name or repr(value)
