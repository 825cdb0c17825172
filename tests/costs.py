"""A plugin of pytest that measures each test in CPU seconds and reports those whose mark `slow` does not fit.

CPU seconds are those of this process and of the processes that it started and waited for, setup and teardown included.
What only the first test of a process would pay (importing torch, tracing the first program, drawing the first figure)
is paid before the first test and charged to none. A fixture of a module is charged to the first test that asks for it.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SLOW_FROM_S = 0.5
"""CPU seconds from which on a test is to be marked slow."""

QUICK_BELOW_S = 0.2
"""CPU seconds below which a test that is marked slow could be quick. The gap between the two is for other machines."""

SLOW_BUT = "slow_but"
"""The mark of a family of tests that together take seconds; its tests are not listed as too cheap to be slow."""

MOST_LISTED = 10

_COST = "cost"
_began = pytest.StashKey[float]()
_passed = pytest.StashKey[bool]()
_costs = pytest.StashKey["list[tuple[float, str, bool, bool]]"]()


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its children that have ended and were waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def warm_up() -> None:
    """Pay what the first use of a library costs, for the libraries that the collected tests have imported."""
    import torch  # noqa: PLC0415  (not before OMP_NUM_THREADS is set)

    torch.func.vmap(torch.func.grad(torch.sum))(torch.ones(1, 1))
    with tempfile.TemporaryDirectory() as folder:
        if "bnlab.experiment.single" in sys.modules:
            import bnlab  # noqa: PLC0415

            quick = ["data=synthetic", "train.steps=1", "model.width=4", "accept=[statistics_not_settled]"]
            bnlab.train(quick, runs=folder)
            if "bnlab.sweeps.execute" in sys.modules:
                sys.modules["bnlab.sweeps.execute"].run_sweep([*quick, "seed=1,2"], runs=Path(folder))
        if "matplotlib.figure" in sys.modules:
            figure = sys.modules["matplotlib.figure"].Figure()
            figure.add_subplot().set_title("first")
            figure.savefig(Path(folder) / "first.svg")


def pytest_configure(config: pytest.Config) -> None:
    """Begin a list of costs."""
    config.stash[_costs] = []
    config.pluginmanager.register(_Listener(config))


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of a family as slow but a few, evenly spread over it, where `slow_but` says so."""
    families: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker(SLOW_BUT) is not None and item.get_closest_marker("slow") is None:
            families.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for family in families.values():
        mark = family[0].get_closest_marker(SLOW_BUT)
        assert mark is not None
        num_quick = mark.args[0]
        quick = {number * len(family) // num_quick for number in range(num_quick)}
        for number, item in enumerate(family):
            if number not in quick:
                item.add_marker("slow")


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Iterator[None]:
    """Warm up in each process that runs tests; under xdist that is the workers, not the process that hands out."""
    if len(session.items) > 1 and not session.config.option.collectonly:
        with contextlib.suppress(Exception):  # the tests will tell what is broken
            warm_up()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Begin to measure a test."""
    item.stash[_began] = cpu_seconds()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Write a test's cost into the report of its teardown, the last one, which xdist sends to where all meet."""
    report = yield
    if call.when == "call":
        item.stash[_passed] = call.excinfo is None
    if call.when == "teardown":
        is_slow = item.get_closest_marker("slow") is not None
        is_of_a_family = item.get_closest_marker(SLOW_BUT) is not None
        seconds = cpu_seconds() - item.stash[_began]
        cost = (seconds, is_slow, item.stash.get(_passed, False) and not (is_slow and is_of_a_family))
        report.user_properties.append((_COST, cost))
    return report


class _Listener:
    """Collects the costs where the tests of all processes are reported."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties:
            if name == _COST:
                seconds, is_slow, passed = value
                self.config.stash[_costs].append((seconds, report.nodeid, is_slow, passed))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which marks do not fit what was measured. It is a report: it fails nothing."""
    costs = sorted(config.stash[_costs], reverse=True)
    if not costs:
        return
    too_dear = [(seconds, name) for seconds, name, is_slow, passed in costs if passed and not is_slow]
    too_cheap = [(seconds, name) for seconds, name, is_slow, passed in costs[::-1] if passed and is_slow]
    terminalreporter.section("CPU seconds")
    for told, chosen in (
        (
            f"{{}} quick tests took {SLOW_FROM_S} CPU-s or more; mark them slow or make them cheaper:",
            [one for one in too_dear if one[0] >= SLOW_FROM_S],
        ),
        (
            f"{{}} slow tests took less than {QUICK_BELOW_S} CPU-s; they need no mark:",
            [one for one in too_cheap if one[0] < QUICK_BELOW_S],
        ),
    ):
        if chosen:
            terminalreporter.line(told.format(len(chosen)))
            for seconds, name in chosen[:MOST_LISTED]:
                terminalreporter.line(f"{seconds:8.2f}  {name}")
            if len(chosen) > MOST_LISTED:
                terminalreporter.line(f"{'...':>8}  and {len(chosen) - MOST_LISTED} more")
    quick, slow = (sum(seconds for seconds, _, is_slow, _ in costs if is_slow is wanted) for wanted in (False, True))
    terminalreporter.line(f"all quick tests: {quick:.1f} CPU-s, all slow tests: {slow:.1f} CPU-s")
