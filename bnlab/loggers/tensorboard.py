"""The only TensorBoard door, and the only place that builds tags.

One event file per run, in the run's own folder. A setting never goes into a tag: TensorBoard groups charts by
tag and overlays runs with equal tags. It uses tensorboard's own writer and messages, which import without torch.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalar_metadata
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.text import metadata as text_metadata
from tensorboard.program import TensorBoard
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_tensor_proto

from bnlab.records import Record, RunSummary
from bnlab.runfolder.index import flatten
from bnlab.schema import RunConfig

HPARAM_METRICS = ("test/accuracy", "test/loss", "eval/accuracy", "eval/loss", "train/loss")
"""Columns of the HParams table: the last values of these tags. The test set's are written once, at the end."""

HPARAMS_FIRST = {"norm", "model", "model.activation", "optim.lr", "seed"}
"""TensorBoard shows five hyperparameters until asked for more: those marked as differing, then by the alphabet."""

NOT_HPARAMS = {"name", "device", "threads", "loggers", "sweep.engine", "data.root", "train.checkpoint_every"}
"""Settings that cannot change a number, and so are no hyperparameters."""

HAND_ON_EVERY_S = 1.0
"""Seconds between hand-overs to the writer's thread. Waking it for every event cost 3% of a small model's speed."""

_STATUS_OF = {"finished": "STATUS_SUCCESS", "diverged": "STATUS_FAILURE", "failed": "STATUS_FAILURE"}


class TensorBoardLogger:
    """Writes a run's records as TensorBoard events.

    Args:
        folder: The run's.
        config: Written as text and as hyperparameters.
        layer_roles: For the layout of the Custom Scalars page.
    """

    def __init__(self, folder: Path, config: RunConfig, layer_roles: list[str]) -> None:
        self._writer = EventFileWriter(str(folder), flush_secs=5)
        self._pending: list[Event] = []
        self._handed_on = time.monotonic()
        self._write(0, [_config_as_text(config), _layout(config.diagnostics.names, layer_roles)])
        self._write(0, _hparams_of(config))

    def take(self, record: Record) -> None:
        """Write one record as one event; the test set's figures stand in the HParams alone."""
        tags = {
            "step": {"loss": "train/loss", "accuracy": "train/accuracy"},
            "eval": {"loss": "eval/loss", "accuracy": "eval/accuracy"},
            "diagnostic": {layer: f"{record.name}/{layer}" for layer in record.values},
            "timing": {"samples_per_s": "speed/samples_per_s"},
            "end": {},
        }[record.kind]
        if record.split == "test":
            return
        self._write(record.step, [_scalar(tag, record.values[key]) for key, tag in tags.items()])

    def close(self, summary: RunSummary | None) -> None:
        """Write the final figures and the run's ending, and close the file."""
        if summary is not None:
            figures = {"test/accuracy": summary.test_accuracy, "test/loss": summary.test_loss}
            self._write(summary.steps or 0, [_scalar(n, v) for n, v in figures.items() if v is not None])
            status = api_pb2.Status.Value(_STATUS_OF.get(summary.status, "STATUS_UNKNOWN"))
            end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
            self._write(0, [_hparams_value(hparams_metadata.SESSION_END_INFO_TAG, session_end_info=end)])
        self._hand_on()
        self._writer.close()

    def _write(self, step: int, values: list[Summary.Value]) -> None:
        if values:
            self._pending.append(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
        if time.monotonic() - self._handed_on > HAND_ON_EVERY_S:
            self._hand_on()

    def _hand_on(self) -> None:
        for event in self._pending:
            self._writer.add_event(event)
        self._pending.clear()
        self._handed_on = time.monotonic()


def serve(logdir: Path, port: int | None) -> str:
    """Start TensorBoard on the loopback address, in a thread of its own; return its address.

    Args:
        logdir: What it shows.
        port: Where; None: 6006, or the next that is free.
    """
    board = TensorBoard()
    arguments = ["tensorboard", "--logdir", str(logdir), "--host", "127.0.0.1", "--reload_interval", "5"]
    board.configure(argv=arguments + ([] if port is None else ["--port", str(port)]))
    return str(board.launch())


def _scalar(tag: str, value: float) -> Summary.Value:
    # plain old-style values: they fill the HParams table too, and stay readable by EventAccumulator.Scalars
    return Summary.Value(tag=tag, simple_value=value)


def _config_as_text(config: RunConfig) -> Summary.Value:
    text = "```yaml\n" + yaml.safe_dump(config.as_dict(), sort_keys=False) + "```"
    metadata = text_metadata.create_summary_metadata(display_name="config", description="Every value of this run.")
    return Summary.Value(tag="config", tensor=make_tensor_proto(np.array([text], dtype=object)), metadata=metadata)


def _layout(diagnostics: list[str], layer_roles: list[str]) -> Summary.Value:
    """Return the Custom Scalars page: both losses in one chart, and each diagnostic's layers in one chart."""

    def chart(title: str, tags: list[str]) -> Any:
        patterns = [f"^{tag.replace('.', '[.]')}$" for tag in tags]
        return layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=patterns))

    curves = [
        chart("loss", ["train/loss", "eval/loss"]),
        chart("accuracy", ["train/accuracy", "eval/accuracy"]),
    ]
    inside = [chart(name.replace("_", " "), [f"{name}/{role}" for role in layer_roles]) for name in diagnostics]
    categories = [layout_pb2.Category(title="Learning", chart=curves)]
    if inside:
        categories.append(layout_pb2.Category(title="Inside the network", chart=inside))
    return Summary.Value(
        tag=custom_scalar_metadata.CONFIG_SUMMARY_TAG,
        tensor=make_tensor_proto(layout_pb2.Layout(category=categories).SerializeToString()),
        metadata=custom_scalar_metadata.create_summary_metadata(),
    )


def _hparams_of(config: RunConfig) -> list[Summary.Value]:
    """Return the two messages that declare the whole schema, and this run's values."""
    settings = flatten(config.as_dict())
    values = {key.removesuffix(".name"): _hparam(settings[key]) for key in settings if key not in NOT_HPARAMS}
    experiment = api_pb2.Experiment(
        hparam_infos=[_hparam_info(key, value) for key, value in values.items()],
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name)) for name in HPARAM_METRICS],
    )
    start = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
    for key, value in values.items():
        field = {"bool": "bool_value", "float": "number_value", "str": "string_value"}[type(value).__name__]
        setattr(start.hparams[key], field, value)
    return [
        _hparams_value(hparams_metadata.EXPERIMENT_TAG, experiment=experiment),
        _hparams_value(hparams_metadata.SESSION_START_INFO_TAG, session_start_info=start),
    ]


def _hparam(value: Any) -> bool | float | str:
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return float(value)
    return value if isinstance(value, str) else json.dumps(value)


def _hparam_info(key: str, value: bool | float | str) -> Any:
    kinds = {"bool": "DATA_TYPE_BOOL", "float": "DATA_TYPE_FLOAT64", "str": "DATA_TYPE_STRING"}
    return api_pb2.HParamInfo(
        name=key, type=api_pb2.DataType.Value(kinds[type(value).__name__]), differs=key in HPARAMS_FIRST
    )


def _hparams_value(tag: str, **content: Any) -> Summary.Value:
    data = plugin_data_pb2.HParamsPluginData(version=0, **content)
    metadata = hparams_metadata.create_summary_metadata(data)
    return Summary.Value(tag=tag, metadata=metadata, tensor=hparams_metadata.NULL_TENSOR)
