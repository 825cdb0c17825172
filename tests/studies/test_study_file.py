import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from bnlab.errors import ConfigError
from bnlab.results.arms import LEARNING_RATE, read_arms
from bnlab.results.query import read_condition
from bnlab.runfolder.index import by_name, flatten
from bnlab.studies.grid_figures import with_values_as_rates
from bnlab.studies.study_file import StudyFile
from bnlab.studies.study_search import find_studies, known_studies, read_study
from bnlab.studies.study_sweeps import Tuned, main_sweep, tuning_sweep
from bnlab.sweeps.grid import expand

STUDIES = sorted(known_studies(None))

SMALL: dict[str, Any] = {
    "claim": {"en": "Batch normalization is better.", "zh": "批标准化更好。"},
    "conditions": [{"metric": "test_accuracy", "arms": ["batch", "none"], "above": 0.01}],
    "scales": {"quick": {"seeds": 5, "minutes": 1, "parts": {"main": {"words": {"norm": ["batch", "none"]}}}}},
}


def write_study(folder: Path, content: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return path


@pytest.mark.slow
def test_all_stands_for_the_article_and_a_pack_for_its_studies():
    everything = [study.name for study in find_studies(["all"], None)]
    assert len(everything) == len(set(everything)) >= 14
    assert all(study.file.pack == "article" for study in find_studies(["all"], None))
    assert all(study.file.pack == "contested" for study in find_studies(["contested"], None))


def test_the_studies_are_about_all_statements_that_can_be_asked_today():
    asked = {one for study in find_studies(["all"], None) for one in study.file.statements}
    assert asked >= {f"S{number}" for number in range(1, 28)}


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_speaks_english_and_chinese_and_says_what_fools(name: str):
    study = read_study(known_studies(None)[name])
    file = study.file
    scales = file.scales.values()
    asked = [*file.conditions, *file.checks, *file.also]
    asked += [one for each in scales for of in (each.conditions, each.checks, each.also) for one in of or ()]
    own = [text for each in scales for text in (each.claim, each.protocol) if text is not None]
    for text in (file.claim, file.literature, file.fools, file.protocol, *own, *(one.says for one in asked)):
        assert text is not None
        assert any("一" <= sign <= "鿿" for sign in text.zh)
        assert not any("一" <= sign <= "鿿" for sign in text.en)
    assert file.source
    assert set(file.scales) >= {"quick"}
    assert study.path.read_text("utf-8").startswith("# ")
    assert f"bnlab study {name}\n" in study.path.read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "scale"), [(n, s) for n in STUDIES for s in ("quick", "full")], ids=lambda value: str(value)
)
def test_the_runs_of_a_study_can_be_planned(name: str, scale: Any):
    file = read_study(known_studies(None)[name]).file
    if scale not in file.scales:
        pytest.skip(f"{name} has no scale {scale}")
    for part in file.scales[scale].parts.values():
        tuning = tuning_sweep(part)
        tuned = None if tuning is None else Tuned({"batch": 0.1, "none": 1.0}, ())
        for sweep in [tuning, main_sweep(part, range(3), tuned)]:
            if sweep is not None:
                grid = expand([f"name={sweep.name}", *sweep.words], None)
                assert grid.configs
                assert grid.name == sweep.name


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_each_arm_that_a_study_names_is_one_of_those_that_it_trains(name: str):
    file = read_study(known_studies(None)[name]).file
    for scale, sized in file.scales.items():
        for condition in (*file.conditions_at(scale), *file.checks_at(scale), *file.also_at(scale)):
            if condition.law is not None:
                continue
            part = sized.parts[condition.part or next(iter(sized.parts))]
            sweep = main_sweep(part, range(1), part.tune and Tuned({"batch": 0.1, "none": 1.0}, ()))
            grid = expand([f"name={sweep.name}", *sweep.words], None)
            rows = [{"run_id": "", "status": "failed", **by_name(flatten(c.as_dict()))} for c in grid.configs]
            for text in condition.where:
                rows = list(filter(read_condition(text, rows).holds, rows))
            quantity = condition.quantity()
            ranged = quantity.key if quantity.kind == "width" else LEARNING_RATE
            arms = read_arms(*with_values_as_rates(rows, grid.swept, ranged), []).arms
            for word in condition.arms or condition.recovered or (condition.arm,):
                named = [arm for arm in arms if word in {arm.label, arm.folder_name}]
                named = named or [arm for arm in arms if word in map(str, arm.settings.values())]
                assert len(named) == 1, f"{scale}: {word}"


