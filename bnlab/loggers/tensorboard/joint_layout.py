"""Custom Scalars for a folder that is no sweep: one page for all that is checked in it.

TensorBoard joins the pages of a sweep and of runs by the titles of their parts, and shows the charts of each, empty
where nothing that is checked has such curves. And a run of a sweep has no page of its own.
"""

import logging
import re
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any

from tensorboard import default, plugin_util
from tensorboard.data.provider import RunTagFilter
from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.scalar import metadata as scalar_metadata

from bnlab.loggers.tensorboard.layouts import run_layout_of

_log = logging.getLogger("bnlab")

_WRITTEN_FOR = "2.21"
"""The TensorBoard whose `CustomScalarsPlugin` makes its page in `layout_impl`. Of a later one nothing promises it."""

_NO_DIAGNOSTICS = frozenset({"train", "eval", "test", "speed", "over_seeds", "lr_sensitivity"})
"""First words of tags that are no diagnostic's."""


def plugins_with_a_joint_layout(pattern: Callable[[], str]) -> list[Any]:
    """Return TensorBoard's own plugins, with a Custom Scalars page of the curves that certain runs have.

    Where TensorBoard makes that page in another way, it shows the pages that the runs have, and a warning says so.

    Args:
        pattern: Returns a regular expression for the names of these runs; it is asked each time the page is loaded.
    """
    if not hasattr(CustomScalarsPlugin, "layout_impl"):
        _warn()
        return list(default.get_plugins())

    class JointLayout(CustomScalarsPlugin):  # type: ignore[misc]  # tensorboard ships no types
        """Custom Scalars, whose charts follow from the tags of the runs."""

        def __init__(self, context: Any) -> None:
            super().__init__(context)
            self._reads = context.data_provider
            self._is_told = False

        def is_active(self) -> bool:
            """Return that there is a page, although no run may have written one."""
            return True

        def layout_impl(self, *asked: Any) -> Any:
            """Return the page as JSON."""
            try:
                ctx, experiment = asked
                found = self._reads.list_scalars(
                    ctx,
                    experiment_id=experiment,
                    plugin_name=scalar_metadata.PLUGIN_NAME,
                    run_tag_filter=RunTagFilter(),
                )
                is_checked = re.compile(pattern()).search
                runs = filter(is_checked, sorted(found))
                return plugin_util.proto_to_json(_layout_for(tag for run in runs for tag in found[run]))
            except (AttributeError, TypeError, ValueError):
                if not self._is_told:
                    self._is_told = True
                    _warn()
                return super().layout_impl(*asked)

    return [JointLayout if plugin is CustomScalarsPlugin else plugin for plugin in default.get_plugins()]


def _warn() -> None:
    _log.warning(
        "TensorBoard %s makes its page Custom Scalars in another way than %s: it shows the pages that runs have "
        "written, not one for all.",
        version("tensorboard"),
        _WRITTEN_FOR,
    )


def _layout_for(tags: Iterable[str]) -> Layout:
    """Return a page with the losses, the accuracies, and the diagnostics that have curves; saturation comes first."""
    groups = {tag.partition("/")[0] for tag in tags if "/" in tag} - _NO_DIAGNOSTICS
    return run_layout_of(sorted(groups, key=lambda name: (name != "saturation", name)))
