"""Results of studies as `bnlab study` leaves them, written by hand: one of each form, with values as they come out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SEEDS = list(range(10))
RATES = [10.0, 10.0, 3.1622776601683795, 10.0, 31.622776601683793, 10.0, 10.0, 3.1622776601683795, 10.0, 10.0]
POINTS = [0.0055, -0.0111, 0.0139, 0.0028, -0.0084, 0.0167, 0.0, 0.0111, -0.0056, 0.0084]


def condition(**given: Any) -> dict[str, Any]:
    """Return a condition on the largest trainable rate, with some parts changed."""
    return {
        "part": "main",
        "kind": "pair",
        "says": {"en": "The largest rate with it is more than 3 times the one without.", "zh": "加上之后超过三倍。"},
        "statement": "",
        "metric": "max_lr",
        "arms": ["norm=batch", "norm=none"],
        "where": [],
        "bound": "above 3",
        "verdict": "supported",
        "reason": "",
        "effect": 8.912509381337456,
        "low": 5.2,
        "high": 15.3,
        "unit": "times",
        "level": 0.95,
        "method": "paired Student's t and Hall of logs, Bonferroni over 4",
        "n": 10,
        "sesoi": 3,
        "seeds": SEEDS,
        "first": [{"seen": rate, "least": rate, "greatest": None} for rate in RATES],
        "second": [1.0] * 10,
        "differences": RATES,
        "learning_rates": None,
        "stress": {"agree": 7, "of": 7, "flips": []},
        "sentences": [
            "In 10 of 10 pairs the effect is at least what is shown, since a run did not get there, or the grid ends."
        ],
        **given,
    }


def bare(**given: Any) -> dict[str, Any]:
    """Return a condition without figures of seeds, of which nothing is drawn."""
    return condition(**{"seeds": [], "first": [], "second": [], "differences": [], "sentences": [], **given})


def of_points(**given: Any) -> dict[str, Any]:
    """Return a condition on test accuracy, as it comes out where there is hardly an effect."""
    second = [0.9416, 0.9582, 0.9443, 0.9554, 0.961, 0.9387, 0.9499, 0.9471, 0.9582, 0.9443]
    return condition(
        says={"en": "Its test accuracy is higher by more than half a point.", "zh": "测试准确率高出半个百分点以上。"},
        metric="test_accuracy",
        bound="above 0.005",
        verdict="inconclusive",
        reason="The interval holds the smallest effect of interest.",
        effect=0.00333,
        low=-0.0034,
        high=0.01,
        unit="share of images",
        method="paired Student's t and Hall",
        sesoi=0.005,
        first=[one + more for one, more in zip(second, POINTS, strict=True)],
        second=second,
        differences=POINTS,
        learning_rates=[1.0, 0.1],
        sentences=[],
        **given,
    )


def study(name: str = "lr-sensitivity", **given: Any) -> dict[str, Any]:
    """Return the result of a study, with some parts changed."""
    first = (given.get("conditions") or [condition()])[0]
    figures = {key: first[key] for key in ("verdict", "effect", "low", "high", "unit", "n", "sesoi", "stress")}
    return {
        "study": name,
        "scale": "quick",
        "sha256": "5f1c0d9b7a" * 6,
        "made": "2026-11-30T18:00:00+00:00",
        "version": "0.1.0",
        "claim": "Batch normalization trains at learning rates more than 3 times as large.",
        "claim_zh": "批标准化允许使用更大的学习率",
        "statement": "S19, S27",
        "experiment": "E4",
        "pack": "article",
        "source": "the article; Ioffe & Szegedy 2015, arXiv:1502.03167, section 3.3",
        "literature": {
            "en": "Inception overflowed at five times the rate [V].",
            "zh": "Inception 在五倍学习率下溢出 [V]。",
        },
        "fools": {"en": "A wider range is no better optimum.", "zh": "范围更宽不等于最优更好。"},
        "protocol": {"en": "Digits, 400 steps, eleven rates.", "zh": "digits，400 步，十一个学习率。"},
        "criterion": "supported if the interval of the mean ratio lies above 3, refuted if it lies below",
        "seconds": 75.125,
        "seconds_wall": 40.0,
        "command": f"bnlab study {name}",
        "looks": [5, 10, 20],
        "reason": "",
        "decisive": 0,
        "to_change": "a smallest effect of interest of 5.2 times or more",
        "changed": "",
        "history": [],
        "holm_p": 0.0003,
        "conditions": [condition()],
        "checks": [],
        "also": [],
        "parts": {
            "main": {
                "sweep": "study-1a2b3c4d",
                "words": ["norm=batch,none"],
                "command": "bnlab sweep norm=batch,none",
                "tuning": None,
            }
        },
        **figures,
        **given,
    }


def all_forms() -> dict[str, dict[str, Any]]:
    """Return studies that have a condition of each form, by name."""
    of_arm = condition(
        kind="arm",
        arms=["norm=batch"],
        metric="test_accuracy",
        unit="share of images",
        bound="within 0.9 and 1",
        method="Student's t and Hall",
        effect=0.951,
        low=0.94,
        high=0.962,
        first=[0.95 + 0.001 * seed for seed in SEEDS],
        second=[],
        differences=[],
        sentences=[],
    )
    recovered = condition(
        kind="recovered",
        arms=["norm=batch_noisy", "norm=none", "norm=batch"],
        metric="area",
        unit="",
        bound="above 0.8",
        effect=0.99,
        low=0.97,
        high=1.01,
        first=[],
        second=[],
        differences=[0.97 + 0.004 * seed for seed in SEEDS],
        sentences=[],
        statement="S13",
    )
    law = condition(
        kind="law",
        arms=[],
        metric="variance",
        unit="",
        bound="below 1e-05",
        effect=4.4e-16,
        low=None,
        high=None,
        level=None,
        n=None,
        seeds=[],
        first=[],
        second=[],
        differences=[],
        sentences=[],
        statement="S2",
    )
    second = [1.0] * 8 + [None, 1.0]
    lost = condition(
        second=second,
        differences=[*RATES[:8], 1.0, None],
        effect=None,
        low=None,
        high=None,
        verdict="inconclusive",
        reason="Of some pairs only a bound is known, or nothing.",
        n=8,
    )
    look = {
        "made": "2026-11-29T10:00:00+00:00",
        "sha256": "99",
        "n": 5,
        "looks": 3,
        "verdict": "inconclusive",
        "effect": 4.0,
        "low": 0.9,
        "high": 18.0,
    }
    return {
        "lr-sensitivity": study(
            also=[recovered], history=[look], changed="The bound was 2 before 10 runs were judged."
        ),
        "regularization": study("regularization", statement="S22", conditions=[of_points()], holm_p=None),
        "train-eval": study("train-eval", statement="S23", conditions=[of_arm], holm_p=0.03),
        "definitions": study("definitions", statement="S1, S2, S3", conditions=[law], holm_p=None),
        "lost": study("lost", statement="", conditions=[lost], holm_p=None, parts={}, literature=None),
    }


def write_studies(folder: Path, studies: Mapping[str, dict[str, Any]] | None = None) -> Path:
    """Write the results of studies into a folder of their own; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, result in (all_forms() if studies is None else studies).items():
        text = json.dumps(result, ensure_ascii=False, allow_nan=False)
        (folder / f"{name}-{result['scale']}.json").write_text(text, encoding="utf-8")
    return folder
