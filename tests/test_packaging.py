import json
import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def quietly(*command: str | Path, cwd: Path) -> str:
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH"
    }  # it may name the checkout
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    quietly(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.mark.slow
def test_the_wheel_trains_in_a_folder_without_the_checkout(distributions: Path, tmp_path: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    env = tmp_path / "env"
    venv.create(env)
    python = env / ("Scripts" if os.name == "nt" else "bin") / "python"
    # the dependencies, some gigabytes, are those of this environment; bnlab itself is not: the wheel comes first
    site = quietly(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    quietly(*pip, "install", "--no-deps", "--quiet", wheel, cwd=tmp_path)
    ours = quietly(sys.executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    (Path(site) / "dependencies.pth").write_text(ours)
    program = "import bnlab, sys; print(bnlab.__file__); from bnlab.cli.app import main; main()"
    out = quietly(python, "-c", program, "train", "--json", "train.steps=80", "diagnostics=none", cwd=tmp_path)
    place, line = out.splitlines()
    assert place.startswith(site)
    assert json.loads(line)["test_accuracy"] > 0.8
    assert "Measure what normalization does" in quietly(python.with_name("bnlab"), "--help", cwd=tmp_path)
    assert "batch_renorm" in quietly(python.with_name("bnlab"), "list", "norms", cwd=tmp_path)
    shown = quietly(python, "-m", "bnlab.cli.app", "doctor", "--json", cwd=tmp_path)
    conf = next(row for row in json.loads(shown) if row["what"] == "conf")
    assert conf["found"].startswith(site)


@pytest.mark.slow
def test_the_wheel_and_the_source_distribution_carry_all_of_conf(distributions: Path) -> None:
    expected = {str(path.relative_to(ROOT)).replace(os.sep, "/") for path in (ROOT / "conf").rglob("*.yaml")}
    (wheel,) = distributions.glob("*.whl")
    (source,) = distributions.glob("*.tar.gz")
    in_wheel = set(quietly(sys.executable, "-m", "zipfile", "-l", wheel, cwd=ROOT).split())
    in_source = set(quietly(sys.executable, "-m", "tarfile", "-l", source, cwd=ROOT).split())
    assert expected
    assert {f"bnlab/{name}" for name in expected} <= in_wheel
    assert {f"{source.name.removesuffix('.tar.gz')}/{name}" for name in expected} <= in_source


@pytest.mark.slow
def test_the_wheel_says_that_it_is_typed_and_the_source_distribution_has_the_pages(distributions: Path) -> None:
    (wheel,), (source,) = distributions.glob("*.whl"), distributions.glob("*.tar.gz")
    assert "bnlab/py.typed" in quietly(sys.executable, "-m", "zipfile", "-l", wheel, cwd=ROOT).split()
    in_source = set(quietly(sys.executable, "-m", "tarfile", "-l", source, cwd=ROOT).split())
    for name in (
        "docs/conf.py",
        "docs/_toc.yml",
        "docs/dashboard.png",
        "AGENTS.md",
        "README.zh.md",
        "scripts/build_site",
    ):
        assert f"{source.name.removesuffix('.tar.gz')}/{name}" in in_source


def test_the_extra_full_has_all_that_a_user_may_want() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (full,) = extras["full"]
    named = set(full.removeprefix("bnlab[").removesuffix("]").split(","))
    assert named == set(extras) - {"full", "dev", "docs"}
    assert "bnlab[docs]" in extras["dev"]


@pytest.mark.slow
def test_the_wheel_carries_the_templates_and_words_of_pages(distributions: Path) -> None:
    files = [path for path in (ROOT / "bnlab" / "pages").rglob("*") if path.suffix in {".j2", ".css", ".yaml"}]
    (wheel,) = distributions.glob("*.whl")
    in_wheel = set(quietly(sys.executable, "-m", "zipfile", "-l", wheel, cwd=ROOT).split())
    assert len(files) > 5
    assert {str(path.relative_to(ROOT)).replace(os.sep, "/") for path in files} <= in_wheel


def test_a_checkout_finds_the_conf_that_people_edit() -> None:
    from bnlab.config.folders import conf_folder  # noqa: PLC0415

    if (ROOT / "bnlab" / "conf").exists() or not (ROOT / "conf").exists():
        pytest.skip("bnlab is installed, not checked out")
    assert conf_folder() == ROOT / "conf"


def test_the_version_is_the_same_in_both_places() -> None:
    import bnlab  # noqa: PLC0415

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert bnlab.__version__ == project["version"]


def test_the_public_names_of_the_contract_resolve() -> None:
    import bnlab  # noqa: PLC0415

    for name in bnlab.__all__:
        assert getattr(bnlab, name) is not None
    assert issubclass(bnlab.ConfigError, ValueError)
    assert issubclass(bnlab.ConfigError, bnlab.BnlabError)
    assert bnlab.norms.BatchNorm(3).running_var.shape == (3,)
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        bnlab.trian  # noqa: B018


@pytest.mark.slow
def test_the_readmes_own_norm_trains(tmp_path: Path) -> None:
    import bnlab  # noqa: PLC0415

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    example = next(block for block in readme.split("```python\n")[1:] if "MaxNorm" in block).partition("```")[0]
    # a name of its own: the process that runs this test may have imported another my_layers
    (tmp_path / "layers_of_the_readme.py").write_text(example)
    words = ["norm=layers_of_the_readme:MaxNorm", "norm.eps=1e-3", "data=synthetic", "train.steps=60"]
    for model in ("mlp", "cnn"):
        assert bnlab.train([*words, f"model={model}", "model.width=8"]).status == "finished"


@pytest.mark.slow
def test_importing_bnlab_does_not_import_torch() -> None:
    program = "import bnlab, sys; bnlab.read_runs; bnlab.ConfigError; print('torch' in sys.modules)"
    assert quietly(sys.executable, "-c", program, cwd=ROOT).strip() == "False"
