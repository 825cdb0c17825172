"""Both languages have every word, and the Chinese page has no English sentence of ours."""

import re
from pathlib import Path

import pytest
import yaml
from folded import folded
from judged_runs import Place, Written, rising, write_judged
from seen_page import see

import bnlab.pages.words
from bnlab.diagnostics.catalog import DIAGNOSTICS
from bnlab.pages import study_results
from bnlab.pages.condition_view import view_condition
from bnlab.pages.engine_sentences import in_chinese
from bnlab.pages.report_files import make_report
from bnlab.pages.sweep_numbers import rate_cell
from bnlab.pages.words import Words, article_statements
from bnlab.studies.condition import Condition
from bnlab.studies.condition_verdict import judge_condition
from bnlab.studies.quantity import read_quantity
from bnlab.studies.readings import read_figures

HERE = Path(bnlab.pages.words.__file__).parent
WORDS = yaml.safe_load((HERE / "words.yaml").read_text(encoding="utf-8"))
CHINESE = re.compile("[\u4e00-\u9fff]")


def test_every_word_is_there_in_both_languages_with_the_same_places() -> None:
    for key, texts in WORDS.items():
        assert set(texts) == {"en", "zh"}, key
        places = [set(re.findall(r"{(\w+)}", text)) for text in texts.values()]
        assert places[0] == places[1], key
        assert not CHINESE.search(texts["en"]), key


def test_chinese_is_written_with_its_own_marks() -> None:
    texts = [one["zh"] for one in WORDS.values()] + [texts.zh for _, texts in article_statements().values()]
    texts += [one["zh"] for one in yaml.safe_load((HERE / "sentences.yaml").read_text(encoding="utf-8"))]
    for text in texts:
        assert not re.search("[\u4e00-\u9fff][,;:?!]", text), text


def test_every_word_is_used() -> None:
    files = [*HERE.rglob("*.py"), *HERE.rglob("*.j2"), *(HERE.parent / "cli").glob("*.py")]  # cards are Chinese too
    used = "".join(path.read_text(encoding="utf-8") for path in files)
    built = ("count_", "read_", "kind_", "axis_", "pack_", "supported", "refuted", "inconclusive")
    of_metrics = {"test_accuracy", "test_loss", "max_lr", "area", "lr_sensitivity", "width", "steps_to", "seconds_to"}
    of_metrics |= {*DIAGNOSTICS, "holds", "does_not_hold", "exact"}
    unused = [
        key
        for key in WORDS
        if not re.search(f"[\"']{key}[\"']", used) and not key.startswith(built) and key not in of_metrics
    ]
    assert unused == []


def test_every_diagnostic_has_a_name_in_chinese() -> None:
    assert [name for name in DIAGNOSTICS if not CHINESE.search(WORDS.get(name, {}).get("zh", ""))] == []


def test_there_are_27_statements_of_four_kinds() -> None:
    statements = article_statements()
    assert list(statements) == [f"S{number}" for number in range(1, 28)]
    assert all(f"kind_{kind}" in WORDS for kind, _ in statements.values())
    assert all(texts.en.endswith(".") and CHINESE.search(texts.zh) for _, texts in statements.values())


def mixed(place: Place) -> Written | None:
    if place.seed == 3 and place.norm == "none":
        return None
    if place.norm == "none" and place.lr == 1.0:
        return rising(0.1, status="diverged")
    return rising(0.9 + 0.01 * place.seed * (-1) ** place.seed - 0.005 * (place.norm == "none"))


@pytest.mark.slow_but(1)
@pytest.mark.parametrize("seeds", [2, 4, 7])
def test_what_is_said_of_a_verdict_is_said_in_chinese(tmp_path: Path, seeds: int) -> None:
    folder = write_judged(tmp_path / "mine", mixed, lrs=(0.1, 1.0), seeds=range(seeds))
    page = see(make_report(str(folder), lang="zh").html)
    english = [one.text for one in page.all("span", lang="en")]
    assert english == []
    assert page.all("html")[0].attributes["lang"] == "zh-Hans"


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 4, 7])
def test_the_chinese_markdown_of_a_sweep_has_no_english_sentence(tmp_path: Path, seeds: int) -> None:
    norms = ("batch", "layer", "none")
    folder = write_judged(tmp_path / "mine", mixed, norms=norms, lrs=(0.1, 1.0), seeds=range(seeds))
    text = make_report(str(folder), lang="zh", arms=("batch", "layer")).markdown
    spoken = re.sub(r"```sh.*?```", "", text, flags=re.DOTALL)
    assert "batch 的测试准确率高于 layer" in spoken
    assert re.findall(r"[A-Za-z]{2,} [A-Za-z]{2,}", spoken) == []


