"""The law of memory layouts, in each number type, in both modes, and for a single sample."""

import torch
from torch import Tensor

from bnlab.conformance.explaining import SINGLE, agrees
from bnlab.conformance.inputs import random_input
from bnlab.conformance.law_results import HOLDS, Law, Verdict, fails
from bnlab.conformance.states import states_of
from bnlab.conformance.subject import LayerError, Subject

CLOSE = {torch.float64: SINGLE, torch.float32: 1e-4, torch.float16: 2**-9, torch.bfloat16: 2**-6}
"""Largest difference allowed, as a share of the largest value; for the last two, two steps of the number type."""

OUTPUT = "output"

SETTINGS = tuple(
    (num_samples, dtype, training)
    for num_samples, dtypes in ((None, CLOSE), (1, (torch.float64, torch.float16)))
    for dtype in dtypes
    for training in (True, False)
)
"""Number of samples (None: as usual), number type, and whether in training mode."""


def _same_values_in_any_layout(subject: Subject) -> Verdict:
    for num_samples, dtype, training in SETTINGS:
        if training and subject.draws_random_numbers:  # they would be drawn in the order of the memory
            continue
        x = random_input((num_samples or subject.shape[0], *subject.shape[1:])).to(dtype)
        try:
            expected = _results(subject, x.clone(), training)
        except LayerError:
            continue  # other laws tell of it
        for layout, other in _layouts(x).items():
            found = _results(subject, other, training)
            wrong = [name for name, value in expected.items() if not _is_same(found.get(name), value, CLOSE[dtype])]
            if wrong:
                what = "other values" if wrong[0] == OUTPUT else f"another {wrong[0]}"
                where = _words(num_samples, dtype, training)
                return fails(f"an input that is {layout} in memory gives {what}{where}: view or data_ptr, not reshape")
    return HOLDS


def _layouts(x: Tensor) -> dict[str, Tensor]:
    """Return copies in other layouts; a clone would be contiguous."""
    return {
        "not contiguous": torch.empty((*x.shape, 2), dtype=x.dtype)[..., 0].copy_(x),
        "with its axes in another order": x.movedim(1, -1).contiguous().movedim(-1, 1),
    }


def _results(subject: Subject, x: Tensor, training: bool) -> dict[str, Tensor]:
    """Return the output, and the layer's tensors after it by name.

    Raises:
        LayerError: The layer does not take the input.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    layer = subject.fresh(dtype=wide, training=training)
    try:
        y = subject.run(layer, x)
    except LayerError:
        if x.dtype == wide:
            raise
        layer = subject.fresh(dtype=x.dtype, training=training)
        y = subject.run(layer, x)
    return {OUTPUT: y} | {name: state.value for name, state in states_of(layer).items()}


def _is_same(found: Tensor | None, expected: Tensor, precision: float) -> bool:
    return found is not None and (torch.equal(found, expected) or agrees(found, expected, precision))


def _words(num_samples: int | None, dtype: torch.dtype, training: bool) -> str:
    """Return the setting; nothing if it is the usual one."""
    words = [
        *([] if dtype == torch.float64 else [f"in {str(dtype).removeprefix('torch.')}"]),
        *([] if training else ["in eval mode"]),
        *([] if num_samples is None else ["for a single sample"]),
    ]
    return f", {', '.join(words)}" if words else ""


LAYOUT_LAWS = (
    Law(
        "memory layout",
        "values do not depend on the input's layout in memory",
        "behavior",
        _same_values_in_any_layout,
    ),
)
