"""What a person sees of studies in a terminal: the list, the card, the table at the end; in English and Chinese."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from example_studies import all_forms, condition, of_points, study
from rich.cells import cell_len

from bnlab.cli import consoles, study_text
from bnlab.pages.study_results import Lang
from bnlab.pages.words import Words
from bnlab.studies.study_search import known_studies

Say = Callable[..., Any]


class Window(consoles.OUT.__class__):  # type: ignore[misc, name-defined]
    """A console that is a window of some width."""

    is_terminal = True


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let results go to a window of 80 columns."""
    window = Window(width=80, highlight=False, color_system=None)
    for module in (consoles, study_text):
        monkeypatch.setattr(module, "OUT", window)


@pytest.mark.slow
@pytest.mark.usefixtures("narrow")
def test_studies_are_listed_in_80_columns_with_all_that_is_said_of_them(bnlab_says: Say) -> None:
    out = bnlab_says("list", "studies").out
    lines = out.splitlines()
    assert max(map(cell_len, lines)) <= 80
    assert len(lines) < 4 * len(known_studies(None))
    rows = json.loads(bnlab_says("list", "studies", "--json").out)
    assert {row["name"] for row in rows} <= set(out.split())
    beside = " ".join(line[26:] for line in lines).split()
    assert beside[beside.index("claim") + 2 :] == " ".join(row["claim"] for row in rows).split()
    assert re.search(r"S1–S10, S24, [0-9.]+ min", out)


def card(verdict: dict[str, Any], lang: Lang, capfd: pytest.CaptureFixture[str]) -> str:
    study_text.print_study(verdict, Words(lang))
    return " ".join(capfd.readouterr().out.split())


def failed_check() -> dict[str, Any]:
    says = {"en": "Check: the networks learn.", "zh": "检查：网络学得会。"}
    reason = "The experiment is no test of the claim, since a check is refuted: the networks learn."
    stress = {"agree": 6, "of": 9, "flips": ["with the median over seeds: refuted", "without seed 3: refuted"]}
    given = {"verdict": "inconclusive", "reason": reason, "checks": [condition(says=says, verdict="refuted")]}
    return study(**given, stress=stress, to_change="max_lr: 12 seeds, if the effect is 4 times")


