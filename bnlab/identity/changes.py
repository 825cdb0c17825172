"""What is no longer as it was when a run was trained, or when this process imported a class. All of it is told."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bnlab import provenance
from bnlab.errors import ConfigError
from bnlab.identity.own_parts import MODEL, NORM, own_code, own_places, setting_of
from bnlab.own_code.modules import OwnCode, changed_since_loaded
from bnlab.schema import RunConfig

_CHANGE_NUMBERS = ("bnlab", "torch", "numpy")
"""Of the packages in every manifest those that compute."""


def refuse_code_that_changed_here(configs: Iterable[RunConfig]) -> None:
    """Raise if the file of a module has changed since this process imported it, as happens in a notebook.

    A run would be trained by the old code, and somebody who has just edited the file expects the new one.

    Raises:
        ConfigError: It has changed.
    """
    places = dict.fromkeys((key, place) for config in configs for key, place in own_places(config).items())
    for key, place in places:
        if changed := changed_since_loaded(place):
            modules, reasons = " and ".join(changed), "; ".join(dict.fromkeys(changed.values()))
            option = f"; give what varies as an option, {key}.NAME=VALUE" if key in {NORM, MODEL} else ""
            raise ConfigError(
                f"{setting_of(key, place)}: in this process {modules} {'is' if len(changed) == 1 else 'are'} not what "
                f"the file says: {reasons}. Restart Python, or call importlib.reload on each module, imported ones "
                f"first{option}."
            )


def refuse_code_found_by_importing(before: Mapping[str, OwnCode], config: RunConfig) -> None:
    """Raise if an own class has other modules now that it has been imported than its files told before.

    It extends ``sys.path``, say, before it imports a helper. Its runs would have one id before the import and another
    one after it.

    Args:
        before: What `own_code` found before the import.
        config: The settings of the run.

    Raises:
        ConfigError: There are other modules.
    """
    places = own_places(config)
    for key, now in own_code(config).items():
        if key in before and (more := sorted(now.modules.keys() ^ before[key].modules.keys())):
            raise ConfigError(
                f"{setting_of(key, places[key])} finds {' and '.join(more)} only while it is imported, so that its "
                "runs have no lasting id. Import it by a name that is found from the start: from the current folder, "
                "an installed package, or a folder in PYTHONPATH."
            )


def what_is_unread(config: RunConfig) -> list[str]:
    """Return a sentence or two for each own class of a run that depends on more than its code."""
    return [
        f"{setting_of(key, place)}: {', and '.join(code.unread[:2])}. A change of {_it_or_these(code)} is not noticed: "
        "after one, train with --again."
        for (key, place), code in zip(own_places(config).items(), own_code(config).values(), strict=True)
        if code.unread
    ]


def _it_or_these(code: OwnCode) -> str:
    return "it" if len(code.unread) == 1 else "these"


def facts_for_manifest(config: RunConfig) -> dict[str, Any]:
    """Return what a manifest says of a run's own classes: their modules with hashes, and what is in no hash."""
    return {key: {"modules": code.modules, "unread": list(code.unread)} for key, code in own_code(config).items()}


def versions(config: RunConfig) -> dict[str, str]:
    """Return the versions of all packages that can change a run's numbers, or how it is shown."""
    used = {package for code in own_code(config).values() for package in code.packages}
    return {**provenance.versions(), **provenance.versions_of_imports(used)}


def other_versions(manifest: Mapping[str, Any]) -> str:
    """Return with which other versions than today's a run was trained, such as ``torch 2.13.0, now 2.14.1``; else ''.

    Args:
        manifest: The content of the run's manifest.json.
    """
    then = manifest.get("versions")
    if not isinstance(then, Mapping):
        return ""
    common = provenance.versions()
    now = {name: common.get(name) for name in _CHANGE_NUMBERS} | provenance.versions_of_distributions(
        name for name in then if name not in {*common, "python"}
    )
    return ", ".join(
        f"{name} {then[name]}, now {found}"
        for name, found in now.items()
        if then.get(name) is not None and then[name] != found  # of a damaged file it may be a list
    )


def changed_code(manifest: Mapping[str, Any], config: RunConfig) -> list[str]:
    """Return the modules whose code is not what a run was trained with, each with the class that it belongs to.

    Args:
        manifest: The content of the run's manifest.json.
        config: The settings of the run.
    """
    then, now = manifest.get("code"), own_code(config)
    if not isinstance(then, Mapping):
        return []
    places = own_places(config)
    found = []
    for key, facts in then.items():
        known = facts.get("modules") if isinstance(facts, Mapping) else None
        if isinstance(known, Mapping):
            modules = _different(known, now.get(key, OwnCode({}, (), ())).modules)
            found += [f"{module} (of {setting_of(key, places.get(key) or key)})" for module in modules]
    return found


def _different(then: Mapping[str, Any], now: Mapping[str, str]) -> Sequence[str]:
    return [name for name in dict.fromkeys([*then, *now]) if then.get(name) != now.get(name)]
