"""What docs/data.md shows, typed as it stands there."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from fake_files import data_config
from PIL import Image

from bnlab.cli.app import main
from bnlab.config import compose
from bnlab.data import own_files
from bnlab.schema import DataConfig

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def command_lines() -> list[list[str]]:
    return [shlex.split(line, comments=True) for block in blocks("sh") for line in block.splitlines()]


def write_files_of_others() -> None:
    """Write small files in the layouts of Keras, MedMNIST and SVHN."""
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (300, 8, 8, 3), np.uint8), np.arange(300, dtype=np.uint8) % 10
    gray, column = images[..., 0], labels[:, None]
    np.savez("mnist.npz", x_train=gray, y_train=labels, x_test=gray[:60], y_test=labels[:60])
    splits = {"train": slice(0, 200), "val": slice(200, 250), "test": slice(250, 300)}
    arrays = {f"{split}_images": images[part] for split, part in splits.items()}
    np.savez("pathmnist.npz", **arrays, **{f"{split}_labels": column[part] for split, part in splits.items()})
    for split, number in (("train", 300), ("test", 60)):
        arrays = {"X": images[:number].transpose(1, 2, 3, 0), "y": np.where(column == 0, 10, column)[:number]}
        scipy.io.savemat(f"{split}_32x32.mat", arrays)
    for i, image in enumerate(images[:160]):
        folder = Path("pictures") / f"class {i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")


def exit_status() -> int:
    try:
        main()
    except SystemExit as ending:
        return int(ending.code or 0)
    return 0


@pytest.mark.slow
def test_every_command_of_the_page_trains(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    write_files_of_others()
    for code in blocks("python"):
        exec(code, {})
    trained: list[DataConfig] = []
    checked = compose._checked

    def cut_short(tree: dict[str, dict[str, object]]) -> object:
        config = checked({**tree, "threads": 1, "train": {**tree["train"], "steps": 5}, "loggers": []})
        trained.append(config.data)
        return config

    monkeypatch.setattr(compose, "_checked", cut_short)
    commands = command_lines()
    assert len(commands) == 9
    for command in commands:
        monkeypatch.setattr(sys, "argv", command)
        status = exit_status()
        said = capfd.readouterr().err
        assert status == 0, said
        assert "different units" not in said
    shares = {(config.path, config.validation_share, config.test_share) for config in trained}
    assert shares == {
        ("mine.npz", 0.1, 0.2),
        ("mine.npz", 0.1, 0.3),
        ("split.npz", 0.1, None),
        ("mnist.npz", 0.1, None),
        ("pathmnist.npz", None, None),
        ("train_32x32.mat", 0.1, None),
        ("rows.npz", 0.1, 0.2),
        ("pictures", 0.1, 0.2),
    }


def test_the_page_names_the_arrays_that_are_read() -> None:
    table = PAGE[PAGE.index("| layout |") : PAGE.index("- **Images**")]
    shown = {name.lower() for name in re.findall(r"`(\w+)`", table)}
    assert shown == {name for layout in own_files._LAYOUTS for pair in layout.values() for name in pair}


def test_the_default_shares_are_those_of_the_page() -> None:
    config = data_config("npz", path="mine.npz")
    assert (config.test_share, config.validation_share) == (1 / 5, 1 / 10)
    assert "a fifth becomes the test set, a tenth the validation set" in PAGE