@pytest.mark.parametrize("name", [*all_forms(), "failed check", "points"])
def test_the_chinese_card_has_no_english_sentence(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    others = {"failed check": failed_check(), "points": study(conditions=[of_points()])}
    verdict: dict[str, Any] = {**all_forms(), **others}[name]
    criterion = (
        "max_lr above 3. Supported if its interval lies there, refuted if it lies outside. 3 planned looks share "
    )
    verdict |= {
        "literature": {"en": "", "zh": ""},
        "changed": "",
        "command": "",
        "criterion": f"{criterion}an error of 4%.",
    }
    text = card(verdict, "zh", capfd)
    assert f"论断 {verdict['claim_zh']}" in text
    assert f"结论 {Words('zh')(verdict['verdict'])}" in text
    assert re.findall(r"[A-Za-z]{2,} [A-Za-z]{2,} [A-Za-z]{2,}", text) == []


def test_the_chinese_card_names_the_check_that_failed_and_what_would_change_it(
    capfd: pytest.CaptureFixture[str],
) -> None:
    text = card(failed_check(), "zh", capfd).replace(" ", "")
    assert "结论尚无定论实验未能检验该论断，因为有一项检查的结论为“否定”：网络学得会。" in text
    assert "换用种子中位数：否定；去掉种子3：否定。" in text
    assert "max_lr：若效应为4倍，需要12个种子" in text
    assert "8.91倍[5.2,15.3]（配对Studentt与Hall区间（取对数），Bonferroni分4份，n=10，95%）" in text


@pytest.mark.usefixtures("narrow")
def test_chinese_fills_its_lines_and_no_line_begins_with_a_mark(capfd: pytest.CaptureFixture[str]) -> None:
    says = {"en": "x", "zh": "使用 sigmoid 时，批标准化可用的最大学习率是不使用时的 3 倍以上，ReLU 也一样。" * 6}
    study_text.print_study(study(conditions=[condition(says=says)]), Words("zh"))
    lines = capfd.readouterr().out.splitlines()
    spoken = [line[18:].rstrip() for line in lines if "倍以上" in line]
    assert all(72 <= 18 + cell_len(line) <= 80 for line in spoken[:-1])
    assert not any(line.startswith(("，", "。", "：", " ")) for line in spoken)


@pytest.mark.parametrize(
    ("lang", "told"),
    [
        ("en", "8.91 [5.2, 15.3] times (paired Student's t and Hall of logs, Bonferroni over 4, 10 seeds, 99%)"),
        ("zh", "8.91 倍 [5.2, 15.3]（配对 Student t 与 Hall 区间（取对数），Bonferroni 分 4 份，n = 10，99%）"),
    ],
)
def test_the_method_stands_beside_each_interval_of_the_card(
    lang: Lang, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    method = "paired Student's t and Hall of logs, Bonferroni over 4"
    one, other = condition(method=method, level=0.99), condition(method=method, level=0.98)
    text = card(study(conditions=[one, other]), lang, capfd).replace(" ", "")
    assert text.count(told.replace(" ", "")) == 2  # effect, and the last line
    assert ("10seeds,asabove)" if lang == "en" else "n=10，同上）") in text
    assert text.count(told.replace(" ", "").replace("99%", "98%")) == 1


@pytest.mark.parametrize(
    ("rates", "lang", "told"),
    [
        ([1e-9, 1e-9], "en", "not trained: learning rate 1e-09"),
        ([1e-9, 1e-9], "zh", "未训练：学习率 1e-09"),
        ([0.1, 1e-9], "en", "at learning rate 0.1 and 1e-09 (not trained)"),
        ([0.1, 1e-5], "en", "at learning rate 0.1 and 1e-05 literature"),
    ],
)
def test_a_learning_rate_at_which_nothing_is_learned_is_said_to_be_no_training(
    rates: list[float], lang: Lang, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    one = condition(learning_rates=rates, stress={"agree": 0, "of": 0, "flips": []})
    text = card(study(conditions=[one]), lang, capfd)
    assert told.replace(" ", "") in text.replace(" ", "")


@pytest.mark.parametrize(
    ("lang", "told"),
    [
        ("en", "not known, 0 seeds. a-run has no diagnostic x. Did you mean y?"),
        ("zh", "未知，n = 0。 a-run 没有诊断 x。是否想写 y？"),
    ],
)
def test_where_an_effect_is_not_known_the_card_says_why(
    lang: Lang, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    nothing = dict.fromkeys(("effect", "low", "high", "level", "learning_rates"))
    one = condition(n=0, reason="a-run has no diagnostic x. Did you mean y?", verdict="inconclusive", **nothing)
    assert told.replace(" ", "") in card(study(also=[one]), lang, capfd).replace(" ", "")


def test_the_english_card_says_the_same_as_before(capfd: pytest.CaptureFixture[str]) -> None:
    text = card(failed_check(), "en", capfd)
    assert "verdict INCONCLUSIVE The experiment is no test of the claim" in text
    assert "8.91 [5.2, 15.3] times (paired Student's t and Hall of logs, Bonferroni over 4, 10 seeds, 95%)" in text
    assert "6 of 9 analyses of the same runs. It flips with the median over seeds: refuted; without seed 3" in text


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(("lang", "heading"), [("en", "study verdict effect"), ("zh", "实验 结论 效应")])
def test_the_table_of_verdicts_has_a_line_per_study_in_80_columns(
    lang: Lang, heading: str, capfd: pytest.CaptureFixture[str]
) -> None:
    names = [f"study-of-{number:02}-letters-x" for number in range(14)]
    study_text.print_claims([study(name, conditions=[of_points()]) for name in names], Words(lang))
    lines = capfd.readouterr().out.rstrip().splitlines()
    assert max(map(cell_len, lines)) <= 80
    assert " ".join(lines[1].split()).startswith(heading)
    assert [line.split()[0] for line in lines[3:]] == names


@pytest.mark.slow
def test_many_studies_end_with_their_verdicts_what_has_none_and_the_next_command(
    bnlab_says: Say, tmp_path: Path
) -> None:
    faulty = "claim: x\nconditions: [{metric: area, arm: batch, above: 0}]\nscales:\n  quick:\n    seeds: 5\n"
    faulty += "    minutes: 1\n    parts: {main: {words: {norm: batch, model.activation: sigmod}}}\n"
    (tmp_path / "mine.yaml").write_text(faulty, encoding="utf-8")
    answer = bnlab_says("study", "definitions", "mine.yaml", "--lang", "zh")
    assert answer.status == 2
    assert re.search(r"definitions\s+S1–S10, S24\s+\+ 支持", answer.out)
    assert "批标准化" in answer.err
    assert answer.err.splitlines()[-2:] == [
        "Page: bnlab report runs/studies --lang zh",
        "warning: 1 study has no verdict (see the errors above): mine",
    ]


@pytest.mark.slow
def test_a_card_in_chinese_waits_for_no_page() -> None:
    program = (
        "import sys; from bnlab.cli import study_text; from bnlab.pages.words import Words; Words('zh')('claim'); "
    )
    program += "print(sorted({'torch', 'jinja2', 'matplotlib', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
