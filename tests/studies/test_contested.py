"""The pack of contested claims."""

from bnlab.config.folders import conf_folder
from bnlab.studies.study_search import read_study

CONTESTED = [
    *("dead-direction", "decay-on-scales", "depth", "derf-vs-norms", "dyt-few-data", "muon-plateau"),
    *("residual-norms", "skipinit"),
]


def study(name):
    return read_study(conf_folder() / "study" / f"{name}.yaml").file


def test_the_pack_has_these_studies():
    files = sorted((conf_folder() / "study").glob("*.yaml"))
    assert [path.stem for path in files if "pack: contested" in path.read_text(encoding="utf-8")] == CONTESTED
    assert study("dead-direction").pack == "contested"
