"""A data set, opened once and kept: the runs of a sweep share it."""

import functools
import os

from bnlab.data.sources import open_source
from bnlab.data.splits import DataSet, split_source
from bnlab.runfolder.identity import data_fingerprint
from bnlab.schema import DataConfig


def open_data(config: DataConfig) -> DataSet:
    """Read, split and normalize a data set, or return it if it was the last that was opened.

    Args:
        config: Which one, where, how split.
    """
    # a notebook may point elsewhere, or write its file anew: then it is another data set
    return _opened(config, os.environ.get("BNLAB_DATA"), data_fingerprint(config))


@functools.lru_cache(maxsize=1)  # not more: CIFAR-10 takes a gigabyte
def _opened(config: DataConfig, root: str | None, fingerprint: str | None) -> DataSet:  # noqa: ARG001
    return split_source(open_source(config), config)
