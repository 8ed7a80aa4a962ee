"""The shapes and the kinds of numbers that every package speaks of, and the matrix product of the theory."""

import functools as ft

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

__all__ = [
    "Array",
    "Bool",
    "Float",
    "Int",
    "Key",
    "Matrix",
    "Number",
    "PRNGKey",
    "PyTree",
    "Rate",
    "Scalar",
    "Vector",
    "Weights",
    "matmul",
]

PRNGKey = Key[Array, ""]
Scalar = Float[Array, ""]
Vector = Float[Array, " _"]
Matrix = Float[Array, "_ _"]
# (W_1, ..., W_L), W_l maps layer l-1 to layer l. A PyTree, since beartype samples one random item of a tuple.
Weights = PyTree[Float[Array, "_ _"]]
# A step size, weight decay or scale, which may be traced.
Rate = Scalar | float
# Any real number, whole ones and traced ones included.
Number = Scalar | Int[Array, ""] | float | int

# By default a GPU or TPU rounds the factors of a float32 product to 10 bits or fewer, at which the invariance that the
# theory is about is lost. What a user trains takes the default of ``jax.default_matmul_precision`` instead.
matmul = ft.partial(jnp.matmul, precision="highest")
