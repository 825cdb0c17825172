import pytest

from bnlab.lessons.explanation import explain
from bnlab.lessons.sentences import (
    drawing_sentences,
    fine_print,
    modes_sentences,
    output_text,
    running_line,
    running_sentences,
    sharing_sentences,
    terms_sentences,
)


def test_what_one_statistic_sees_is_counted_in_letters_and_numbers() -> None:
    said = sharing_sentences(explain("batch", (4, 8, 4, 4)))
    assert said == [
        "Averaged over N, H and W. Kept apart: C.",
        "One statistic sees N·H·W = 4·4·4 = 64 values; there are 8, one per C.",
    ]


def test_groups_are_said_as_shares_of_an_axis() -> None:
    said = sharing_sentences(explain("group", (2, 4, 3, 3), {"num_groups": 2}))
    assert said == [
        "Averaged over C in 2 groups of 2, H and W. Kept apart: N.",
        "One statistic sees C/2·H·W = 2·3·3 = 18 values; there are 4, one per N and group of C.",
    ]


def test_unequal_groups_have_no_size_in_common() -> None:
    said = sharing_sentences(explain("ghost", (8, 2, 2), {"ghost_size": 3}))
    assert "Averaged over N in 3 groups and L." in said[0]
    assert "One statistic sees 3 of N·L = 3·2 = 6 values" in said[1]


def test_layers_of_one_sample_have_one_statistic_only() -> None:
    assert "there is only this one" in sharing_sentences(explain("layer", (1, 3)))[1]


def test_running_statistics_are_an_equation_of_numbers() -> None:
    lesson = explain("batch", (4, 3))
    assert [running_line(found) for found in lesson.modes.running] == [
        "running_mean[0] = 0.9 · 0 + 0.1 · 4 = 0.4",
        "running_var[0] = 0.9 · 1 + 0.1 · 9 = 1.8",
    ]
    said = " ".join(running_sentences(lesson))
    assert "share of the old value that is kept is 0.9" in said
    assert "PyTorch counts the new share, 0.1" in said
    assert "as in the article" in said
    assert "as PyTorch and the paper do" in " ".join(running_sentences(explain("batch_torch", (4, 3))))


def test_nothing_kept_is_no_momentum() -> None:
    said = running_sentences(explain("batch", (4, 3), {"momentum": None}))
    assert said[0] == "Nothing is kept of the start: the first batch takes its place."


def test_terms_and_what_is_lost_without_them() -> None:
    said = " ".join(terms_sentences(explain("batch", (4, 3))))
    assert "Their sum is autograd's dx" in said
    assert "dx sums to 0" in said
    assert "without the mean's term by 67% of its length, without the variance's term by 112% of its length" in said
    assert "mean's term" not in " ".join(terms_sentences(explain("rms", (4, 3)))).replace("mean square's", "")


def test_two_values_leave_no_gradient_and_it_is_said() -> None:
    said = terms_sentences(explain("ghost", (4, 3), {"ghost_size": 2}))
    assert said[-1].startswith("Of two values xhat is -1 and 1")


def test_a_detached_mean_is_named() -> None:
    said = terms_sentences(explain("lesson_layers:MeanDetached", (4, 3)))
    assert said == [
        "This layer's own gradient lacks (2) mean: the statistic is detached, a constant to it.",
    ]


def test_one_sample_alone_is_told_with_its_consequence() -> None:
    said = " ".join(modes_sentences(explain("batch", (4, 3))))
    assert "is refused" in said
    assert "xhat = 0 and y = bias, whatever x is" in said
    assert "samples do not mix" in " ".join(modes_sentences(explain("layer", (4, 3))))


def test_the_disguise_of_an_identity_is_denied() -> None:
    (said,) = fine_print(explain("batch", (4, 3)))
    assert "weight = √(var + eps) = 3 and bias = mean = 4 give this batch back" in said
    assert "forward only and this batch only" in said


def test_a_weight_that_is_standardized_is_mentioned() -> None:
    assert any("weight of the linear map before" in said for said in fine_print(explain("weight_standardization")))


def test_what_is_left_out_of_a_drawing_is_said() -> None:
    said = " ".join(drawing_sentences(explain("batch", (64, 16, 2, 2))))
    assert "8 of N = 64 drawn" in said
    assert "8 of C = 16 drawn" in said
    assert "H × W = 2 × 2 positions" in said


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("batch", {}, "y = weight · xhat + bias"),
        ("rms", {}, "y = weight · xhat"),
        ("batch", {"affine": False}, "y = xhat"),
        ("batch_bias_only", {}, "y = weight · xhat + bias"),
        ("frn", {}, "y = max(weight · xhat + bias, 0)"),
    ],
)
def test_y_is_written_with_what_the_layer_has(name: str, options: dict[str, bool], text: str) -> None:
    assert output_text(explain(name, None, options)) == text
