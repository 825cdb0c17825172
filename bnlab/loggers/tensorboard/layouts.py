"""The Custom Scalars page: which curves share a chart."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalar_metadata
from tensorboard.util.tensor_util import make_tensor_proto


def run_layout(diagnostics: Iterable[str], layer_roles: Sequence[str]) -> Summary.Value:
    """Return the page of a run: both losses in one chart, and each diagnostic's layers in one chart.

    Args:
        diagnostics: Their names.
        layer_roles: Of the network, in order.
    """
    curves = [
        lines("loss", ["train/loss", "eval/loss"]),
        lines("accuracy", ["train/accuracy", "eval/accuracy"]),
    ]
    inside = inside_charts(dict.fromkeys(diagnostics, layer_roles))
    categories = [layout_pb2.Category(title="Learning", chart=curves)]
    if inside:
        categories.append(layout_pb2.Category(title="Inside the network", chart=inside))
    return layout(categories)


def inside_charts(roles_of: Mapping[str, Sequence[str]]) -> list[Any]:
    """Return one chart per diagnostic, with all its layers."""
    return [lines(name.replace("_", " "), [f"{name}/{role}" for role in roles]) for name, roles in roles_of.items()]


def lines(title: str, tags: Iterable[str]) -> Any:
    """Return a chart of plain curves."""
    patterns = [f"^{tag.replace('.', '[.]')}$" for tag in tags]
    return layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=patterns))


def band(title: str, value: str, lower: str, upper: str) -> Any:
    """Return a chart of one curve with the area between two others; all three need the same steps.

    The tags must be those of arms alone: of a run that has one of the three, the chart says that it lacks two.
    """
    series = layout_pb2.MarginChartContent.Series(value=value, lower=lower, upper=upper)
    return layout_pb2.Chart(title=title, margin=layout_pb2.MarginChartContent(series=[series]))


def layout(categories: Sequence[Any]) -> Summary.Value:
    """Return a whole page."""
    return Summary.Value(
        tag=custom_scalar_metadata.CONFIG_SUMMARY_TAG,
        tensor=make_tensor_proto(layout_pb2.Layout(category=categories).SerializeToString()),
        metadata=custom_scalar_metadata.create_summary_metadata(),
    )
