from folded import folded
from torch import nn

from bnlab.lessons.explanation import read_words
from bnlab.norms.batch import BatchNorm
from bnlab.norms.catalog import find_norm_class
from bnlab.norms.names import NORMS


def test_a_card_is_taken_apart() -> None:
    words = read_words(BatchNorm)
    assert words.class_name == "BatchNorm"
    assert words.summary == "Give each channel mean 0 and variance 1 over the batch, then a learned scale and shift."
    assert words.formula[0].startswith("mean_c = 1/m sum x")
    assert words.sections["Source"] == "Ioffe & Szegedy 2015, arXiv:1502.03167, Algorithms 1 and 2."


@folded("name", NORMS)
def test_every_card_has_a_sentence_and_no_line_breaks(name: str) -> None:
    words = read_words(find_norm_class(name))
    assert words.summary.endswith(".")
    assert all("\n" not in text and text for text in words.sections.values())


def test_a_class_that_says_nothing_is_not_given_its_parents_words() -> None:
    class Silent(nn.Module):
        pass

    words = read_words(Silent)
    assert (words.summary, words.formula, words.sections) == ("", (), {})


def test_sections_are_read_on_one_line_and_on_several() -> None:
    class Card(nn.Module):
        """Do this.

        Why.

            y = x     much later

        Axes: all
        of them.

        Fails:
            Often,
            and loudly.

        Example:
            >>> 1
        """

    words = read_words(Card)
    assert words.formula == ("y = x    much later",)
    assert words.sections == {"Axes": "all of them.", "Fails": "Often, and loudly."}
