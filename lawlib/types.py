"""The shapes that every room speaks of, named once."""

from jaxtyping import Array, Bool, Float, Int, Key, PyTree

__all__ = ["Array", "Bool", "Float", "Int", "Matrix", "PRNGKey", "PyTree", "Scalar", "Vector", "Weights"]

PRNGKey = Key[Array, ""]
Scalar = Float[Array, ""]
Vector = Float[Array, " _"]
Matrix = Float[Array, "_ _"]
# (W_1, ..., W_L), W_l maps layer l-1 to layer l. A PyTree, since beartype samples one random item of a tuple.
Weights = PyTree[Float[Array, "_ _"]]
