import struct
import urllib.request
import zlib
from pathlib import Path

import numpy as np
import pytest
from fake_sweep import run_folder, sweep_of
from filelock import FileLock
from live_board import Board, live_tensorboard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

import bnlab
from bnlab.experiment.cohort_run import run_cohort
from bnlab.experiment.recorder import Member
from bnlab.identity.run_id import run_id
from bnlab.loggers.tensorboard import sweep_dashboard
from bnlab.loggers.tensorboard.sweep_dashboard import lr_step, write_sweep_dashboard
from bnlab.runfolder.folder import RunFolder
from bnlab.sweeps.grid import expand

LRS = {0.01: [2.0, 1.8, 1.5], 0.1: [2.0, 1.0, 0.5], 1.0: [2.0, 0.9, 0.8]}


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two arms, three learning rates, two seeds."""
    folder = tmp_path / "s"
    ids = [
        run_folder(folder, norm, lr, seed, [loss + 0.1 * seed for loss in losses])
        for norm in ("batch", "none")
        for lr, losses in LRS.items()
        for seed in (0, 1)
    ]
    return sweep_of(folder, ids, ["norm=batch,none", "optim.lr=0.01,0.1,1", "seed=0,1"])


def one_more_seed(sweep: Path, losses: list[float]) -> None:
    """Add a third seed to one arm, with some losses at its best learning rate."""
    (sweep / "sweep.json").unlink()
    for lr in LRS:
        run_folder(sweep, "batch", lr, 2, losses if lr == 0.1 else LRS[lr])


def events_in(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()


def curve(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events_in(folder).Scalars(tag)]


def test_an_arm_holds_the_means_under_the_tags_of_its_runs_and_a_band_under_its_own(sweep: Path) -> None:
    write_sweep_dashboard(sweep)
    arm = sweep / "arms" / "batch"
    assert curve(arm, "eval/loss") == [(0, pytest.approx(2.05)), (10, pytest.approx(1.05)), (20, pytest.approx(0.55))]
    assert curve(arm, "over_seeds/eval_loss_mean") == curve(arm, "eval/loss")
    half = 12.7062 * 0.05  # t of one degree of freedom, times the standard error of two values 0.1 apart
    assert curve(arm, "over_seeds/eval_loss_high") == [(s, pytest.approx(m + half)) for s, m in curve(arm, "eval/loss")]
    low = [(s, pytest.approx(max(m - half, 0))) for s, m in curve(arm, "eval/loss")]
    assert curve(arm, "over_seeds/eval_loss_low") == low


def test_the_response_stands_at_100_times_the_decade_of_the_learning_rate(sweep: Path) -> None:
    write_sweep_dashboard(sweep)
    arm = sweep / "arms" / "none"
    expected = [(-200, pytest.approx(1.55)), (-100, pytest.approx(0.55)), (0, pytest.approx(0.85))]
    assert curve(arm, "lr_sensitivity/validation_loss") == expected
    assert curve(arm, "lr_sensitivity/diverged_share") == [(-200, 0), (-100, 0), (0, 0)]
    steps = [lr_step(lr) for lr in np.logspace(-6, 3, 200)]
    assert len(set(steps)) == 200


def test_only_a_few_tags_are_written(sweep: Path) -> None:
    write_sweep_dashboard(sweep)
    tags = events_in(sweep / "arms" / "batch").Tags()["scalars"]
    of_runs = {"train/loss", "train/accuracy", "eval/loss", "eval/accuracy", "saturation/hidden1"}
    bands = {
        f"over_seeds/{t}_{end}" for t in ("train_loss", "eval_loss", "eval_accuracy") for end in ("mean", "low", "high")
    }
    response = {f"lr_sensitivity/validation_{f}{end}" for f in ("loss", "accuracy") for end in ("", "_low", "_high")}
    assert set(tags) == of_runs | bands | response | {"lr_sensitivity/diverged_share"}


def test_the_page_draws_bands_whose_three_curves_are_there_and_have_the_same_steps(sweep: Path) -> None:
    write_sweep_dashboard(sweep)
    (event,) = events_in(sweep).Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == [
        "Arms, each at its best learning rate: mean over seeds, 95% interval",
        "Inside the network",
        "Learning-rate sensitivity",
        "On the training set",
    ]
    charts = [chart for category in layout.category for chart in category.chart]
    series = [chart.margin.series[0] for chart in charts if chart.HasField("margin")]
    assert len(series) == 6
    for one in series:
        for arm in ("batch", "none"):
            steps = [[s for s, _ in curve(sweep / "arms" / arm, tag)] for tag in (one.value, one.lower, one.upper)]
            assert steps[0] == steps[1] == steps[2]
    (inside,) = layout.category[1].chart
    assert list(inside.multiline.tag) == ["^saturation/.+$"]


@pytest.mark.parametrize(
    ("lrs", "seeds", "titles", "groups"),
    [
        ([0.1], [0], ["Arms", "Inside the network"], set()),
        ([0.1], [0, 1], ["Arms: mean over seeds, 95% interval", "On the training set"], {"over_seeds"}),
        ([0.1, 1], [0], ["Arms, each at its best learning rate", "Learning-rate sensitivity"], {"lr_sensitivity"}),
    ],
)
def test_nothing_is_named_for_learning_rates_or_for_seeds_where_there_is_one(
    tmp_path: Path, lrs: list[float], seeds: list[int], titles: list[str], groups: set[str]
) -> None:
    for lr in lrs:
        for seed in seeds:
            run_folder(tmp_path, "batch", lr, seed, [2.0, 1.0, 0.5])
    write_sweep_dashboard(tmp_path)
    arm = events_in(tmp_path / "arms" / "batch")
    assert {tag.partition("/")[0] for tag in arm.Tags()["scalars"]} == {"train", "eval", "saturation"} | groups
    (event,) = events_in(tmp_path).Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == list(
        dict.fromkeys([titles[0], "Inside the network", *titles[1:]])
    )


def test_the_text_names_the_best_of_each_arm_and_an_edge_of_the_grid(sweep: Path) -> None:
    run_folder(sweep, "layer", 0.01, 0, [2.0, 1.0, 0.5])
    run_folder(sweep, "layer", 0.1, 0, [2.0, 1.0, 0.9])
    (sweep / "sweep.json").unlink()
    write_sweep_dashboard(sweep)
    (event,) = events_in(sweep).Tensors("sweep")
    text = event.tensor_proto.string_val[0].decode()
    assert "14 of 14 runs have ended." in text
    assert "| batch | 0.1 | 2 | 0.5500 | 94.5% | 0 of 6 |" in text
    assert "| layer | 0.01 (the edge of the grid) | 1 | 0.5000 | 95.0% | 0 of 2 |" in text
    assert 'model: "mlp"' in text


def test_an_arm_that_diverges_everywhere_has_no_best_learning_rate(tmp_path: Path) -> None:
    for lr in (1.0, 10.0):
        run_folder(tmp_path, "none", lr, 0, [2.0, 1e9], status="diverged", diverged_at=3)
    write_sweep_dashboard(tmp_path)
    (event,) = events_in(tmp_path).Tensors("sweep")
    assert (
        "| none | none: no run ended better than it started | 1 | 2.0000 | 80.0% | 2 of 2 |"
        in event.tensor_proto.string_val[0].decode()
    )


def test_writing_it_again_leaves_no_pile_of_files_and_says_the_newest(sweep: Path) -> None:
    write_sweep_dashboard(sweep)
    one_more_seed(sweep, [2.0, 1.0, 0.2])
    write_sweep_dashboard(sweep)
    write_sweep_dashboard(sweep)
    for folder in (sweep, sweep / "arms" / "batch", sweep / "arms" / "none"):
        old, new = sorted(path.stat().st_size for path in folder.glob("*tfevents*"))
        assert old == 0 < new  # a TensorBoard may stand at the end of the old one
    assert curve(sweep / "arms" / "batch", "eval/loss")[-1] == (20, pytest.approx((0.5 + 0.6 + 0.2) / 3))
    assert not list(sweep.rglob("*.tmp"))


def test_arms_that_are_no_more_are_taken_away_and_nothing_else_is(sweep: Path) -> None:
    write_sweep_dashboard(sweep)
    foreign = sweep / "arms" / "mine" / "events.out.tfevents.1.host"
    foreign.parent.mkdir()
    foreign.touch()
    sweep_of(sweep, [path.name for path in sweep.glob("batch-*")])
    write_sweep_dashboard(sweep)
    assert sorted(path.name for path in (sweep / "arms").iterdir()) == ["batch", "mine"]
    assert foreign.exists()


def test_a_sweep_that_has_hardly_begun_has_a_page_already(tmp_path: Path) -> None:
    sweep_of(tmp_path / "s", ["a", "b"], ["seed=0,1"])
    write_sweep_dashboard(tmp_path / "s")
    (event,) = events_in(tmp_path / "s").Tensors("sweep")
    assert "0 of 2 runs have ended." in event.tensor_proto.string_val[0].decode()
    assert not list((tmp_path / "s").glob("arms/*"))


def test_two_writers_do_not_take_away_each_others_files(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_sweep_dashboard(sweep)
    monkeypatch.setattr(sweep_dashboard, "WAIT_S", 0.05)
    with FileLock(sweep / ".locks" / "dashboard.lock"):
        write_sweep_dashboard(sweep)
    assert "another process writes its dashboard" in caplog.text
    assert len(list((sweep / "arms" / "batch").iterdir())) == 1


def png(width: int, height: int) -> bytes:
    """A gray picture."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x80" * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def check(board: Board, sweep: Path) -> None:
    tags = board.wait_for("data/plugin/scalars/tags", lambda tags: {"arms/batch", "arms/none"} <= set(tags))
    assert "." not in tags  # the sweep's own page has no curves
    assert board.points("arms/batch", "eval/loss") == [
        (s, pytest.approx(v)) for s, v in curve(sweep / "arms/batch", "eval/loss")
    ]
    assert [step for step, _ in board.points("arms/none", "lr_sensitivity/validation_loss")] == [-200, -100, 0]
    described = tags["arms/batch"]["over_seeds/eval_loss_mean"]["description"]
    assert "Mean over 2 seeds at the best learning rate of this arm, 0.1. Band: 95%" in described
    layout = board.get("data/plugin/custom_scalars/layout")
    for chart in layout["category"][0]["chart"] + layout["category"][2]["chart"]:
        (series,) = chart["margin"]["series"]
        answer = board.get("data/plugin/custom_scalars/scalars", run="arms/batch", tag=f"({series['value']})")
        assert series["value"] in answer["tag_to_events"]
    pictures = board.wait_for("data/plugin/images/tags", lambda tags: "." in tags)
    assert "lr_curves" in pictures["."]
    (image,) = board.get("data/plugin/images/images", run=".", tag="lr_curves", sample="0")
    url = f"{board.address}data/plugin/images/individualImage?{image['query']}"
    with urllib.request.urlopen(url, timeout=20) as answer:
        assert answer.read() == png(6, 4)