def test_equal_runs_of_two_studies_have_one_folder():
    words = {"norm": ["batch", "none"], "optim.lr": [0.1, 1.0]}
    first, second = (copy.deepcopy(SMALL) for _ in range(2))
    first["scales"]["quick"]["parts"]["main"]["words"] = words
    second["scales"]["quick"]["parts"]["main"]["words"] = dict(reversed(words.items()))
    second["claim"] = "Another one."
    parts = [_part(content) for content in (first, second)]
    assert main_sweep(parts[0], range(5), None).name == main_sweep(parts[1], range(10), None).name
    second["scales"]["quick"]["parts"]["main"]["words"] = {**words, "optim.lr": [0.1, 3.0]}
    assert main_sweep(_part(second), range(5), None).name != main_sweep(parts[0], range(5), None).name


def _part(content: dict[str, Any]) -> Any:
    return StudyFile.model_validate(content).scales["quick"].parts["main"]


def _with(path: str, value: Any) -> dict[str, Any]:
    content: Any = copy.deepcopy(SMALL)
    place = content
    *above, last = path.split(".")
    for key in above:
        place = place[int(key)] if key.isdigit() else place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return dict(content)


def _condition(**content: Any) -> dict[str, Any]:
    return _with("conditions", [content])


FAULTS = [
    (_with("claim", None), "claim: it is missing"),
    (_with("verdict", "supported"), "verdict: there is no such key"),
    (_with("conditions", []), "conditions: "),
    (_with("conditions.0.above", None), "exactly one of above, below, within must be given"),
    (_with("conditions.0.below", 1), "exactly one of above, below, within must be given"),
    (_with("conditions.0.arm", "batch"), "exactly one of arms, arm, recovered, law must be given"),
    (_with("conditions.0.metric", "test_acuracy"), "metric must be"),
    (_with("conditions.0.metric", None), "metric must be given"),
    (_with("conditions.0.part", "other"), "part other is none of scales.quick: main"),
    (_with("conditions.0.above", float("inf")), "must be finite"),
    (_with("looks", [10, 5]), "looks must rise"),
    (_with("scales.quick.seeds", 7), "scales.quick.seeds must be one of looks"),
    (_with("scales.quick.parts.main.words.seed", "range(3)"), "words must not set seed"),
    (_with("scales.quick.parts.main.words.optim", {"lr": 1}), "dotted keys and no sections"),
    (_with("scales.quick.parts.main.tune", {"seeds": 3}), "tune needs several values of optim.lr"),
    (_with("scales.slow", {}), "scales.slow"),
    (_with("scales.quick.conditions", []), "scales.quick.conditions"),
    (_with("first_seed", 995), "where the seeds of tuning begin"),
    (
        _condition(metric="steps_to:0.9", arms=["batch", "none"], above=0),
        "above for steps_to:0.9 must be finite, 1 or more",
    ),
    (
        _condition(metric="steps_to:0.9", arms=["batch", "none"], above=0.8),
        "above for steps_to:0.9 must be 1 or more (a factor: 1.25 is a quarter more), got 0.8, with which the first "
        "arm might be the worse one. To claim that they are alike, take within: 1.25.",
    ),
    (
        _condition(metric="gradient_norm/hidden1", arms=["batch", "none"], scale="ratio", above=0.5),
        "above for gradient_norm/hidden1 must be 1 or more",
    ),
    (_condition(metric="steps_to:0.9", arms=["batch", "none"], within=0.5), "within for steps_to:0.9 must be above 1"),
    (_condition(metric="test_accuracy", arms=["batch", "none"], within=1.5), "within for test_accuracy is a share"),
    (_condition(metric="test_accuracy", arm="batch", above=95), "0 to 1: 0.95 is 95%. Got 95"),
    (_condition(metric="steps_to:0.9", arm="batch", below=0), "below for steps_to:0.9 of one arm must be above 0"),
    (_condition(metric="test_accuracy", arms=["batch", "batch"], above=0.01), "arms must be two different ones"),
    (
        _condition(metric="test_accuracy", arms=["batch", "none"], above=2),
        "above for test_accuracy is a share, below 1",
    ),
    (
        _condition(metric="test_accuracy", arms=["batch", "none"], above=-0.9),
        "above for test_accuracy must be finite, 0",
    ),
    (_condition(metric="saturation/hidden1", arm="batch", above=0, less=True), "less and scale are for two arms"),
    (_condition(law="bach_mean", below=1e-5), "law bach_mean is not known. Did you mean batch_mean"),
    (_condition(metric="test_accuracy", arms=["batch", "none"], within=[0, 1]), "one number for two arms"),
]


@pytest.mark.parametrize(("content", "told"), FAULTS, ids=[told for _, told in FAULTS])
def test_a_fault_of_a_file_is_told_with_its_place(tmp_path: Path, content: dict[str, Any], told: str):
    path = write_study(tmp_path, content)
    with pytest.raises(ConfigError) as raised:
        read_study(path)
    assert told in str(raised.value)
    assert str(raised.value).startswith(str(path))
    assert str(raised.value).count("\n") == 0


