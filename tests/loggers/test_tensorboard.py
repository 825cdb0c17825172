import errno
import json
import os
from pathlib import Path

import pytest
from live_board import live_tensorboard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.summary.writer.record_writer import RecordWriter

import bnlab
from bnlab.config.compose import compose_run
from bnlab.loggers.tensorboard.run_logger import TensorBoardLogger
from bnlab.records import DiagnosticRecord, StepRecord

WORDS = ["data=synthetic", "model.width=16", "model.activation=sigmoid", "train.steps=60", "train.log_every=10"]


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> bnlab.RunSummary:
    return bnlab.train(WORDS, runs=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def events(summary: bnlab.RunSummary) -> EventAccumulator:
    return EventAccumulator(summary.folder, size_guidance={"tensors": 0, "scalars": 0}).Reload()


def test_the_tags_are_those_of_the_contract(events: EventAccumulator) -> None:
    layers = ["hidden1", "hidden2", "hidden3"]
    promised = {"train/loss", "train/accuracy", "eval/loss", "eval/accuracy", "speed/samples_per_s"}
    promised |= {f"{name}/{layer}" for name in ("saturation", "dead_fraction") for layer in layers}
    promised |= {f"gradient_norm/{layer}" for layer in [*layers, "output"]}
    assert set(events.Tags()["scalars"]) == promised | {"test/accuracy", "test/loss"}


def test_every_scalar_equals_its_record(events: EventAccumulator, summary: bnlab.RunSummary) -> None:
    lines = [json.loads(line) for line in (Path(summary.folder) / "metrics.jsonl").read_text().splitlines()]
    expected: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        for key, value in line["values"].items():
            if line["kind"] == "diagnostic":
                tag = f"{line['name']}/{key}"
            elif line["kind"] == "step" and key != "lr":
                tag = f"train/{key}"
            elif line["kind"] == "eval" and line["split"] == "validation":
                tag = f"eval/{key}"
            else:
                continue
            expected.setdefault(tag, []).append((line["step"], pytest.approx(value, rel=1e-6)))
    for tag, points in expected.items():
        assert [(event.step, event.value) for event in events.Scalars(tag)] == points


def test_the_test_set_stands_in_the_hparams_only_and_once(events: EventAccumulator, summary: bnlab.RunSummary) -> None:
    (point,) = events.Scalars("test/accuracy")
    assert point.value == pytest.approx(summary.test_accuracy)


def test_the_config_stands_there_as_text(events: EventAccumulator) -> None:
    (event,) = events.Tensors("config")
    text = event.tensor_proto.string_val[0].decode()
    assert "activation: sigmoid" in text


def test_hyperparameters_and_ending_are_in_the_runs_own_file(
    events: EventAccumulator, summary: bnlab.RunSummary
) -> None:
    metadata = events.summary_metadata
    start = hparams_metadata.parse_session_start_info_plugin_data(
        metadata[hparams_metadata.SESSION_START_INFO_TAG].plugin_data.content
    )
    assert start.hparams["norm"].string_value == "batch"
    assert start.hparams["optim.lr"].number_value == 0.1
    assert start.hparams["norm.affine"].bool_value is True
    assert start.hparams["train.eval_every"].string_value == "null"
    assert hparams_metadata.SESSION_END_INFO_TAG in metadata
    experiment = hparams_metadata.parse_experiment_plugin_data(
        metadata[hparams_metadata.EXPERIMENT_TAG].plugin_data.content
    )
    assert {info.name for info in experiment.hparam_infos} == set(start.hparams)
    assert not {"device", "threads", "loggers", "name", "data.root"} & set(start.hparams)
    assert len(list(Path(summary.folder).parent.rglob("events*"))) == 1


def test_the_layout_draws_each_diagnostic_with_all_its_layers_in_one_chart(events: EventAccumulator) -> None:
    (event,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    charts = {chart.title: list(chart.multiline.tag) for category in layout.category for chart in category.chart}
    assert charts["loss"] == ["^train/loss$", "^eval/loss$"]
    assert charts["saturation"] == ["^saturation/.+$"]
    assert list(charts) == ["loss", "accuracy", "saturation", "dead fraction", "gradient norm"]


@pytest.mark.slow
def test_a_live_tensorboard_serves_the_run_on_the_loopback_address(summary: bnlab.RunSummary) -> None:
    with live_tensorboard(Path(summary.folder).parents[1]) as board:
        assert board.address.startswith("http://127.0.0.1:")
        run = f"single/{summary.run_id}"
        tags = board.wait_for(
            "data/plugin/scalars/tags", lambda tags: run in tags and "saturation/hidden1" in tags[run]
        )
        assert list(tags) == [run]
        layout = board.get("data/plugin/custom_scalars/layout")
        assert [category["title"] for category in layout["category"]] == ["Learning", "Inside the network"]


def test_the_columns_of_a_sweep_are_settings_by_the_names_that_they_go_by(tmp_path: Path) -> None:
    config = compose_run(["data=synthetic", "norm=none", "data.limit=50"])
    keys = ["norm", "schedule.name", "norm.momentum", "data.limit", "tuning"]
    TensorBoardLogger(tmp_path, config, keys).close(None)
    metadata = EventAccumulator(str(tmp_path)).Reload().summary_metadata
    start, experiment = (
        read(metadata[tag].plugin_data.content)
        for read, tag in (
            (hparams_metadata.parse_session_start_info_plugin_data, hparams_metadata.SESSION_START_INFO_TAG),
            (hparams_metadata.parse_experiment_plugin_data, hparams_metadata.EXPERIMENT_TAG),
        )
    )
    assert [info.name for info in experiment.hparam_infos] == ["norm", "schedule", "norm.momentum", "data.limit"]
    assert set(start.hparams) == {"norm", "schedule", "data.limit"}  # norm=none has no momentum
    assert start.hparams["schedule"].string_value == "constant"
    assert "config" not in metadata  # the sweep's page says what its runs share
    assert "custom_scalars__config__" not in metadata


def test_only_the_diagnostics_that_the_config_names_are_shown_facets_and_all(tmp_path: Path) -> None:
    config = compose_run(["data=synthetic", "diagnostics.tensorboard=[fan]"])
    logger = TensorBoardLogger(tmp_path, config)
    logger.take(DiagnosticRecord(3, "fan", {"hidden1/q15": 1.0, "hidden1/q85": 2.0, "network": 3.0}))
    logger.take(DiagnosticRecord(3, "saturation", {"hidden1": 0.5}))
    logger.close(None)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["scalars"]) == {"fan/hidden1/q15", "fan/hidden1/q85", "fan/network"}
    layout = layout_pb2.Layout.FromString(events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    (chart,) = layout.category[1].chart
    assert (chart.title, list(chart.multiline.tag)) == ("fan", ["^fan/.+$"])


@pytest.mark.parametrize("fails_at", [0, 1, 3])
def test_events_that_find_no_room_cost_the_run_nothing_and_are_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fails_at: int
) -> None:
    monkeypatch.setattr("bnlab.loggers.tensorboard.run_logger.WRITTEN_EVERY_S", 0.0)
    write, num_written = RecordWriter.write, iter(range(100))

    def write_some(self: RecordWriter, data: bytes) -> None:
        if next(num_written) >= fails_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, data)

    monkeypatch.setattr(RecordWriter, "write", write_some)
    logger = TensorBoardLogger(tmp_path, compose_run(WORDS))
    for step in range(5):
        logger.take(StepRecord(step=step, values={"loss": 1.0, "accuracy": 0.5}))
    logger.close(None)
    (told,) = caplog.messages
    assert "TensorBoard's events cannot be written: No space left on device. metrics.jsonl has all." in told
