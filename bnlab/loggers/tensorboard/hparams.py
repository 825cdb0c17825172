"""The HParams table: its columns, and a run's row in it.

Three messages, in the run's own event file. `SummaryWriter.add_hparams` makes a sub-run of its own instead, which
then stands in every list of runs.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata

from bnlab.records import Status
from bnlab.runfolder.immaterial import IMMATERIAL
from bnlab.runfolder.index import flatten
from bnlab.schema import RunConfig

METRICS = ("test/accuracy", "test/loss", "eval/accuracy", "eval/loss", "train/loss")
"""Columns of the HParams table: the last values of these tags. The test set's are written once, at the end."""

FIRST = {"norm", "model", "model.activation", "optim.lr", "seed"}
"""TensorBoard shows five hyperparameters until asked for more: those marked as differing, then by the alphabet."""

_STATUS_OF: Mapping[Status, str] = {"finished": "STATUS_SUCCESS", "diverged": "STATUS_FAILURE"}
"""Of runs that came to an end. The others may go on, and TensorBoard keeps the first ending that it reads."""


def session_start(config: RunConfig, keys: Sequence[str] | None) -> list[Summary.Value]:
    """Return the two messages that declare the columns, and this run's values.

    TensorBoard takes the columns from any one run, so every run declares them all.

    Args:
        config: The config of the run.
        keys: The columns, such as ``norm`` and ``optim.lr``; None: every setting that can change a number.
    """
    settings = {key.removesuffix(".name"): value for key, value in flatten(config.as_dict()).items() if key != "name"}
    if keys is None:
        columns = [key for key in settings if key not in IMMATERIAL]
        values = {key: _hparam(settings[key]) for key in columns}
    else:  # what an arm lacks stays empty; of the settings that only some arms have, most are numbers
        names = dict.fromkeys(key.removesuffix(".name") for key in keys)
        columns = [key for key in names if key in settings or "." in key]  # tuning=a,b is no setting itself
        values = {key: _hparam(settings[key]) for key in columns if settings.get(key) is not None}
    infos = [
        api_pb2.HParamInfo(name=key, type=_type_of(values.get(key, 0.0)), differs=keys is not None or key in FIRST)
        for key in columns
    ]
    experiment = api_pb2.Experiment(
        hparam_infos=infos,
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name)) for name in METRICS],
    )
    start = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
    for key, value in values.items():
        field = {"bool": "bool_value", "float": "number_value", "str": "string_value"}[type(value).__name__]
        setattr(start.hparams[key], field, value)
    return [
        _value(hparams_metadata.EXPERIMENT_TAG, experiment=experiment),
        _value(hparams_metadata.SESSION_START_INFO_TAG, session_start_info=start),
    ]


def session_end(status: Status) -> list[Summary.Value]:
    """Return the message that says how a run ended; none if it may yet go on."""
    if status not in _STATUS_OF:
        return []
    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.Status.Value(_STATUS_OF[status]), end_time_secs=time.time())
    return [_value(hparams_metadata.SESSION_END_INFO_TAG, session_end_info=end)]


def _hparam(value: Any) -> bool | float | str:
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return float(value)
    return value if isinstance(value, str) else json.dumps(value)


def _type_of(value: bool | float | str) -> Any:
    kinds = {"bool": "DATA_TYPE_BOOL", "float": "DATA_TYPE_FLOAT64", "str": "DATA_TYPE_STRING"}
    return api_pb2.DataType.Value(kinds[type(value).__name__])


def _value(tag: str, **content: Any) -> Summary.Value:
    data = plugin_data_pb2.HParamsPluginData(version=0, **content)
    metadata = hparams_metadata.create_summary_metadata(data)
    return Summary.Value(tag=tag, metadata=metadata, tensor=hparams_metadata.NULL_TENSOR)