@pytest.mark.slow
@pytest.mark.parametrize("in_python", [False, True])
def test_a_live_tensorboard_serves_curves_bands_pictures_and_the_page(sweep: Path, in_python: bool) -> None:
    write_sweep_dashboard(sweep, {"lr_curves": png(6, 4)})
    with live_tensorboard(sweep, in_python=in_python) as board:
        check(board, sweep)


@pytest.mark.slow
@pytest.mark.parametrize("in_python", [False, True])
def test_a_tensorboard_that_looks_on_shows_what_is_new(sweep: Path, in_python: bool) -> None:
    write_sweep_dashboard(sweep)
    with live_tensorboard(sweep, in_python=in_python) as board:
        tag = {"run": "arms/batch", "tag": "eval/loss"}
        before = board.wait_for("data/plugin/scalars/scalars", lambda points: len(points) == 3, **tag)
        one_more_seed(sweep, [3.0, 2.0, 0.1])
        write_sweep_dashboard(sweep)
        # it may read the new file while only its first line is there
        is_new = lambda points: len(points) == 3 and points[0][2] != before[0][2]  # noqa: E731
        after = board.wait_for("data/plugin/scalars/scalars", is_new, **tag)
        assert [(step, value) for _, step, value in after] == [
            *[(0, pytest.approx(7.1 / 3)), (10, pytest.approx(4.1 / 3)), (20, pytest.approx(1.2 / 3))]
        ]


