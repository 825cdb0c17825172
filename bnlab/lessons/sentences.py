"""The sentences of a lesson, with its numbers, for the terminal and for the figure."""

from collections.abc import Sequence

from bnlab.lessons.explanation import Explanation
from bnlab.lessons.modes import MANY_BATCHES, RunningStatistic
from bnlab.lessons.numerals import number, place_of
from bnlab.lessons.sharing import Axis

PYTORCH_VARIANCE = {
    "biased variance": "the biased one, as in the article; PyTorch's layer stores the unbiased one",
    "unbiased variance": "the unbiased one, as PyTorch and the paper do; the article's is the biased one",
}

ROUNDING = 1e-9
"""Largest difference between two ways to compute the same number, in float64."""


def sharing_sentences(lesson: Explanation) -> list[str]:
    """Say which axes are reduced, how many values a statistic has, and how many statistics there are."""
    sharing = lesson.sharing
    if not sharing.has_statistics:
        said = ["Each output depends on its own input alone: no statistic of this batch enters."]
        if any(found.what for found in lesson.modes.running):
            said.append("The batch only moves the running statistics, which normalize in training mode too.")
        return said
    if not sharing.partition:
        return [
            f"The output {place_of((0,) * len(lesson.shape), 'y')} is tied to {sharing.num_values} values, "
            "marked: the values fall into no separate sets of one kind that share one statistic each."
        ]
    spanned = [axis for axis in sharing.axes if axis.shared > 1]
    reduced, shares = zip(*map(_reduced, spanned), strict=True)
    kept = [axis.letter for axis in sharing.axes if axis.shared == 1]
    said = [f"Averaged over {_listed(reduced)}." + (f" Kept apart: {_listed(kept)}." if kept else "")]
    product = "·".join(shares)
    factors = f" = {'·'.join(str(axis.shared) for axis in spanned)}" if len(spanned) > 1 else ""
    per = [_one_per(axis) for axis in sharing.axes if axis.num_sets > 1]
    many = f"there are {sharing.num_statistics:,}, one per {_listed(per)}" if per else "there is only this one"
    said.append(f"One statistic sees {product}{factors} = {sharing.num_values:,} values; {many}.")
    if not sharing.through_gradient:
        said.append(
            "Not all of these values get a gradient through the statistic: it is detached, or depends on few of "
            "them, as a maximum does."
        )
    return said


def drawing_sentences(lesson: Explanation) -> list[str]:
    """Say how to read a drawing of the axes."""
    axes, sharing = lesson.sharing.axes, lesson.sharing
    said = ["Cells with one letter share a statistic."] if sharing.num_statistics else []
    if len(axes) > 2:
        sizes = " × ".join(str(axis.size) for axis in axes[2:])
        said.append(f"Each cell holds the {' × '.join(axis.letter for axis in axes[2:])} = {sizes} positions.")
    if lesson.small is not None:
        said.append("y is that of a new layer.")
    if sharing.cells_split:
        said.append("They fall into different statistics; a cell shows its first.")
    for axis, shown in ((axes[0], sharing.rows), (axes[1], sharing.columns)):
        if len(shown) < axis.size:
            said.append(f"{len(shown)} of {axis.letter} = {axis.size} drawn, evenly spaced.")
    return said


def parameters_sentence(lesson: Explanation) -> str:
    """Say which scale and shift the example uses."""
    example = lesson.example
    have = [(name, value) for name, value in (("weight", example.weight), ("bias", example.bias)) if value is not None]
    if not have:
        return ""
    said = ", ".join(f"{name} = {number(value)}" for name, value in have)
    across = "" if lesson.sharing.axes[1].shared == 1 else " for the first channel"
    start = "1 and 0" if len(have) == 2 else ("1" if have[0][0] == "weight" else "0")
    return f"Here {said}{across}; learned, {start} in a new layer."


def output_text(lesson: Explanation) -> str:
    """Return the formula of y from xhat."""
    example = lesson.example
    scale = "weight · " if example.weight is not None else ""
    shift = " + bias" if example.bias is not None else ""
    text = f"{scale}xhat{shift}"
    floor = example.story.floor if example.story is not None else None
    return f"y = {text}" if floor is None else f"y = max({text}, {number(floor)})"


def gradient_text(lesson: Explanation) -> str:
    """Return the formula of dx; empty if no known formula fits."""
    story = lesson.example.story
    if story is None:
        return ""
    return story.backward_text + ("" if story.floor is None else " where y is not cut")


def how_many(lesson: Explanation) -> str:
    """Say which values a table shows, if it does not show all."""
    example, sharing = lesson.example, lesson.sharing
    if len(example.values) == example.num_values:
        return ""
    whose = "this statistic's" if sharing.num_statistics else "the first channel's"
    return f"{len(example.values)} of {whose} {example.num_values:,} values, evenly spaced."


def terms_sentences(lesson: Explanation) -> list[str]:
    """Say what the terms of the gradient do, and the error without them."""
    story = lesson.example.story
    if story is None:
        return []
    stopped = [f"({1 + i}) {term.name}" for i, term in enumerate(story.terms) if term.stopped]
    if stopped:
        return [f"This layer's own gradient lacks {_listed(stopped)}: the statistic is detached, a constant to it."]
    said = [
        f"Their sum is autograd's dx: over all {lesson.example.num_values:,} values the largest difference is "
        f"{number(story.backward_gap)}."
        if story.backward_gap < ROUNDING
        else f"Their sum is not autograd's dx (off by up to {number(story.backward_gap)}): this layer's gradient is "
        "not that of its output."
    ]
    taken = {term.name for term in story.terms}
    if "mean" in taken:
        total = 0.0 if abs(story.sum_dx) <= ROUNDING else story.sum_dx
        said.append(f"dx sums to {number(total)}: adding a constant to all these x changes nothing.")
    stretching = "nor does stretching them" if "mean" in taken else "stretching these x changes nothing"
    if taken & {"spread", "scale"} and story.name not in {"scale", "absolute_deviation"}:
        said.append(f"dx · xhat sums to {number(story.sum_dx_xhat)}, 0 but for eps: {stretching}.")
    statistics = {"mean": "mean", "spread": "variance", "scale": "mean square"}
    losses = [f"without the {statistics[t.name]}'s term by {_times(t.share)} its length" for t in story.terms[1:]]
    said.append(f"If a statistic were detached, dx would be off: {', '.join(losses)}.")
    if story.name == "standardize" and lesson.example.num_values == 2:
        said.append("Of two values xhat is -1 and 1, whatever they are: no gradient is left but for eps.")
    return said


