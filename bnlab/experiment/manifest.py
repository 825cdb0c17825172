"""Writes how a run was trained into its manifest, and reads its cohort's configs from there. No torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from bnlab import provenance
from bnlab.config.complaints import say_what_is_wrong
from bnlab.data.fingerprint import content_fingerprint
from bnlab.errors import RunError
from bnlab.identity.changes import changed_code, facts_for_manifest, versions
from bnlab.identity.run_id import run_id
from bnlab.runfolder.index import flatten
from bnlab.schema import RunConfig

if TYPE_CHECKING:
    from bnlab.experiment.checking import Checked


def manifests_of(checked: "Checked", configs: Sequence[RunConfig], engine: str) -> list[dict[str, Any]]:
    """Return the manifests of a cohort's runs before training: who trains them, where, on which data.

    Args:
        checked: What `check` found for the first config.
        configs: The settings of all runs, in order.
        engine: ``sequential`` for one run alone, ``vectorized`` for stacked runs.
    """
    data = checked.data
    content = content_fingerprint(configs[0].data)
    sizes = {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)}
    facts = {
        "command": provenance.command(),
        "git": provenance.git_state(Path(__file__).parent),
        "versions": versions(configs[0]),
        "hardware": provenance.hardware(),
        "device": str(checked.device),
        "threads": checked.num_threads,
        "engine": engine,
        "data": {
            "found_in": data.found_in,
            "num_images": sizes,
            "input_shape": list(data.input_shape),
            "num_classes": data.num_classes,
            **({} if content is None else {"content": content}),
        },
        "num_steps": checked.plan.num_steps,
        "started": provenance.now(),
    }
    if code := facts_for_manifest(configs[0]):  # runs of one cohort have one norm and the same diagnostics
        facts["code"] = code
    ids = [run_id(config) for config in configs]
    if engine == "sequential":
        return [{"run_id": own, **facts, "cohort": None} for own in ids]
    cohort = {"runs": ids, "varies": what_varies(configs)}
    return [{"run_id": own, **facts, "cohort": {"position": i, **cohort}} for i, own in enumerate(ids)]


def what_varies(configs: Sequence[RunConfig]) -> dict[str, list[Any]]:
    """Return the settings in which configs differ: dotted key -> one value per config.

    Args:
        configs: The settings of the runs of one cohort.
    """
    flat = [flatten(config.as_dict()) for config in configs]
    return {key: [one[key] for one in flat] for key in flat[0] if any(one[key] != flat[0][key] for one in flat)}


def cohort_from(manifest: Mapping[str, Any]) -> list[RunConfig]:
    """Return the configs of all runs that a run was trained together with, in order, its own among them.

    Args:
        manifest: The content of the run's manifest.json.

    Raises:
        RunError: The manifest is damaged or from another version of bnlab, or its data or the code
            of a class that is not bnlab's have changed since.
        DataError: The file that data.path names is gone.
    """
    try:
        cohort = manifest["cohort"] or {"varies": {}, "runs": [manifest.get("run_id")]}
        configs = [
            RunConfig.model_validate(_with_values(manifest["config"], cohort["varies"], position))
            for position in range(len(cohort["runs"]))
        ]
        ids = [run_id(config) for config in configs]
    except ValidationError as error:
        raise RunError(f"the run was trained by another version of bnlab: {say_what_is_wrong(error)}") from error
    except (KeyError, TypeError, IndexError) as error:
        raise RunError(f"the manifest does not say how the run was trained: {error!r}. Train it again.") from error
    changed = [known for known, found in zip(cohort["runs"], ids, strict=True) if known not in {None, found}]
    if changed:
        modules = changed_code(manifest, configs[0])
        what = f"the code of {', '.join(modules)} has" if modules else "its data or the version of bnlab have"
        raise RunError(f"{changed[0]} would be another run today: {what} changed. Train it again.")
    return configs


def _with_values(config: Mapping[str, Any], varies: Mapping[str, Sequence[Any]], position: int) -> dict[str, Any]:
    """Return a config as plain values, in which the values of one cohort member replace its own."""
    changed = dict(config)
    for key, values in varies.items():
        *groups, name = key.split(".")
        section = changed
        for group in groups:
            section[group] = dict(section[group])
            section = section[group]
        section[name] = values[position]
    return changed
