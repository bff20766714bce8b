"""Words in messages."""

import pytest

from wandbsweep.text import join_words, pluralize, quote_names, show_name, suggest_matches


@pytest.mark.parametrize(("count", "wanted"), [(0, "0 trials"), (1, "1 trial"), (2, "2 trials")])
def test_plurals(count, wanted):
    assert pluralize(count, "trial") == wanted


@pytest.mark.parametrize(
    ("words", "wanted"), [([], ""), (["a"], "a"), (["a", "b"], "a or b"), (["a", 1, None], "a, 1 or None")]
)
def test_lists_of_words(words, wanted):
    assert join_words(words, "or") == wanted


def test_suggestions():
    assert suggest_matches("methd", ["method", "name"]) == "; did you mean method?"
    assert suggest_matches("xyz", ["method"]) == ""


def test_names_whose_blanks_are_seen():
    assert show_name("val loss") == "val loss"
    assert show_name("test_acc_avg ") == "'test_acc_avg '"
    assert show_name("caf\udce9") == r"'caf\udce9'"
    assert quote_names(["b ", "a"]) == "'a', 'b '"
    assert quote_names([], empty="none") == "none"
