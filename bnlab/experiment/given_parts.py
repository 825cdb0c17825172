"""Turns objects that a notebook gives to `bnlab.train` into words, as they would be typed."""

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any

from bnlab.data.own_function import as_source
from bnlab.errors import ConfigError
from bnlab.own_code.given import digest_of_code, keep_given, name_to_import


def words_of_given(overrides: Sequence[str], model: Any, data: Any) -> list[str]:
    """Return overrides that name the objects.

    A class or function that lies in a module is named by its place. All others are kept in this process, as
    ``given:Name``: no other process can load such a run.

    Args:
        overrides: What was typed besides.
        model: A class of networks, a function that builds one, or a network; None: the overrides say which.
        data: A function, arrays, or data sets, as `bnlab.data.own_function` takes them; None: as the overrides say.

    Raises:
        ConfigError: The overrides name one too, or it is no network.
        DataError: It is no data.
    """
    words = list(overrides)
    for key, value in (("model", model), ("data", data)):
        if value is not None and (typed := [word for word in words if word.startswith(f"{key}=")]):
            raise ConfigError(f"{key} is given twice: as {key}=... of bnlab.train, and as {typed[0]}. Leave one out.")
    if model is not None:
        words.append(f"model={_place_of_model(model)}")
    if data is not None:
        words.append(f"data={_place_of_data(data)}")
    return words


def _place_of_model(model: Any) -> str:
    from torch import nn  # noqa: PLC0415  (it takes seconds, and overrides alone need not wait for it)

    if isinstance(model, nn.Module):
        codes = [digest_of_code(kind) for kind in dict.fromkeys(map(type, model.modules()))]
        digest = hashlib.sha256(f"{codes} {model!r}".encode())
        for name, value in model.state_dict().items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().float().numpy().tobytes())
        return keep_given(_name_of(type(model)), model, digest.hexdigest())
    if isinstance(model, str):
        raise ConfigError(f"model takes an object, got the name {model}. Write it among the words: 'model={model}'.")
    if not callable(model):
        raise ConfigError(
            f"model must be a class of networks, a function that builds one, or a network, got {type(model).__name__}."
        )
    return name_to_import(model) or keep_given(_name_of(model), model, _digest(model))


def _place_of_data(data: Any) -> str:
    if isinstance(data, str):
        raise ConfigError(f"data takes an object, got the name {data}. Write it among the words: 'data={data}'.")
    if callable(data) and not hasattr(data, "__getitem__"):
        return name_to_import(data) or keep_given(_name_of(data), data, _digest(data))
    return keep_given("data", as_source(data, "data"), None)


def _digest(value: Callable[..., Any]) -> str:
    try:
        return digest_of_code(value)  # type: ignore[arg-type]
    except (AttributeError, TypeError) as error:  # a partial, an object with __call__
        raise ConfigError(
            f"{value!r} must be a class or a function, whose code is a part of what the run is. Wrap it in a function."
        ) from error


def _name_of(value: Any) -> str:
    return re.sub(r"\W", "", getattr(value, "__name__", type(value).__name__)) or "unnamed"
