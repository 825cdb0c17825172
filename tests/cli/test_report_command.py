import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from example_studies import study, write_studies
from judged_runs import Place, Written, rising, write_judged

from bnlab.pages.report_files import Report, write_report
from bnlab.pages.study_results import Lang

Say = Callable[..., Any]


def run(place: Place) -> Written | None:
    return rising({"batch": 0.9, "none": 0.8}[place.norm] + 0.001 * place.seed)


@pytest.mark.slow
def test_report_writes_its_files_beside_the_studies(bnlab_says: Say, tmp_path: Path) -> None:
    folder = write_studies(tmp_path / "runs" / "studies", {"one": study()})
    answer = bnlab_says("report", "runs/studies", "--csv")
    assert answer.status == 0
    assert [Path(line) for line in answer.out.splitlines()] == [
        folder / f"report.{kind}" for kind in ("html", "md", "csv")
    ]
    before = (folder / "report.html").read_bytes()
    assert bnlab_says("report", "studies", "-q").out == ""  # by name among the runs, and over the old files
    assert (folder / "report.html").read_bytes() == before


@pytest.mark.slow
def test_report_shows_one_study_a_sweep_by_name_and_all_runs(bnlab_says: Say, tmp_path: Path) -> None:
    folder = write_studies(tmp_path / "runs" / "studies", {"one": study()})
    write_judged(tmp_path / "runs" / "mine", run, seeds=range(3))
    assert bnlab_says("report", str(folder / "one-quick.json"), "--output", "page.html").status == 0
    assert Path("page.html").exists()
    assert Path("page.md").exists()
    assert (Path("page.md").read_text(encoding="utf-8")).count("report.html") == 0  # figures are in page.html
    assert bnlab_says("report", "mine", "--lang", "zh").status == 0
    assert 'lang="zh-Hans"' in (tmp_path / "runs" / "mine" / "report.html").read_text(encoding="utf-8")
    assert bnlab_says("report", "runs", "-o", "pages").status == 0
    assert "S19" in Path("pages/report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_page_of_one_study_leaves_that_of_all_alone(bnlab_says: Say, tmp_path: Path) -> None:
    folder = write_studies(tmp_path / "runs" / "studies", {"one": study(), "two": study("two")})
    assert bnlab_says("report", "runs/studies").status == 0
    before = (folder / "report.html").read_bytes()
    answer = bnlab_says("report", str(folder / "one-quick.json"), "--csv")
    assert [Path(line).name for line in answer.out.split()] == ["one-quick.html", "one-quick.md", "one-quick.csv"]
    assert (folder / "report.html").read_bytes() == before
    assert bnlab_says("report", str(folder / "two-quick.json"), "-o", "pages").status == 0
    assert Path("pages/two-quick.html").exists()


def write_page(folder: Path, lang: Lang, text: str, output: Path | None = None) -> list[str]:
    """Write a page that is its head alone, as the command does; return the names of the files that were kept."""
    html_lang = {"en": "en", "zh": "zh-Hans"}[lang]
    head = f'<!DOCTYPE html>\n<html lang="{html_lang}">\n<head>\n<meta name="generator" content="bnlab 1">\n'
    written = write_report(Report(folder, "report", lang, head + text, text, ""), output)
    return [path.name for path in written.kept]


def test_a_page_in_the_other_language_is_kept(tmp_path: Path) -> None:
    def files() -> dict[str, str]:
        return {path.name: path.read_text(encoding="utf-8")[-3:] for path in sorted(tmp_path.glob("*.*"))}

    assert write_page(tmp_path, "en", "en1") == []
    assert write_page(tmp_path, "en", "en2") == []
    assert files() == {"report.html": "en2", "report.md": "en2"}
    assert write_page(tmp_path, "zh", "zh1") == ["report.en.html", "report.en.md"]
    assert files() == {"report.en.html": "en2", "report.en.md": "en2", "report.html": "zh1", "report.md": "zh1"}
    assert write_page(tmp_path, "zh", "zh2") == []
    assert files()["report.en.html"] == "en2"
    assert write_page(tmp_path, "en", "en3") == ["report.zh.html", "report.zh.md"]
    assert files() == {"report.html": "en3", "report.md": "en3", "report.zh.html": "zh2", "report.zh.md": "zh2"}


def test_a_file_that_is_named_is_written_over_and_nobody_elses_is_moved(tmp_path: Path) -> None:
    write_page(tmp_path, "en", "en1", tmp_path / "page.html")
    assert write_page(tmp_path, "zh", "zh1", tmp_path / "page.html") == []
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["page.html", "page.md"]
    (tmp_path / "report.html").write_text('<!DOCTYPE html>\n<html lang="en"><head></head>mine', encoding="utf-8")
    assert write_page(tmp_path, "zh", "zh2") == []


@pytest.mark.slow
def test_the_command_says_where_the_page_in_the_other_language_is(bnlab_says: Say, tmp_path: Path) -> None:
    folder = write_studies(tmp_path / "runs" / "studies", {"one": study()})
    bnlab_says("report", "studies")
    english = (folder / "report.html").read_bytes()
    answer = bnlab_says("report", "studies", "--lang", "zh")
    assert [Path(line).name for line in answer.out.split()] == ["report.html", "report.md"]
    assert answer.err.splitlines() == [f"kept, in English: {folder / f'report.en.{kind}'}" for kind in ("html", "md")]
    assert (folder / "report.en.html").read_bytes() == english
    assert "英文版：同一命令，不加语言选项" in (folder / "report.html").read_text(encoding="utf-8")


def three(place: Place) -> Written | None:
    return rising({"batch": 0.9, "layer": 0.85, "none": 0.8}[place.norm] + 0.001 * place.seed)


@pytest.mark.slow
def test_arms_of_a_sweep_are_chosen_and_the_others_named(bnlab_says: Say, tmp_path: Path) -> None:
    write_judged(tmp_path / "runs" / "mine", three, norms=("batch", "layer", "none"), seeds=range(3))
    page = tmp_path / "runs" / "mine" / "report.md"
    assert bnlab_says("report", "mine").status == 0
    text = page.read_text(encoding="utf-8")
    assert "batch has a higher test accuracy than layer" not in text
    assert "this sweep has 3: batch, layer, none. Choose the two that your claim is about:" in text
    assert "bnlab report mine --arms batch,layer" in text
    assert bnlab_says("report", "mine", "--arms", "layer,none").status == 0
    text = page.read_text(encoding="utf-8")
    assert "layer has a higher test accuracy than none" in text
    assert "which were chosen: layer and none. The others: batch." in text
    assert "bnlab report mine --arms layer,none" in text  # how to repeat it
    assert "bnlab report mine --arms layer,batch" in text  # how to compare others


@pytest.mark.slow
def test_of_many_arms_a_few_are_named_and_the_figures_show_those_that_were_chosen(bnlab_says: Say) -> None:
    norms = [f"norm{number:02}" for number in range(12)]
    write_judged(Path("runs/mine"), lambda at: rising(0.8 + 0.01 * int(at.norm[4:])), norms=norms, seeds=range(3))
    assert bnlab_says("report", "mine", "--arms", "norm11,norm10").status == 0
    text = Path("runs/mine/report.md").read_text(encoding="utf-8")
    assert "The others: norm00, norm01, norm02, norm03, norm04, norm05, norm06, norm07, 2 more." in text
    curves = text.partition("## Validation accuracy over the steps")[2]
    assert "| step | norm11 | norm10 | norm00 |" in curves


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nope"], "nope is neither a folder of runs nor the name of a sweep"),
        (["runs/studies"], "no study has been run. Run one: bnlab study"),
        (["page.txt"], "should be a file of JSON"),
        (["batch-mlp-digits-lr0.1-s0-00000000"], "holds neither results of studies nor the runs of a sweep"),
        (["empty"], "holds neither results of studies nor the runs of a sweep"),
        (["bad.json"], "should be a study's result in JSON"),
        (["studies", "--arms", "batch,none"], "--arms is for a sweep: studies holds studies, whose files name their"),
        (["mine", "--arms", "batch,nome"], "--arms nome: the sweep has no such arm. Did you mean none"),
        (["mine", "--arms", "batch"], "--arms takes two different arms, as batch,none, got batch."),
        (["mine", "--lang", "fr"], "'fr' is not one of 'en', 'zh'"),
        (["mine", "--output", "page.pdf"], "should be a folder, or a file that ends in .html"),
    ],
)
def test_wrong_input_gets_one_sentence_and_exit_2(bnlab_says: Say, tmp_path: Path, words: list[str], says: str) -> None:
    (tmp_path / "page.txt").touch()
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "empty").mkdir()
    write_judged(tmp_path / "runs" / "mine", run, seeds=range(3))
    write_studies(tmp_path / "studies", {"one": study()})
    answer = bnlab_says("report", *words)
    assert answer.status == 2
    assert says in answer.err.replace("\n", " ")
    assert answer.out == ""
    assert "Traceback" not in answer.err
    assert not list(tmp_path.rglob("report.html"))


def test_a_place_that_cannot_be_written_to_is_named(bnlab_says: Say, tmp_path: Path) -> None:
    write_studies(tmp_path / "studies", {"one": study()})
    (tmp_path / "file").touch()
    answer = bnlab_says("report", "studies", "-o", "file/page.html")
    assert answer.status == 1
    assert "page.html cannot be written" in answer.err


@pytest.mark.slow
def test_report_does_not_wait_for_torch(tmp_path: Path) -> None:
    write_judged(tmp_path / "runs" / "mine", run, lrs=(0.1, 1.0), seeds=range(3))
    program = "import sys; sys.argv = ['bnlab', 'report', 'mine']\nfrom bnlab.cli.app import main\n"
    program += "try:\n    main()\nexcept SystemExit as end:\n    print(end.code or 0, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False"
