"""Finds the files of studies, and reads them."""

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from bnlab.config.folders import conf_folder, refuse_hidden, search_folders
from bnlab.config.yaml_files import read_table
from bnlab.errors import ConfigError, did_you_mean
from bnlab.runfolder.finding import at_home
from bnlab.studies.file_faults import first_fault
from bnlab.studies.study_file import ScaleName, StudyFile

_log = logging.getLogger("bnlab")


@dataclass(frozen=True)
class Study:
    """A study, read from its file.

    Attributes:
        name: The name of the file, without ``.yaml``.
        path: A study file, conf/study/NAME.yaml or one of a user's own.
        sha256: The hash of its bytes.
        file: What it says.
        typed: The word that names it on the command line: its name, or the path of its file.
    """

    name: str
    path: Path
    sha256: str
    file: StudyFile
    typed: str

    def check_scale(self, scale: ScaleName) -> None:
        """Raise if it has no such scale.

        Raises:
            ConfigError: It has none.
        """
        if scale not in self.file.scales:
            raise ConfigError(f"{self.name} has no scale {scale}, it has {', '.join(self.file.scales)}. Give --scale.")


def known_studies(config_dir: Path | None) -> dict[str, Path]:
    """Return the files that hold studies: name -> file. A file of bnlab's wins over one of the user's."""
    found: dict[str, Path] = {}
    for folder in search_folders(config_dir):
        for path in sorted((folder / "study").glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def find_studies(names: Sequence[str], config_dir: Path | None) -> list[Study]:
    """Return the studies of some names, each once; ``all`` stands for those of the article, in the file's order.

    Args:
        names: Names of studies, of packs, of statements such as S17, ``all``, or paths of files that end in .yaml.
        config_dir: A folder with the user's own options; None: there is none but ./conf.

    Raises:
        ConfigError: There is no such study, or its file is none.
    """
    known = known_studies(config_dir)
    chosen: dict[str, Study] = {}
    for name in names:
        if name.endswith((".yaml", ".yml")):
            path = at_home(name)
            for other in (known.get(path.stem), chosen[path.stem].path if path.stem in chosen else None):
                if other is not None and path.exists() and not path.samefile(other):
                    raise ConfigError(
                        f"{path} has the name of another study, {other}: their verdicts would be taken for one. "
                        f"Rename it, to my_{path.stem}.yaml, say."
                    )
            chosen[path.stem] = replace(read_study(path), typed=name)
        elif name in known:
            refuse_hidden(f"study/{name}", search_folders(config_dir))
            chosen[name] = read_study(known[name])
        else:
            statement = name.upper() if re.fullmatch(r"[Ss]\d+", name) else None
            pack = _of_pack("article" if name == "all" else statement or name, known)
            if not pack:
                if statement is not None:
                    studies = _of_pack("article", known).values()
                    about = dict.fromkeys(one for study in studies for one in study.file.statements)
                    raise ConfigError(f"no study is about {name}. Studies are about {', '.join(about)}.")
                there = f" There is a file {name}.yaml: write that." if Path(f"{name}.yaml").is_file() else ""
                near = there or f" {did_you_mean(name, [*known, 'all', 'contested'])}"
                raise ConfigError(f"study {name} is not known.{near}")
            chosen |= pack
    return list(chosen.values())


def _of_pack(name: str, known: dict[str, Path]) -> dict[str, Study]:
    """Return the studies of a pack, or about a statement, in the order of their first statement; definitions last.

    Raises:
        ConfigError: A file of bnlab's is damaged.
    """
    studies = []
    for path in known.values():
        try:
            studies.append(read_study(path))
        except ConfigError as error:
            if path.parent == conf_folder() / "study":
                raise
            _log.warning(str(error))  # a damaged file of the user's: all others are run
    chosen = [study for study in studies if study.file.pack == name or name in study.file.statements]
    return {study.name: study for study in sorted(chosen, key=_place)}


def _place(study: Study) -> tuple[int, str]:
    numbers = [int(one[1:]) for one in study.file.statements if one[1:].isdigit()]
    are_laws = all(condition.law is not None for condition in study.file.conditions)
    return min(numbers, default=1000) + 100 * are_laws, study.name


def read_study(path: Path) -> Study:
    """Return a study of a file.

    Args:
        path: A study file, conf/study/NAME.yaml or one of a user's own.

    Raises:
        ConfigError: It is no study: place, law, what came.
    """
    _, content = read_table(path)
    if "pack" not in content and path.parent == conf_folder() / "study":
        content["pack"] = "article"
    try:
        file = StudyFile.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_fault(error, content)}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return Study(path.stem, path, hashlib.sha256(path.read_bytes()).hexdigest(), file, path.stem)
