"""Finds what a path means, makes its page, and writes it beside."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bnlab.errors import ConfigError, RunError
from bnlab.pages.csv_rows import studies_csv, sweep_csv
from bnlab.pages.markdown_page import studies_markdown, sweep_markdown
from bnlab.pages.other_language import keep_other_language
from bnlab.pages.studies_page import make_studies_page
from bnlab.pages.study_results import Lang, is_study_file, read_studies, study_files
from bnlab.pages.sweep_page import make_sweep_page
from bnlab.pages.words import Words
from bnlab.runfolder.finding import at_home, find_folder, runs_root
from bnlab.runfolder.whole_files import write_whole
from bnlab.studies.study_history import FOLDER

NAME = "report"
"""The name of the files, without what follows the point; those of one study have its name."""

LANGS = ("en", "zh")


@dataclass(frozen=True)
class Report:
    """A page in its forms.

    Attributes:
        home: The folder that its files are written to where no other one is named.
        name: The name of its files where no other one is given, without what follows the point.
        lang: Its language.
        html: The page as HTML.
        markdown: The page as Markdown.
        csv: Its numbers.
    """

    home: Path
    name: str
    lang: Lang
    html: str
    markdown: str
    csv: str


def make_report(given: str, runs: Path | None = None, lang: Lang = "en", arms: Sequence[str] = ()) -> Report:
    """Return the page of what a word means.

    Args:
        given: A folder of studies' results, one of these files, or a sweep by name or folder.
        runs: The folder of all runs; None: BNLAB_RUNS, else ./runs.
        lang: Language of the page: ``en`` or ``zh``.
        arms: The two arms of a sweep that the verdict is on; none: the only two.

    Raises:
        BnlabError: It means nothing of that kind, or a file is damaged.
        ConfigError: There are no such arms, or arms are named and it means studies.
    """
    words = Words(lang)
    path = at_home(given)
    folder = path.absolute().parent if is_study_file(path) else _folder_of(given, runs)
    files = [path] if is_study_file(path) else study_files(folder)
    if not files and (files := study_files(folder / FOLDER)):
        folder = folder / FOLDER
    if not files:
        page = make_sweep_page(folder, words, arms)
        return Report(folder, NAME, lang, page.html(), sweep_markdown(page), sweep_csv(page))
    if arms:
        raise ConfigError(f"--arms is for a sweep: {given} holds studies, whose files name their arms. Leave it out.")
    roots = list(dict.fromkeys([folder.parent, runs_root(runs)]))
    studies = make_studies_page(read_studies(files), roots, words)
    name = path.stem if is_study_file(path) else NAME
    return Report(folder, name, lang, studies.html(), studies_markdown(studies), studies_csv(studies))


def _folder_of(given: str, runs: Path | None) -> Path:
    """Return the folder that a word names.

    Raises:
        ConfigError: There is none.
    """
    path = at_home(given)
    if path.is_file():
        raise ConfigError(
            f"{path} is no result of a study: it should be a file of JSON. Give runs/{FOLDER}, or a sweep."
        )
    inside = runs_root(runs) / given
    if Path(given).name == given and not path.is_dir() and study_files(inside):
        return inside
    try:
        return find_folder(path if path.is_dir() else given, runs)
    except ConfigError as error:
        if Path(given).name == FOLDER:
            raise ConfigError(
                f"{path} is not there: no study has been run. Run one: bnlab study definitions"
            ) from error
        raise


@dataclass(frozen=True)
class WrittenFiles:
    """What `write_report` left.

    Attributes:
        paths: The files that were written.
        kept: Files of the page in the other language, which were moved aside.
    """

    paths: list[Path]
    kept: list[Path]


def write_report(report: Report, output: Path | None = None, with_csv: bool = False) -> WrittenFiles:
    """Write a page's files; one that is there in the other language is kept, but where ``output`` names the file.

    Args:
        report: The page as HTML, as Markdown and as rows.
        output: A folder for them, or the path of the file of HTML; None: beside what they are about.
        with_csv: Whether the file of CSV is written too.

    Raises:
        ConfigError: ``output`` has an ending that is none of these.
        RunError: A file cannot be written.
    """
    folder, stem, is_named = report.home if output is None else output, report.name, False
    if output is not None:
        if output.suffix in {".html", ".htm", ".md", ".csv"} and not output.is_dir():
            folder, stem, is_named = output.parent, output.stem, True
        elif output.suffix and not output.is_dir():
            raise ConfigError(f"--output {output} should be a folder, or a file that ends in .html. Give one of these.")
    texts = {"html": report.html, "md": report.markdown, **({"csv": report.csv} if with_csv else {})}
    paths: list[Path] = []
    kept: list[Path] = []
    for kind, content in texts.items():
        path = folder / f"{stem}.{kind}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not (is_named or paths):
                kept = keep_other_language(folder, stem, report.lang)
            write_whole(path, content)
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error.strerror}. Choose another place by --output.") from error
        paths.append(path)
    return WrittenFiles(paths, kept)
