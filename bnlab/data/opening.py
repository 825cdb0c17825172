"""Opens a data set once: the runs of a sweep share it."""

import functools
import os

from bnlab.data.fingerprint import content_fingerprint
from bnlab.data.sources import open_source
from bnlab.data.splits import DataSet, split_source
from bnlab.schema import DataConfig


def open_data(config: DataConfig) -> DataSet:
    """Read, split and normalize a data set; the last one is kept and returned again.

    Args:
        config: The name of the data set, its place, and how it is split.
    """
    # a notebook may change BNLAB_DATA or rewrite the files: then it is another data set
    return _opened(config, os.environ.get("BNLAB_DATA"), content_fingerprint(config))


@functools.lru_cache(maxsize=1)  # only one: CIFAR-10 takes a gigabyte
def _opened(config: DataConfig, root: str | None, fingerprint: str | None) -> DataSet:  # noqa: ARG001
    return split_source(open_source(config), config)