@pytest.mark.slow
def test_every_run_of_a_sweep_is_once_in_hparams_with_the_swept_keys_alone(tmp_path: Path) -> None:
    grid = expand(["data=synthetic", "train.steps=10", "norm=batch,none", "norm.momentum=0.8", "optim.lr=0.1,1e5"])
    folders = [RunFolder(tmp_path / "s" / run_id(config)) for config in grid.configs]
    swept = ["norm", "optim.lr", "norm.momentum"]
    for config, folder in zip(grid.configs, folders, strict=True):
        run_cohort([Member(config, folder, swept)], "sequential")
    write_sweep_dashboard(sweep_of(tmp_path / "s", [folder.path.name for folder in folders]))
    with live_tensorboard(tmp_path / "s") as board:
        board.wait_for("data/plugin/scalars/tags", lambda tags: len(tags) == 4 + 2)
        columns, rows = board.hparams()
        assert set(columns) == set(swept)
        assert sorted(row["name"] for row in rows) == sorted(folder.path.name for folder in folders)
        by_norm = {(row["hparams"]["norm"], row["hparams"]["optim.lr"]): row for row in rows}
        assert set(by_norm) == {(norm, lr) for norm in ("batch", "none") for lr in (0.1, 1e5)}
        assert by_norm["batch", 0.1]["hparams"]["norm.momentum"] == 0.8
        assert "norm.momentum" not in by_norm["none", 0.1]["hparams"]
        runs = bnlab.read_runs(tmp_path / "s").set_index("run_id")
        for row in rows:
            values = {value["name"]["tag"]: value["value"] for value in row["metricValues"]}
            assert values["test/accuracy"] == pytest.approx(runs.loc[row["name"], "test_accuracy"])
        layout = board.get("data/plugin/custom_scalars/layout")
        assert layout["category"][0]["title"] == "Arms, each at its best learning rate"
        assert "Learning" not in [category["title"] for category in layout["category"]]  # the runs' own page
