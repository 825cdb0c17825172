"""Sweeps that are kept in a file."""

from pathlib import Path

import pytest

from bnlab.errors import ConfigError
from bnlab.sweeps.sweep_files import with_file


def kept(folder: Path, text: str) -> Path:
    """A folder of own options with the sweep "mine"."""
    (folder / "sweep").mkdir()
    path = folder / "sweep" / "mine.yaml"
    path.write_text(text)
    return path


def test_the_lines_of_a_file_are_words_and_what_is_typed_wins(tmp_path: Path) -> None:
    kept(tmp_path, "# Mine.\nnorm: [batch, none]\nseed: range(3)\ntrain.epochs: null\n")
    words = with_file(["sweep=mine", "seed=7"], tmp_path)
    assert words == ["norm=batch,none", "train.epochs=null", "seed=7"]


def test_a_key_in_two_lines_of_a_file_is_refused_by_both(tmp_path: Path) -> None:
    path = kept(tmp_path, "# Mine.\nseed: 0\nnorm: none\nseed: [1, 2]\n")
    with pytest.raises(ConfigError) as refusal:
        with_file(["sweep=mine"], tmp_path)
    cure = "Give one of them, or one list of all values."
    assert str(refusal.value) == f"{path}, line 4: seed is given twice, in line 2 too. {cure}"


def test_a_list_in_a_list_is_one_value(tmp_path: Path) -> None:
    kept(tmp_path, "schedule.milestones: [[0.5], [0.3, 0.6]]\ndata.flip: [yes, no]\n")
    words = with_file(["sweep=mine"], tmp_path)
    assert words == ["schedule.milestones=[0.5],[0.3,0.6]", "data.flip=true,false"]


def test_an_own_sweep_with_the_name_of_one_of_bnlabs_is_refused(tmp_path: Path) -> None:
    kept(tmp_path, "seed: range(3)\n").rename(tmp_path / "sweep" / "drift.yaml")
    with pytest.raises(ConfigError, match=r"Rename it to my_drift\.yaml and write sweep=my_drift\."):
        with_file(["sweep=drift"], tmp_path)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    path = kept(tmp_path, "")
    for text in ("", "- seed\n", "optim:\n  lr: 1\n"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="must hold lines like"):
            with_file(["sweep=mine"], tmp_path)
    path.write_text("seed: [0\n")
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        with_file(["sweep=mine"], tmp_path)
