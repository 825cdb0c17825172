"""The content of an event as TensorBoard's messages: a number, a text, a picture; and the first event of a file."""

import struct
import time

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_SCALAR, Summary
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar import metadata as scalar_metadata
from tensorboard.plugins.text import metadata as text_metadata
from tensorboard.util.tensor_util import make_tensor_proto


def scalar(tag: str, value: float, description: str = "") -> Summary.Value:
    """Return one number.

    Args:
        tag: The name of the curve that the number belongs to.
        value: Any number; NaN and infinity are kept.
        description: The words that TensorBoard shows about the chart; it keeps the first description of a tag.
    """
    # plain old-style values: they fill the HParams table too, and stay readable by EventAccumulator.Scalars
    if not description:
        return Summary.Value(tag=tag, simple_value=value)
    # the class of the data is named, although old values go without: the reader in Rust drops the description else
    metadata = scalar_metadata.create_summary_metadata(display_name="", description=description)
    metadata.data_class = DATA_CLASS_SCALAR
    return Summary.Value(tag=tag, simple_value=value, metadata=metadata)


def text(tag: str, markdown: str, description: str) -> Summary.Value:
    """Return a page of Markdown."""
    metadata = text_metadata.create_summary_metadata(display_name=tag, description=description)
    return Summary.Value(tag=tag, tensor=make_tensor_proto(np.array([markdown], dtype=object)), metadata=metadata)


def picture(tag: str, png: bytes, description: str) -> Summary.Value:
    """Return a picture.

    Args:
        tag: The name of the picture in TensorBoard.
        png: The bytes of a PNG file.
        description: The words that TensorBoard shows about the picture.
    """
    width, height = struct.unpack(">II", png[16:24])  # where every PNG file says its size
    metadata = image_metadata.create_summary_metadata(display_name=tag, description=description)
    content = np.array([str(width).encode(), str(height).encode(), png], dtype=object)
    return Summary.Value(tag=tag, tensor=make_tensor_proto(content), metadata=metadata)


def beginning(step: int) -> Event:
    """Return the event that makes TensorBoard forget what earlier files of the run say of this step and later ones.

    It does so from the second such event on: the first file needs one too. That is TensorBoard's Python reader;
    its usual one, in Rust, forgets whatever a later file says anew.

    Args:
        step: The first that is forgotten.
    """
    return Event(wall_time=time.time(), step=step, session_log=SessionLog(status=SessionLog.START))


def event(step: int, values: list[Summary.Value]) -> Event:
    """Return one event with all the values of a step: one each would be six times the work."""
    return Event(wall_time=time.time(), step=step, summary=Summary(value=values))
