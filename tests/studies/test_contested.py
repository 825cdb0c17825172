"""The pack of contested claims: five studies, in both languages, whose words are settings of bnlab."""

import pytest

from bnlab.config.compose import compose_run
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


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTESTED[1:])  # the first trains nothing
def test_the_words_of_every_scale_are_settings(name):
    for scale in study(name).scales.values():
        for part in scale.parts.values():
            firsts = {key: value[0] if isinstance(value, list) else value for key, value in part.words.items()}
            firsts = {key: str(value).lower() if isinstance(value, bool) else value for key, value in firsts.items()}
            compose_run([f"{key}={value}" for key, value in firsts.items() if "logspace" not in str(value)])
