from bnlab.docstrings import formula_of, read_docstring


def test_no_docstring_has_no_parts() -> None:
    said = read_docstring(None)
    assert (said.summary, said.about, said.sections) == ("", "", {})


def test_a_heading_alone_on_its_line_needs_an_indented_line_below_it() -> None:
    said = read_docstring("Do this.\n\nTwo ways exist:\n\nSource:\n    Ours.\n\n    Twice.\n")
    assert said.about == "Two ways exist:"
    assert said.sections == {"Source": "Ours.\n\nTwice."}


def test_a_heading_with_text_on_its_line_is_one_word_at_the_start_of_a_paragraph() -> None:
    said = read_docstring("Do this.\n\nIn eval mode: nothing.\nNote: no heading.\n\nAxes: over N\nand S.\n")
    assert said.about == "In eval mode: nothing.\nNote: no heading."
    assert said.sections == {"Axes": "over N\nand S."}


def test_text_keeps_its_lines_and_a_formula_is_the_first_indented_paragraph() -> None:
    said = read_docstring("Do\n    this.\n\n    Why.\n\n        y = x     much later\n        z = y\n\n    More.\n")
    assert said.summary == "Do this."
    assert said.about == "Why.\n\n    y = x     much later\n    z = y\n\nMore."
    assert formula_of(said.about) == ("y = x    much later", "z = y")
    assert formula_of("Why.") == ()
