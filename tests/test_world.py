import pytest

from bnlab.errors import ConfigError
from bnlab.world import World, find_world, refuse_to_share, with_processes

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_process_that_was_started_by_itself_is_alone(environment: pytest.MonkeyPatch) -> None:
    assert find_world() == World(0, 1, 0, 1)
    environment.setenv("WORLD_SIZE", "4")  # as some clusters set it for every job
    assert find_world() == World()


def test_torchrun_says_which_of_the_processes_this_is(environment: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        environment.setenv(name, value)
    assert find_world() == World(rank=1, size=4, local_rank=1, local_size=2)
    assert not find_world().leads


def test_without_the_number_on_the_machine_all_are_on_one(environment: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"):
        environment.setenv(name, TORCHRUN[name])
    assert find_world() == World(1, 4, 1, 4)


@pytest.mark.parametrize(("name", "value"), [("RANK", "4"), ("RANK", "-1"), ("WORLD_SIZE", "two")])
def test_numbers_that_cannot_be_are_told_with_a_cure(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    for key, given in {**TORCHRUN, name: value}.items():
        environment.setenv(key, given)
    with pytest.raises(ConfigError, match=rf"{name}.*{name}={value}.*Unset both to train in one process"):
        find_world()


def test_the_number_of_processes_becomes_a_setting_of_the_run(environment: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        environment.setenv(name, value)
    assert with_processes(["seed=1"]) == ["seed=1", "train.processes=4"]
    assert with_processes(["train.processes=2"]) == ["train.processes=2"]


def test_only_one_run_can_be_shared(environment: pytest.MonkeyPatch) -> None:
    refuse_to_share("a sweep")
    for name, value in TORCHRUN.items():
        environment.setenv(name, value)
    with pytest.raises(ConfigError, match="a sweep is not for torchrun"):
        refuse_to_share("a sweep")
