"""The Custom Scalars page: which curves share a chart."""

from collections.abc import Iterable, Sequence
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalar_metadata
from tensorboard.util.tensor_util import make_tensor_proto

INSIDE = "Inside the network"
"""The title of the part with the diagnostics."""


def run_layout(diagnostics: Iterable[str]) -> Summary.Value:
    """Return the page of a run, as `run_layout_of` does, to be written among its events.

    Args:
        diagnostics: The names of those that the run shows in TensorBoard.
    """
    return as_value(run_layout_of(diagnostics))


def run_layout_of(diagnostics: Iterable[str]) -> Any:
    """Return the page of runs: both losses in one chart, and each diagnostic's layers and facets in one chart.

    Args:
        diagnostics: The names of those that have curves.
    """
    inside = inside_charts(diagnostics)
    parts = [category("Learning", learning_charts()), *([category(INSIDE, inside)] if inside else [])]
    return layout_pb2.Layout(category=parts)


def learning_charts() -> list[Any]:
    """Return a chart of both losses, and one of both accuracies."""
    return [lines("loss", ["train/loss", "eval/loss"]), lines("accuracy", ["train/accuracy", "eval/accuracy"])]


def inside_charts(diagnostics: Iterable[str]) -> list[Any]:
    """Return one chart per diagnostic, with all layers and facets that it has."""
    return [
        layout_pb2.Chart(title=name.replace("_", " "), multiline=layout_pb2.MultilineChartContent(tag=[f"^{name}/.+$"]))
        for name in diagnostics
    ]


def lines(title: str, tags: Iterable[str]) -> Any:
    """Return a chart of plain curves."""
    patterns = [f"^{tag.replace('.', '[.]')}$" for tag in tags]
    return layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=patterns))


def band(title: str, value: str, lower: str | None = None, upper: str | None = None) -> Any:
    """Return a chart of one curve and the area between two others, which need the same steps; it is never smoothed.

    The tags must be those of arms alone: of a run that has some of them, the chart says that it lacks the others.

    Args:
        title: The words above the chart.
        value: The tag of the curve.
        lower: The tag of the lower end; None: no area.
        upper: The tag of the upper end.
    """
    series = layout_pb2.MarginChartContent.Series(value=value, lower=lower or value, upper=upper or value)
    return layout_pb2.Chart(title=title, margin=layout_pb2.MarginChartContent(series=[series]))


def category(title: str, charts: Sequence[Any], closed: bool = False) -> Any:
    """Return a part of the page.

    Args:
        title: The words above the part. TensorBoard joins the parts of several runs that have the same title.
        charts: From left to right, those of plain curves before those of bands, as TensorBoard 2.21 shows them.
        closed: Until it is clicked on: a chart asks for the curves of every run that is chosen, one by one.
    """
    plain = [chart for chart in charts if chart.HasField("multiline")]
    bands = [chart for chart in charts if chart.HasField("margin")]
    # it shows bands from the last to the first: findings/custom-scalars-order.sh
    return layout_pb2.Category(title=title, chart=[*plain, *reversed(bands)], closed=closed)


def as_value(layout: Any) -> Summary.Value:
    """Return a whole page as what is written into an event file."""
    return Summary.Value(
        tag=custom_scalar_metadata.CONFIG_SUMMARY_TAG,
        tensor=make_tensor_proto(layout.SerializeToString()),
        metadata=custom_scalar_metadata.create_summary_metadata(),
    )
