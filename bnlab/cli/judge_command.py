"""`bnlab judge`, `bnlab power`, `bnlab tunability`: what a sweep says of its arms, and how many seeds it needs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnlab.cli.command_options import Runs
from bnlab.cli.complete import complete_run
from bnlab.cli.consoles import Waiting

if TYPE_CHECKING:
    from bnlab.studies.judged import Judged

Sweep = Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep, by name or folder.", autocompletion=complete_run)]
Arms = Annotated[
    str | None,
    typer.Option("--arms", metavar="FIRST,SECOND", help="The two arms: the claim is that FIRST is better."),
]
Metric = Annotated[
    str,
    typer.Option(
        "--metric",
        "-m",
        metavar="NAME",
        help="test_accuracy, test_loss, steps_to:ACCURACY, seconds_to:ACCURACY, max_lr, area, lr_sensitivity, "
        "width:KEY, DIAGNOSTIC/LAYER, 'mean DIAGNOSTIC/LAYER'.",
    ),
]
Sesoi = Annotated[
    float | None,
    typer.Option(
        "--sesoi",
        metavar="X",
        help="Smallest effect of interest: a difference (0.01 is 1 point), a factor for steps and learning rates.",
    ),
]
Less = Annotated[bool, typer.Option("--less", help="Of a diagnostic, claim that FIRST's is smaller.")]
Ratio = Annotated[bool, typer.Option("--ratio", help="Of a diagnostic, compare by the ratio: X is a factor.")]
Looks = Annotated[
    int, typer.Option("--looks", min=1, max=1000, metavar="K", help="How often the sweep is judged in all, by plan.")
]
Where = Annotated[
    list[str] | None, typer.Option("--where", "-w", help="Only runs with these settings: model.depth=5 · 'lr>0.1'")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print all numbers as one JSON object.")]


def judge(
    sweep: Sweep,
    arms: Arms = None,
    metric: Metric = "test_accuracy",
    sesoi: Sesoi = None,
    less: Less = False,
    ratio: Ratio = False,
    looks: Looks = 1,
    where: Where = None,
    as_json: AsJson = False,
    runs: Runs = None,
) -> None:
    """Judge a claim about two arms of a sweep: supported, refuted or inconclusive.

    [bold]bnlab judge pilot --arms batch,none[/]: is batch better than none, by more than 1 point of test accuracy?

    [bold]bnlab judge pilot --metric steps_to:0.9 --sesoi 2[/]: does none need more than twice the steps to 90%?

    [bold]bnlab judge my_sweep --metric saturation/hidden1 --less --sesoi 0.1[/]: does batch saturate less, by 0.1?

    Pairs of runs with the same seed are compared, each arm at its best learning rate on the validation set, of steps
    and seconds at its fastest. The claim is that the first arm is better by more than X; it is refuted where the
    interval lies below X.
    """
    with Waiting("Reading the runs", as_json):
        found = _judged(sweep, arms, metric, sesoi, less, ratio, looks, where or [], runs)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), allow_nan=False))
        return
    from bnlab.cli.verdict_text import print_judged

    print_judged(found)


def power(
    sweep: Sweep,
    arms: Arms = None,
    metric: Metric = "test_accuracy",
    sesoi: Sesoi = None,
    effect: Annotated[
        float | None,
        typer.Option(
            "--effect",
            metavar="E",
            help="True effect to plan for (twice the smallest; a factor: its square).",
        ),
    ] = None,
    chance: Annotated[
        float, typer.Option("--power", metavar="P", help="The chance of a verdict to plan for, below 1.")
    ] = 0.8,
    less: Less = False,
    ratio: Ratio = False,
    looks: Looks = 1,
    where: Where = None,
    as_json: AsJson = False,
    runs: Runs = None,
) -> None:
    """Tell how many seeds a verdict needs, and how long they train, from a sweep with a few.

    [bold]bnlab power pilot[/]: seeds that show a true difference of 2 points to be more than 1, in 8 of 10 cases

    [bold]bnlab power pilot --effect 0.03 --power 0.9[/]: for 3 points, in 9 of 10 cases
    """
    with Waiting("Reading the runs", as_json):
        from bnlab.studies.planning import plan_seeds

        judged = _judged(sweep, arms, metric, sesoi, less, ratio, looks, where or [], runs)
        planned = plan_seeds(judged, effect, chance)
    if as_json:
        typer.echo(json.dumps(planned.as_dict(), allow_nan=False))
        return
    from bnlab.cli.verdict_text import print_plan

    print_plan(planned)


def tunability(
    sweep: Sweep,
    over: Annotated[
        str | None,
        typer.Option(
            "--over", metavar="KEY,KEY", help="What is tuned (learning rate, weight decay, init_std, batch size)."
        ),
    ] = None,
    as_json: AsJson = False,
    runs: Runs = None,
) -> None:
    """Tell how much tuning each arm of a sweep needs: its score by tuning budget, and what must be tuned at all.

    [bold]bnlab tunability my_grid[/]: of a sweep over learning rates and weight decays, say

    [bold]bnlab tunability my_grid --over optim.lr,optim.weight_decay[/]: these two and nothing else

    A budget of K: K settings are tried at random, and of the best on the validation set the test accuracy counts.
    """
    names = [] if over is None else [word.strip() for word in over.split(",")]
    with Waiting("Reading the runs", as_json):
        from bnlab.runfolder.finding import find_folder
        from bnlab.studies.tunability import read_tunability

        found = read_tunability(find_folder(sweep, runs), names)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), allow_nan=False))
        return
    from bnlab.cli.verdict_text import print_tunability

    print_tunability(found)


def _judged(
    sweep: str,
    arms: str | None,
    metric: str,
    sesoi: float | None,
    less: bool,
    ratio: bool,
    looks: int,
    where: list[str],
    runs: Path | None,
) -> "Judged":
    from bnlab.runfolder.finding import find_folder
    from bnlab.studies.judging import judge_sweep
    from bnlab.studies.quantity import read_quantity

    names = [] if arms is None else [word.strip() for word in arms.split(",")]
    quantity = read_quantity(metric, less, ratio)
    return judge_sweep(find_folder(sweep, runs), quantity, arms=names, sesoi=sesoi, looks=looks, where=where)
