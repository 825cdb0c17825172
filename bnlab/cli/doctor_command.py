"""`bnlab doctor`."""

import shutil
import tempfile
from typing import Annotated

import typer

from bnlab.cli.consoles import OUT, Waiting, new_table, print_rows, print_table


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False) -> None:
    """Check this machine: versions, threads, data, disk.

    Paste the output of [bold]bnlab doctor --json[/] into a bug report.
    """
    with Waiting("Looking at this machine"):
        rows = [*_versions(), *_machine(), *_data(), *_folders()]
    if not print_rows(rows, as_json, as_csv=False):
        table = new_table("", "what", "found", "")
        signs = {True: "[green]ok[/]", False: "[bold red]wrong[/]"}
        for row in rows:
            table.add_row(signs[bool(row["ok"])], str(row["what"]), str(row["found"]), str(row["advice"]))
        print_table(table)
        bad = [row for row in rows if not row["ok"]]
        OUT.print(
            f"[bold red]Wrong: {', '.join(str(row['what']) for row in bad)}.[/]"
            if bad
            else "[green]Nothing is wrong.[/]"
        )
    if not all(row["ok"] for row in rows):
        raise typer.Exit(1)


def _row(what: str, found: str, ok: bool = True, advice: str = "") -> dict[str, object]:
    return {"what": what, "found": found, "ok": ok, "advice": advice}


def _versions() -> list[dict[str, object]]:
    from bnlab import provenance

    rows = []
    for package, version in provenance.versions().items():
        there = version != "not installed"
        rows.append(_row(package, version, there, "" if there else f"pip install {package}"))
    return rows


def _machine() -> list[dict[str, object]]:
    from bnlab import provenance

    facts = provenance.hardware()
    rows = [
        _row(
            "processor",
            f"{facts['processor']}, {facts['physical_cores']} cores of {facts['usable_cores']} threads",
        ),
        _row("memory", f"{facts['memory_gib']} GiB", facts["memory_gib"] >= 2),
    ]
    try:
        import torch

        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        kind = "CUDA build" if torch.version.cuda else "CPU build"
        threads = f"{provenance.num_physical_cores()} threads (1 for small models)"
        rows.append(_row("torch", f"{kind}, {threads}, GPUs: {', '.join(gpus) or 'none'}"))
    except Exception as error:
        rows.append(
            _row(
                "torch",
                f"cannot be imported: {error}",
                ok=False,
                advice="pip install --force-reinstall torch",
            )
        )
    return rows


def _data() -> list[dict[str, object]]:
    from bnlab.data.locations import data_root, where_found
    from bnlab.data.sources import SOURCES
    from bnlab.errors import DataError

    rows = []
    try:
        root = data_root(None)
        if root is not None:
            rows.append(_row("BNLAB_DATA", str(root)))
    except DataError as error:
        rows.append(_row("BNLAB_DATA", str(error), ok=False, advice="export BNLAB_DATA=FOLDER"))
    for name in SOURCES:
        if name not in {"npz", "folder"}:
            found = where_found(name)
            must = name in {"mnist_5k", "digits"}
            advice = "" if found else ("reinstall bnlab" if must else "downloaded on first use, or data.root=FOLDER")
            rows.append(_row(f"data={name}", found or "not on this machine yet", bool(found) or not must, advice))
    return rows


def _folders() -> list[dict[str, object]]:
    from bnlab.config.folders import conf_folder, search_folders
    from bnlab.data.locations import cache_folder
    from bnlab.errors import DataError
    from bnlab.runfolder.finding import runs_root

    runs = runs_root()
    place = next(folder for folder in (runs, *runs.parents) if folder.exists())
    free_gib = shutil.disk_usage(place).free / 2**30
    rows = [
        _row(
            "conf",
            ", ".join(map(str, search_folders(None))),
            (conf_folder() / "train.yaml").exists(),
            "reinstall bnlab",
        ),
        _row(
            "disk",
            f"{free_gib:.1f} GiB free",
            free_gib > 1,
            "" if free_gib > 1 else "a run takes about 1 MiB",
        ),
    ]
    try:
        rows.insert(1, _row("downloads", str(cache_folder())))
    except DataError:
        rows.insert(1, _row("downloads", "nowhere: there is no home folder", advice="export XDG_CACHE_HOME=DIR"))
    try:
        with tempfile.TemporaryFile(dir=place):
            rows.append(_row("runs", str(runs)))
    except OSError as error:
        rows.append(
            _row("runs", f"{runs}: {error.strerror}", ok=False, advice="choose another by BNLAB_RUNS or --runs")
        )
    return rows
