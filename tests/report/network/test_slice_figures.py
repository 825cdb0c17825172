from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from bnlab.report.network.slice_figures import draw_slice_1d, draw_slice_2d


@dataclass
class Bowl:
    steps: tuple[float, ...]
    other_steps: tuple[float, ...]
    train_loss: np.ndarray
    eval_loss: np.ndarray


def bowl(depth: float, num_others: int = 1) -> Bowl:
    steps = np.linspace(-1, 1, 5)
    others = np.linspace(-1, 1, num_others) if num_others > 1 else np.zeros(1)
    loss = depth + steps[:, None] ** 2 + 2 * others[None, :] ** 2
    return Bowl(tuple(steps.tolist()), tuple(others.tolist()), loss, loss + 1)


def test_arms_are_lines_on_the_same_axes_training_mode_beside_eval_mode() -> None:
    figure = draw_slice_1d({"batch": bowl(0.1), "none": bowl(0.5)})
    train, evaluated = figure.axes
    assert train.get_ylim() == evaluated.get_ylim()
    lines = {str(line.get_label()): line for line in train.lines}
    np.testing.assert_allclose(lines["batch"].get_ydata(), [1.1, 0.35, 0.1, 0.35, 1.1])
    lines = {str(line.get_label()): line for line in evaluated.lines}
    np.testing.assert_allclose(lines["none"].get_ydata(), [2.5, 1.75, 1.5, 1.75, 2.5])
    assert [text.get_text() for text in figure.findobj(Legend)[0].get_texts()] == ["batch", "none"]
    assert train.get_ylabel() == "loss, nats per image"


def test_a_single_arm_needs_no_legend_and_is_named_above() -> None:
    figure = draw_slice_1d({"batch-mlp": bowl(0.1)})
    assert not figure.findobj(Legend)
    assert "batch-mlp" in [text.get_text() for text in figure.findobj(Text)]


@pytest.mark.slow
@pytest.mark.parametrize("arms", [["batch"], ["batch", "none"]])
def test_planes_have_the_same_colors_and_the_first_direction_goes_to_the_right(arms: list[str]) -> None:
    figure = draw_slice_2d({name: bowl(0.1 + place, 3) for place, name in enumerate(arms)})
    meshes = [each for axes in figure.axes[:-1] for each in axes.collections if isinstance(each, QuadMesh)]
    assert len(meshes) == 2 * len(arms)
    assert len({mesh.get_clim() for mesh in meshes[: 2 * len(arms)]}) == 1
    values = np.asarray(meshes[0].get_array()).reshape(3, 5)
    np.testing.assert_allclose(values[1], [1.1, 0.35, 0.1, 0.35, 1.1])
    np.testing.assert_allclose(values[0], [3.1, 2.35, 2.1, 2.35, 3.1])


@pytest.mark.parametrize("draw_slice", [draw_slice_1d, draw_slice_2d])
def test_a_loss_that_is_not_a_number_is_drawn_as_nothing(draw_slice: Callable[..., Figure]) -> None:
    broken = bowl(0.1, 3)
    broken.train_loss[0, 0] = np.inf
    draw_slice({"none": broken}).canvas.draw()
