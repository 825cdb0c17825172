"""Which classes of a config are not bnlab's, and their code; without an import of any of them."""

from collections.abc import Iterable

from bnlab.diagnostics.catalog import DIAGNOSTICS, find_place
from bnlab.errors import ConfigError
from bnlab.norms.names import NORMS
from bnlab.own_code.modules import OwnCode, code_of, forget_loaded
from bnlab.plugins import CLASS_PLACE, COLLECTIONS, MODEL_PLUGINS, NORM_PLUGINS, OWN_PLACE, load_object
from bnlab.renamed import current_name
from bnlab.schema import RunConfig
from bnlab.schema_models import OwnModelConfig

NORM, MODEL, DATA = "norm", "model", "data"
"""Keys of the code of norm, network and data; that of a diagnostic is its name, or its place (always, if it has such a
name)."""


def own_places(config: RunConfig) -> dict[str, str]:
    """Return the places of a run's classes and functions that are not of bnlab's catalogs, by the keys of their code.

    A name that cannot be found is left out: it is told where the class is built.
    """
    places = {}
    norm = config.norm.name
    if norm not in NORMS:
        installed = NORM_PLUGINS.find(norm) if ":" not in norm else None
        places[NORM] = installed.place if installed else norm
    if isinstance(config.model, OwnModelConfig):
        model = config.model.name
        installed = MODEL_PLUGINS.find(model) if ":" not in model else None
        places[MODEL] = installed.place if installed else model
    if ":" in config.data.name:
        places[DATA] = config.data.name
    for name in config.diagnostics.names:
        if current_name(name) not in DIAGNOSTICS:
            try:
                place = find_place(name)
                places[place if name in {NORM, MODEL, DATA} else name] = place
            except ConfigError:
                continue
    return {key: place for key, place in places.items() if (OWN_PLACE if key == MODEL else CLASS_PLACE).match(place)}


def own_code(config: RunConfig) -> dict[str, OwnCode]:
    """Return the code of a run's classes that are not bnlab's, by the keys of `own_places`."""
    return {key: code_of(place) for key, place in own_places(config).items()}


def import_own_code(configs: Iterable[RunConfig]) -> None:
    """Import the modules of own classes: from now on, `own_code` tells what is in use here, whatever becomes of files.

    Raises:
        ConfigError: One of them cannot be imported.
    """
    for key, place in dict.fromkeys(one for config in configs for one in own_places(config).items()):
        if place.partition(":")[0] not in COLLECTIONS:
            load_object(place, setting_of(key, place), "It is read as package.module:Class.")


def setting_of(key: str, place: str) -> str:
    """Return a part of a run as it is typed.

    Args:
        key: One of the keys of `own_places`.
        place: The class or function.
    """
    return f"{key}={place}" if key in {NORM, MODEL, DATA} else f"diagnostics.names: {key}"


def forget_own_code(configs: Iterable[RunConfig]) -> None:
    """Remove the modules of own classes from this process: the next use imports them as they are then."""
    for place in dict.fromkeys(place for config in configs for place in own_places(config).values()):
        forget_loaded(place)