CLAIMS = [
    *((metric, False, False) for metric in ("test_accuracy", "test_loss", "steps_to:0.9", "seconds_to:0.9", "max_lr")),
    *((metric, False, False) for metric in ("area", "lr_sensitivity", "width:model.init_std")),
    *(("saturation/hidden1", less, by_ratio) for less in (False, True) for by_ratio in (False, True)),
    ("mean loss_range/network/fixed_step", True, True),
]


@folded(("metric", "less", "by_ratio"), CLAIMS)
def test_each_claim_that_is_made_is_made_in_chinese(metric: str, less: bool, by_ratio: bool) -> None:
    quantity = read_quantity(metric, less, by_ratio)
    claim = quantity.claim("batch", "none", 0.01 if quantity.is_share else 2.0)
    chinese = in_chinese(claim)
    assert chinese is not None
    assert re.findall(r"[A-Za-z]{2,} [A-Za-z]{2,}", chinese.replace("mean loss_range", "loss_range")) == []
    assert {"batch", "none"} <= set(re.findall("[a-z]+", chinese))


@folded(
    "english",
    [
        "The test_accuracy of batch and none differs by less than 1 point.",
        "The saturation/hidden1 of batch is within 0.1 and 0.5.",
        "The share of the way from none to batch that batch_noisy goes, by area, is below 0.8.",
        "with its mean over all measured steps: refuted",
        "with the first half of the steps: inconclusive",
        "max_lr above 3 times. Supported if its interval lies there, refuted if it lies outside. Checked first: area "
        "below 90%. 1 planned look and later ones share an error of 4%.",
        "max_lr needs 2 or more learning rates, the runs have 0.1 alone. Sweep them: 'optim.lr=logspace(1e-3,10,9)'.",
        "width:a.b needs a seed with an outcome at each value of a.b, none has none (x). Run the sweep again.",
        "a-run-s0 has no saturation of hidden9. Did you mean hidden1?",
        "a-run-s0 has a validation accuracy of 10% before the first step, so that 5% is no target. Take a higher one.",
    ],
)
def test_what_the_rooms_that_judge_say_of_a_condition_is_said_in_chinese(english: str) -> None:
    assert re.findall(r"[A-Za-z]{2,} [A-Za-z]{2,}", in_chinese(english) or english) == []


def test_a_metric_is_named_in_chinese_with_its_layer() -> None:
    said = Words("zh").metric("mean preactivation_drift/hidden3/raw")
    assert said == "预激活漂移，hidden3/raw（均值）"
    assert Words("en").metric("gradient_ratio/network") == "gradient ratio, network"


def test_a_sentence_of_a_condition_that_has_none_in_its_file_is_made_in_both_languages(tmp_path: Path) -> None:
    folder = write_judged(tmp_path / "mine", mixed, lrs=(0.1,), seeds=range(3))
    for says, chinese in ((None, "batch 的 test_accuracy 大于 95%。"), ("It is above 3.", "It is above 3.")):
        one = Condition.model_validate({"metric": "test_accuracy", "arm": "batch", "above": 0.95, "says": says})
        found = judge_condition(one, read_figures(one, folder, 1, range(3)), 1).as_dict()
        shown = view_condition(study_results.Condition.model_validate(found), "1", "f", Words("zh"))
        assert shown.says.in_lang("zh")[0] == chinese


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("test_loss (main): with the median over seeds: refuted", "test_loss (main)：换用种子中位数：否定"),
        (
            "max_lr above 3; area (deep) within 0.5 and 1; 8 more",
            "max_lr 大于 3；area (deep) 在 0.5 与 1 之间；另有 8 个",
        ),
        ("width:model.init_std (relu): 12 seeds", "width:model.init_std (relu)：12 个种子"),
        (
            "19 seeds, if the effect is the one seen; steps_to:0.9: 109 seeds, if the effect is 1.56 times",
            "若效应即为所见，需要 19 个种子；steps_to:0.9：若效应为 1.56 倍，需要 109 个种子",
        ),
        ("a smallest effect of interest of 1.9 decades or more", "最小关注效应取 1.9 个数量级或更大"),
        ("Arms may have any name; they stay: all of them.", None),
    ],
)
def test_lists_and_what_stands_behind_a_name_are_translated_part_by_part(english: str, chinese: str | None) -> None:
    assert in_chinese(english) == chinese


def test_a_learning_rate_at_which_nothing_is_learned_is_said_to_be_no_training() -> None:
    assert rate_cell(1e-9, Words("en")).text == "1 × 10⁻⁹ (not trained)"
    assert rate_cell(1e-9, Words("zh")).text == "1 × 10⁻⁹ (未训练)"
    assert rate_cell(1e-5, Words("en")).text == "1 × 10⁻⁵"


def test_a_sentence_that_nobody_translated_is_marked_as_english() -> None:
    assert in_chinese("Something new was said.") is None
