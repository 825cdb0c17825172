"""Both languages have every word, and the Chinese page has no English sentence of ours."""

import re
from pathlib import Path

import pytest
import yaml
from judged_runs import Place, Written, rising, write_judged
from seen_page import see

import bnlab.pages.words
from bnlab.pages.engine_sentences import in_chinese
from bnlab.pages.report_files import make_report
from bnlab.pages.sweep_page import rate_cell
from bnlab.pages.words import Words, article_statements

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
    files = [*HERE.rglob("*.py"), *HERE.rglob("*.j2"), HERE.parent / "cli" / "study_text.py"]  # cards are Chinese too
    used = "".join(path.read_text(encoding="utf-8") for path in files)
    built = ("count_", "read_", "kind_", "axis_", "pack_", "supported", "refuted", "inconclusive")
    of_metrics = {"test_accuracy", "test_loss", "max_lr", "area", "lr_sensitivity", "width", "steps_to", "seconds_to"}
    of_metrics |= {"saturation", "gradient_norm", "dead_fraction", "holds", "does_not_hold", "exact"}
    unused = [
        key
        for key in WORDS
        if not re.search(f"[\"']{key}[\"']", used) and not key.startswith(built) and key not in of_metrics
    ]
    assert unused == []


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


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("test_loss (main): with the median over seeds: refuted", "test_loss (main)：换用种子中位数：否定"),
        (
            "max_lr above 3; area (deep) within 0.5 and 1; 8 more",
            "max_lr 大于 3；area (deep) 在 0.5 与 1 之间；另有 8 个",
        ),
        ("width:model.init_std (relu): 12 seeds", "width:model.init_std (relu)：12 个种子"),
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
