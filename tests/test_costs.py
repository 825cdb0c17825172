"""The report of what tests cost, by runs of pytest on tests whose clock is set by hand."""

from pathlib import Path

import costs
import pytest

TESTS = """
import costs_clock, pytest

@pytest.fixture
def prepared():
    costs_clock.now += 0.3
    yield
    costs_clock.now += 0.3

def test_cheap():
    costs_clock.now += 0.1

def test_dear_by_its_fixture(prepared):
    pass

def test_dear():
    costs_clock.now += 2.0

def test_dear_and_wrong():
    costs_clock.now += 3.0
    assert False

@pytest.mark.slow
def test_slow():
    costs_clock.now += 5.0

@pytest.mark.slow
def test_slow_for_nothing():
    costs_clock.now += 0.1

@pytest.mark.slow
@pytest.mark.skip
def test_slow_and_left_out():
    pass
"""


@pytest.fixture
def reported(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder of tests, and the plugin with another clock."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # other plugins take a second to load
    pytester.makepyfile(costs_clock="now = 0.0")
    pytester.makeini("[pytest]\nmarkers =\n slow\n slow_but(n)")
    monkeypatch.setattr(costs, "warm_up", lambda: None)
    monkeypatch.setattr(costs, "cpu_seconds", lambda: __import__("costs_clock").now)
    monkeypatch.syspath_prepend(pytester.path)
    return pytester


def lines_of(reported: pytest.Pytester, tests: str, *options: str) -> list[str]:
    path = reported.makepyfile(test_some=tests)
    printed = reported.runpytest_inprocess("-p", "costs", *options, path).outlines
    begin = next((number for number, line in enumerate(printed) if " CPU seconds " in line), len(printed))
    return [line.strip() for line in printed[begin + 1 : begin + 30] if line and not line.startswith("=")]


def test_it_names_dear_quick_tests_and_cheap_slow_ones_with_their_fixtures(reported: pytest.Pytester) -> None:
    lines = lines_of(reported, TESTS)
    assert lines[:6] == [
        "2 quick tests took 0.5 CPU-s or more; mark them slow or make them cheaper:",
        "2.00  test_some.py::test_dear",
        "0.60  test_some.py::test_dear_by_its_fixture",
        "1 slow tests took less than 0.2 CPU-s; they need no mark:",
        "0.10  test_some.py::test_slow_for_nothing",
        "all quick tests: 5.7 CPU-s, all slow tests: 5.1 CPU-s",
    ]


def test_it_lists_ten_and_counts_the_others(reported: pytest.Pytester) -> None:
    tests = "import costs_clock, pytest\n@pytest.mark.parametrize('n', range(13))\ndef test_it(n):\n"
    lines = lines_of(reported, tests + "    costs_clock.now += 1 + n\n")
    assert lines[0].startswith("13 quick tests took")
    assert lines[1:11] == [f"{1 + n}.00  test_some.py::test_it[{n}]" for n in range(12, 2, -1)]
    assert lines[11] == "...  and 3 more"


def test_it_says_sums_alone_where_all_marks_fit_and_nothing_where_no_test_ran(reported: pytest.Pytester) -> None:
    fits = "import costs_clock\ndef test_it():\n    costs_clock.now += 0.25\n"
    assert lines_of(reported, fits) == ["all quick tests: 0.2 CPU-s, all slow tests: 0.0 CPU-s"]
    assert lines_of(reported, fits, "-k", "nothing") == []


@pytest.mark.slow
def test_it_measures_the_workers_of_xdist_and_what_they_wait_for(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # other plugins take a second to load
    spend = "import time\nwhile time.process_time() < 0.7:\n    pass\n"
    tests = (
        f"import subprocess, sys\ndef test_it():\n    subprocess.run([sys.executable, '-c', {spend!r}], check=True)\n"
    )
    path = pytester.makepyfile(test_some=tests)
    pytester.makepyfile(costs_plugin=Path(costs.__file__).read_text(encoding="utf-8"))
    options = ("-p", "xdist.plugin", "-p", "costs_plugin", "--numprocesses", "1")
    printed = pytester.runpytest_subprocess(*options, path).stdout.str()
    assert "1 quick tests took 0.5 CPU-s or more" in printed


def test_a_warm_up_leaves_nothing_in_the_folder(tmp_path: Path) -> None:
    costs.warm_up()
    assert list(tmp_path.iterdir()) == []


def test_of_a_family_all_but_a_few_are_slow_and_none_of_them_is_called_too_cheap(
    reported: pytest.Pytester,
) -> None:
    tests = """
        import costs_clock, pytest

        @pytest.mark.slow_but(2)
        @pytest.mark.parametrize("number", range(5))
        def test_family(number):
            costs_clock.now += 0.1
        """
    assert lines_of(reported, tests)[-1] == "all quick tests: 0.2 CPU-s, all slow tests: 0.3 CPU-s"
    assert not any("need no mark" in line for line in lines_of(reported, tests))
    assert lines_of(reported, tests, "-m", "not slow")[-1] == "all quick tests: 0.2 CPU-s, all slow tests: 0.0 CPU-s"
