"""Opens a data set once: the runs of a sweep share it."""

import functools
import os

from bnlab.data.fingerprint import content_fingerprint
from bnlab.data.sources import open_source
from bnlab.data.splits import DataSet, split_source
from bnlab.errors import DataError
from bnlab.schema import DataConfig


def open_data(config: DataConfig) -> DataSet:
    """Read, split and normalize a data set; the last one is kept and returned again.

    Args:
        config: The name of the data set, its place, and how it is split.

    Raises:
        ConfigError: No data set has this name, or the shares of the splits do not go with it.
        DataError: The data are missing, damaged, too large, or do not fit together.
    """
    # a notebook may change BNLAB_DATA or rewrite the files: then it is another data set
    return _opened(config, os.environ.get("BNLAB_DATA"), content_fingerprint(config))


@functools.lru_cache(maxsize=1)  # only one: CIFAR-10 takes a gigabyte
def _opened(config: DataConfig, root: str | None, fingerprint: str | None) -> DataSet:  # noqa: ARG001
    try:
        return split_source(open_source(config), config)
    except MemoryError as error:  # NumPy says what it wanted
        place = f"data={config.name}" if config.path is None else config.path
        raise DataError(f"{place} does not fit into memory ({error}). Save fewer or smaller images.") from error
