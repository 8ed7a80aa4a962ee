"""In which small subspace does gradient descent really move?  Pure JAX functions that watch, compress and complete.

Watch weights, their change, gradients or updates while you train:
    tracker                   spectra, angles and block energies inside your own loop or optax optimizer
    block_krylov_svd          leading singular triplets with a certificate, from products alone
    matrix_products           the products of a matrix
    gradient_products         those of the gradient in a leaf, for any network (pytree, Flax, Equinox) and loss
    principal_angles          accurate to rounding at every size
    diagnose.before, .after   how much of each layer's change lies in S_big, and the rank that held-out data ask for

Compress what you train:
    reduce, expand            a deep linear network in, its small equivalent out, and back
    draw_reduction            the equivalent of a network too wide to be stored
    compress_samples          a few samples with the same gradients as all of them
    low_rank_mlp              the head of a Flax network in low rank, trained by any optimizer (extra ``flax``)
    compress.low_rank_head    the same in a Flax NNX or Equinox model or a plain tree
    compress.low_rank_gradients  any optax optimizer in a small subspace of the gradients (GaLore), without an SVD
    compress.adapt            adapters in the layers of any network, started from its gradient, and merged back
    compress.adapters         LoRA and Deep LoRA of a frozen matrix, without d x d factors (Yaras et al. 2024)

Complete a matrix from some of its entries:
    complete                  given an upper bound on the rank; nothing to tune
    from_coo                  entries from rows, columns and values

Run many trajectories in one program:
    gradient_descent          with weight decay, as a pure step
    simulate, sweep           a system, or thousands over seeds and hyperparameters

What each law predicts from what is known at initialization, a module each:
    parsimony, collapse       deep linear networks (Yaras et al. 2023)
    smooth_mlp                MLPs with smooth activations (Xu et al. 2026)
    rank_jumps                SGD with weight decay (Wang and Jacot 2024)
    induced_flow              gradient flow (Eftekhari 2020)
    inverse_problems          inverse problems (Laus et al. 2025)

``cpu_flags`` has the XLA flags that jaxlib before 0.11 needs on a CPU. Everything else lies in the packages below.

Axis letters in every signature: ``d`` width, ``r`` and ``s`` dimensions of subspaces, ``L`` depth, ``N`` samples,
``K`` classes, ``m`` idle directions (d - 2r), ``T`` steps. Columns are samples; W_l maps layer l-1 to layer l.
"""

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

from lawlib.cpu import cpu_flags as cpu_flags
from lawlib.cpu import warn_if_affected

if TYPE_CHECKING:
    from lawlib.completion.entries import from_coo as from_coo
    from lawlib.completion.solver import complete as complete
    from lawlib.compress.deep_linear import draw_reduction as draw_reduction
    from lawlib.compress.deep_linear import expand as expand
    from lawlib.compress.deep_linear import reduce as reduce
    from lawlib.compress.head import low_rank_mlp as low_rank_mlp
    from lawlib.compress.samples import compress_samples as compress_samples
    from lawlib.descent.steps import gradient_descent as gradient_descent
    from lawlib.dynamics.sweep import sweep as sweep
    from lawlib.dynamics.system import simulate as simulate
    from lawlib.linalg.gradients import gradient_products as gradient_products
    from lawlib.linalg.spectra import block_krylov_svd as block_krylov_svd
    from lawlib.linalg.spectra import matrix_products as matrix_products
    from lawlib.linalg.subspaces import principal_angles as principal_angles
    from lawlib.theory import collapse as collapse
    from lawlib.theory import induced_flow as induced_flow
    from lawlib.theory import inverse_problems as inverse_problems
    from lawlib.theory import parsimony as parsimony
    from lawlib.theory import rank_jumps as rank_jumps
    from lawlib.theory import smooth_mlp as smooth_mlp
    from lawlib.tracking.monitor import tracker as tracker

__version__ = "0.2.0"

# Where each name of the front door lives. JAX is imported with the first of them, not with lawlib.
_FUNCTIONS = {
    "block_krylov_svd": "linalg.spectra",
    "complete": "completion.solver",
    "compress_samples": "compress.samples",
    "draw_reduction": "compress.deep_linear",
    "expand": "compress.deep_linear",
    "from_coo": "completion.entries",
    "gradient_descent": "descent.steps",
    "gradient_products": "linalg.gradients",
    "low_rank_mlp": "compress.head",
    "matrix_products": "linalg.spectra",
    "principal_angles": "linalg.subspaces",
    "reduce": "compress.deep_linear",
    "simulate": "dynamics.system",
    "sweep": "dynamics.sweep",
    "tracker": "tracking.monitor",
}
_LAWS = ("collapse", "induced_flow", "inverse_problems", "parsimony", "rank_jumps", "smooth_mlp")


def _imported(name: str) -> Any:
    """A name of the front door, imported when it is first asked for."""
    if name in _FUNCTIONS:
        value = getattr(importlib.import_module(f"lawlib.{_FUNCTIONS[name]}"), name)
    elif name in _LAWS:
        value = importlib.import_module(f"lawlib.theory.{name}")
    elif name.isidentifier() and importlib.util.find_spec(f"lawlib.{name}"):
        return importlib.import_module(f"lawlib.{name}")
    else:
        msg = f"lawlib has no {name!r}; dir(lawlib) lists what it has at the top, help(lawlib) its packages"
        raise AttributeError(msg, name=name, obj=sys.modules[__name__])
    globals()[name] = value
    return value


if not TYPE_CHECKING:  # a type checker that saw it would let every name pass
    __getattr__ = _imported


def __dir__() -> list[str]:
    """The front door, in place of what importing it took."""
    return sorted([*_FUNCTIONS, *_LAWS, "__doc__", "__version__", "cpu_flags"])


warn_if_affected()
