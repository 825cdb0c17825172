"""What a run's manifest says of how it was made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bnlab import provenance
from bnlab.experiment.checking import Checked
from bnlab.runfolder.identity import run_id
from bnlab.runfolder.index import flatten
from bnlab.schema import RunConfig


def manifests_of(checked: Checked, configs: Sequence[RunConfig], engine: str) -> list[dict[str, Any]]:
    """Return what the manifests of a cohort's runs say before they are trained.

    Args:
        checked: What `check` made of the first.
        configs: Of all of them, in order.
        engine: How they are trained.
    """
    data = checked.data
    sizes = {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)}
    facts = {
        "command": provenance.command(),
        "git": provenance.git_state(Path(__file__).parent),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(),
        "device": str(checked.device),
        "threads": checked.num_threads,
        "engine": engine,
        "data": {
            "found_in": data.found_in,
            "num_images": sizes,
            "input_shape": list(data.input_shape),
            "num_classes": data.num_classes,
        },
        "num_steps": checked.plan.num_steps,
        "started": provenance.now(),
    }
    if engine == "sequential":
        return [{**facts, "cohort": None} for _ in configs]
    cohort = {"runs": [run_id(config) for config in configs], "varies": what_varies(configs)}
    return [{**facts, "cohort": {"position": position, **cohort}} for position in range(len(configs))]


def what_varies(configs: Sequence[RunConfig]) -> dict[str, list[Any]]:
    """Return the settings in which configs differ: dotted key -> one value per config.

    Args:
        configs: Of one cohort.
    """
    flat = [flatten(config.as_dict()) for config in configs]
    return {key: [one[key] for one in flat] for key in flat[0] if any(one[key] != flat[0][key] for one in flat)}
