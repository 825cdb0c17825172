"""The pack of contested claims: five studies, in both languages, whose words are settings of bnlab."""

import pytest

from bnlab.config.folders import conf_folder
from bnlab.studies.study_search import read_study

CONTESTED = ["dead-direction", "decay-on-scales", "derf-vs-norms", "dyt-few-data", "muon-plateau"]


def study(name):
    return read_study(conf_folder() / "study" / f"{name}.yaml").file


def test_the_pack_has_these_five():
    files = sorted((conf_folder() / "study").glob("*.yaml"))
    assert [path.stem for path in files if "pack: contested" in path.read_text(encoding="utf-8")] == CONTESTED
    assert study("dead-direction").pack == "contested"


@pytest.mark.parametrize("name", CONTESTED)
def test_every_sentence_is_there_in_english_and_chinese(name):
    file = study(name)
    says = [condition.says for condition in (*file.conditions, *file.also)]
    for text in (file.claim, file.literature, file.fools, file.protocol, *says):
        assert text.en
        assert any("一" <= letter <= "鿿" for letter in text.zh)