def running_line(statistic: RunningStatistic) -> str:
    """Write the update of a running statistic as an equation of numbers."""
    name = f"{statistic.name}[0]"
    if statistic.what is None or statistic.kept is None or statistic.batch is None:
        return f"{name}: {number(statistic.before)} -> {number(statistic.after)}"
    new = number(1 - statistic.kept)
    return (
        f"{name} = {number(statistic.kept)} · {number(statistic.before)} + {new} · {number(statistic.batch)} "
        f"= {number(statistic.after)}"
    )


def running_sentences(lesson: Explanation) -> list[str]:
    """Say which share momentum is, and which variance is stored."""
    running = lesson.modes.running
    said = []
    kept = {statistic.kept for statistic in running if statistic.kept is not None}
    if kept == {0.0}:
        said.append("Nothing is kept of the start: the first batch takes its place.")
    elif len(kept) == 1:
        share = kept.pop()
        said.append(
            f"The share of the old value that is kept is {number(share)}: momentum in bnlab's sense and the article's. "
            f"PyTorch counts the new share, {number(1 - share)}."
        )
    stored = [PYTORCH_VARIANCE[found.what] for found in running if found.what in PYTORCH_VARIANCE]
    return [*said, *(f"The variance is {which}." for which in stored)]


def modes_sentences(lesson: Explanation) -> list[str]:
    """Say how training and eval mode differ on the same input."""
    modes = lesson.modes
    first = place_of((0,) * len(lesson.shape), "y")
    if modes.gap < ROUNDING:
        said = [f"Training and eval mode give the same output{' on this batch' if modes.running else ''}."]
    else:
        said = [
            f"The same values give {first} = {number(modes.y_train)} in training mode and {number(modes.y_eval)} in "
            f"eval mode right after it; the largest difference is {number(modes.gap)}."
        ]
        known = [found for found in modes.running if found.batch is not None]
        if known:
            after = _listed([number(found.after) for found in known])
            batch = _listed([number(found.batch) for found in known if found.batch is not None])
            said.append(f"Eval mode normalizes by the running statistics, now {after}; the batch's own are {batch}.")
        if modes.left:
            said.append(f"After {MANY_BATCHES} batches {modes.left:.1%} of the start would be left in them.")
    if modes.random:
        said.append("Training mode draws random numbers: those above are of one draw.")
    return [*said, *_alone(lesson)]


def fine_print(lesson: Explanation) -> list[str]:
    """Say which scale and shift undo the norm, and whether it changes the weight of the layer before."""
    said = []
    disguise = lesson.modes.disguise
    if disguise is not None:
        said.append(
            f"weight = √(var + eps) = {number(disguise.weight)} and bias = mean = {number(disguise.bias)} give this "
            f"batch back (|y - x| up to {number(disguise.batch_gap)}), but forward only and this batch only: for 2x "
            f"the layer still gives x, off by up to {number(disguise.doubled_gap)}; and dx is not g, off by up to "
            f"{number(disguise.gradient_gap)}."
        )
    if lesson.transforms_weight:
        said.append("It also puts the weight of the linear map before it through a standardization of its own.")
    return said


def _alone(lesson: Explanation) -> list[str]:
    alone, sharing = lesson.modes.alone, lesson.sharing
    if alone.gap is not None and alone.gap < ROUNDING:
        return ["One sample alone gives what it gives in the batch: samples do not mix."]
    itself = ""
    if sharing.num_statistics and alone.num_values == 1 and lesson.example.story is not None:
        itself = " Each value would be its own mean: xhat = 0 and y = bias, whatever x is."
        if lesson.example.story.name != "standardize":
            itself = " Its statistic would see one value, itself."
    if alone.gap is None:
        return [f"One sample alone, in training mode, is refused: “{alone.refusal}”.{itself}"]
    said = f"One sample alone, in training mode, gives another output than in the batch (by up to {number(alone.gap)})"
    if sharing.partition and alone.num_values < sharing.num_values:
        said += f": its statistic sees {alone.num_values} values, not {sharing.num_values}"
    return [f"{said}.{itself}"]


def _reduced(axis: Axis) -> tuple[str, str]:
    """Return how an axis is reduced, in words, and the share of it that one statistic sees."""
    letter, shared, num_sets = axis.letter, axis.shared, axis.num_sets
    if shared == axis.size:
        return letter, letter
    if shared * num_sets == axis.size:
        return f"{letter} in {num_sets} groups of {shared}", f"{letter}/{num_sets}"
    return f"{letter} in {num_sets} groups", f"{shared} of {letter}"


def _one_per(axis: Axis) -> str:
    return axis.letter if axis.shared == 1 else f"group of {axis.letter}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _times(share: float) -> str:
    if share > 100:
        return f"{share:.0e} times"
    return f"{share:.0%} of" if share >= 0.01 else "less than 1% of"
