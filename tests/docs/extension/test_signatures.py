"""Signatures are the words of the source, with the full names of what the documentation shows."""

from extension.signatures import signature

from experiments.runner.laws import Law
from lawlib.theory.parsimony import Blocks, block_decomposition, rho_square
from lawlib.types import Float

KNOWN = {"lawlib.theory.parsimony.Blocks": "", "lawlib.types.Float": "", "lawlib.types.Rate": ""}


class Given:
    def __init__(self, number: "Float", *, rest: int = 3): ...

    def method(self, /, *others: int) -> "Given": ...


def test_shapes_stay_in_their_quotes_and_known_names_are_whole():
    arguments, result = signature(block_decomposition, KNOWN)
    assert arguments.startswith("(W: Matrix, left: Frame, right: Frame")
    assert result == "lawlib.theory.parsimony.Blocks"
    (fields, nothing) = signature(Blocks, KNOWN)
    assert fields.startswith("(active: lawlib.types.Float[Array, 'k k'], upper: ")
    assert nothing is None


def test_what_is_keyword_only_is_shown_as_such():
    arguments, result = signature(rho_square, KNOWN)
    rate = "lawlib.types.Rate"
    assert arguments == (
        f"(rho: {rate}, *, before: {rate}, depth: int, step_size: {rate}, weight_decay: {rate}, momentum: {rate})"
    )
    assert result == rate


def test_methods_have_no_self_and_annotations_no_quotes():
    assert signature(Given, {}) == ("(number: Float, *, rest: int=3)", None)
    assert signature(Given.method, {}) == ("(*others: int)", "Given")


def test_the_fields_of_a_dataclass_are_arguments():
    assert signature(Law, {})[0].startswith("(")


def test_what_has_no_source_has_no_signature():
    assert signature(len, {}) is None