def test_a_factor_of_one_asks_for_any_difference():
    any_more = _condition(metric="max_lr", arms=["batch", "none"], above=1)
    assert StudyFile.model_validate(any_more).conditions[0].sesoi == 1


SEVERAL = [
    (
        _with("claim", {"en": "x", "zhh": "y"}) | {"looks": ["five"]},
        "claim.zhh: there is no such key (and 1 more). Did you mean zh?",
    ),
    (
        {"claim": [1], "verdict": "supported"},
        "claim: must be a text, or one in English and one in Chinese, {en: ..., zh: ...}, got [1] (and 3 more).",
    ),
    (_with("claim", ""), "claim: must not be empty."),
    # one value, tried as a number and as a pair, and the list that it leaves empty, are one fault
    (_condition(metric="test_accuracy", arms=["batch", "none"], within="much"), "within: must be a number, got much."),
    (_condition(metric="test_accuracy", arms=["batch", "none"], above="1%"), "got 1%. Write a share: 0.01 is 1%."),
    (
        _condition(metric="test_accuracy", arms=["layer"], above=0.01),
        "conditions.0.arms: it has too few items, got ['layer'].",
    ),
    (_condition(metric="test_accuracy", arms=[], above=0.01), "conditions.0.arms: it has too few items, got []."),
    (_condition(metric="area", recovered=["a", "b"], above=0.01), "0.recovered: it has too few items, got ['a', 'b']."),
    (_condition(metric="test_accuracy", arms="layer,none", above=0.01), "Brackets make it one: [layer,none]."),
    (_with("looks", 3), "looks: must be a list, got 3. Brackets make it one: [3]."),
    (_with("conditions", {"arm": "batch"}), "conditions: must be a list, got {'arm': 'batch'}."),
    (_with("conditions", [3]), "conditions.0: must hold keys and values, got 3."),
    # a key that is misspelled, and that is missing for that reason, is one fault
    (
        {**{k: v for k, v in SMALL.items() if k != "claim"}, "clam": "x"},
        "clam: there is no such key. Did you mean claim?",
    ),
    (_condition(metric="test_accuracy", arms=["batch", "none"], abov=0.01), "Did you mean above?"),
    (_with("seeds", 5), "seeds: there is no such key. It is a key of scales.NAME or scales.NAME.parts.NAME.tune."),
    (_condition(metric="test_accuracy", arms=["batch", "none"], above="a|b"), "above: must be a number, got a|b."),
    (_with("conditions", []), "conditions: must have 1 or more items, got 0."),
]


@pytest.mark.parametrize(("content", "told"), SEVERAL, ids=[told for _, told in SEVERAL])
def test_the_first_of_several_faults_is_told_with_the_number_of_the_others(tmp_path: Path, content: Any, told: str):
    with pytest.raises(ConfigError) as raised:
        read_study(write_study(tmp_path, content))
    assert str(raised.value).endswith(told)


def test_the_hash_of_a_criterion_is_that_of_what_decides():
    same = [_with("claim", "Other words."), _with("source", "somewhere")]
    others = [
        _with("conditions.0.above", 0.02),
        _with("looks", [5, 10]),
        _with("scales.quick.parts.main.words.norm", ["batch", "layer"]),
    ]
    hashes = [StudyFile.model_validate(content).criterion_hash("quick") for content in [SMALL, *same, *others]]
    assert hashes[0] == hashes[1] == hashes[2]
    assert all(one != other for one, other in itertools.combinations([hashes[0], *hashes[3:]], 2))


def test_studies_are_found_by_the_statement_that_they_are_about():
    assert [study.name for study in find_studies(["S22"], None)] == ["regularization"]
    assert [study.name for study in find_studies(["s22"], None)] == ["regularization"]
    with pytest.raises(ConfigError, match=r"^no study is about S99\. Studies are about S"):
        find_studies(["S99"], None)


def test_a_copy_of_a_study_must_have_another_name(tmp_path: Path):
    copied = tmp_path / "definitions.yaml"
    copied.write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"has the name of another study.*Rename it, to my_definitions\.yaml"):
        find_studies([str(copied)], None)


def test_a_file_of_ones_own_is_not_of_the_article(tmp_path: Path):
    assert read_study(write_study(tmp_path, SMALL)).file.pack == "own"
    assert read_study(known_studies(None)["definitions"]).file.pack == "article"


def test_a_study_that_is_not_known_is_told_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"study definition is not known\. Did you mean definitions"):
        find_studies(["definition"], None)


def test_a_text_with_a_colon_is_told_to_need_quotes(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("claim: Layer norm: fewer steps\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"line 1 cannot be read as YAML.*A text with a colon in it needs quotes"):
        read_study(path)
