"""bnlab: measure what normalization does.

The public names resolve when they are first used, so that `import bnlab` does not wait for torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnlab.errors import BnlabError as BnlabError
    from bnlab.errors import ConfigError as ConfigError
    from bnlab.errors import DataError as DataError
    from bnlab.errors import RunError as RunError
    from bnlab.errors import StudyError as StudyError
    from bnlab.experiment.loading import load_model as load_model
    from bnlab.experiment.single import train as train
    from bnlab.models.replaced_norms import replace_norms as replace_norms
    from bnlab.records import RunSummary as RunSummary
    from bnlab.results.frames import read_curves as read_curves
    from bnlab.results.frames import read_runs as read_runs
    from bnlab.stats.verdict import Verdict as Verdict
    from bnlab.stats.verdict import judge as judge
    from bnlab.traps.in_network import find_traps_in as find_traps_in

_PUBLIC = {
    "BnlabError": "bnlab.errors",
    "ConfigError": "bnlab.errors",
    "DataError": "bnlab.errors",
    "RunError": "bnlab.errors",
    "StudyError": "bnlab.errors",
    "RunSummary": "bnlab.records",
    "Verdict": "bnlab.stats.verdict",
    "find_traps_in": "bnlab.traps.in_network",
    "judge": "bnlab.stats.verdict",
    "load_model": "bnlab.experiment.loading",
    "norms": "bnlab.norms",
    "plot": "bnlab.plot",
    "read_curves": "bnlab.results.frames",
    "read_runs": "bnlab.results.frames",
    "replace_norms": "bnlab.models.replaced_norms",
    "train": "bnlab.experiment.single",
}

__all__ = list(_PUBLIC)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'bnlab' has no attribute '{name}'")
    from bnlab.failed_imports import saying_why_imports_fail  # noqa: PLC0415  (it imports bnlab itself)

    with saying_why_imports_fail():
        module = importlib.import_module(_PUBLIC[name])
    return module if name in {"norms", "plot"} else getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
