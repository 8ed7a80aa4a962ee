"""What a tracker recorded as a labelled data set (xarray): by matrix, step and index, with units."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from lawlib.extras import imports_for
from lawlib.tracking.state import Fractions, Records

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["dataset"]

ABOUT = {
    "values": ("leading singular values", "units of the matrix"),
    "norm": ("Frobenius norm", "units of the matrix"),
    "bound": ("bound on the sine of the angle to the exact subspaces", "1"),
    "certified": ("the bound is within the tolerance", "1"),
    "passes": ("products with the matrix", "1"),
    "left_angles": ("principal angles to the reference, left", "rad"),
    "right_angles": ("principal angles to the reference, right", "rad"),
    "angle_error": ("largest error of an angle", "rad"),
    "angles_certified": ("both subspaces are certified", "1"),
    "shares": ("share of the squared norm in a block of the reference", "1"),
    "step": ("step", "1"),
    "index": ("number of the singular value or angle", "1"),
    "matrix": ("matrix", ""),
    "against": ("what the matrix is compared with", ""),
    "block": ("block of the reference", ""),
}
# Of variables that are no floating numbers, where a matrix or a member has none.
FILL = {"certified": False, "angles_certified": False, "passes": 0}


def dataset(records: Mapping[str, Records], members: Sequence[str] = ()) -> "xr.Dataset":
    """The records of several matrices (``lawlib.tracking.records``) as an ``xarray.Dataset``.

    Its dimensions are ``members``, the names of leading axes that vmap added, then matrix, against, step, block and
    index, which counts values and angles from 1. Steps that no member reached are left out; what a member did not
    reach, or a matrix does not have, is NaN. Angles are in radians; each variable has ``long_name`` and ``units``.

    Raises:
        ImportError: xarray is missing.
        ValueError: there are no records, or they have other leading axes than ``members`` or than each other.

    Example:
        >>> import jax, jax.numpy as jnp, lawlib
        >>> watch = lawlib.tracker({"kernel": "kernel"}, k=2, every=5, num_steps=10)
        >>> tracks = watch.init(jax.random.key(0), {"kernel": jnp.eye(4)})
        >>> found = lawlib.tracking.dataset(lawlib.tracking.records(tracks))
        >>> dict(found["values"].sizes)
        {'matrix': 1, 'step': 0, 'index': 2}
    """
    with imports_for("dataset"):
        import xarray as xr

    _check(records, members)
    found = _joined(xr, "matrix", {name: _of_matrix(xr, one, members) for name, one in records.items()})
    for name, variable in found.variables.items():
        long_name, units = ABOUT.get(str(name), (str(name), "1"))
        variable.attrs = {"long_name": long_name} | ({"units": units} if units else {})
    return found.transpose(*members, "matrix", "against", "step", "block", "index", missing_dims="ignore")


def _of_matrix(xr: Any, records: Records, members: Sequence[str]) -> "xr.Dataset":
    axes = tuple(range(len(members)))
    one: Any = jax.tree.map(np.asarray, records)
    reached = one.step >= 0
    kept = reached.any(axes)
    coords = {"step": one.step.max(axes, initial=-1)[kept]}

    def labelled(arrays: Mapping[str, np.ndarray], *names: str, **labels: Any) -> Any:
        dims = [*members, "step", *names]
        tables = {name: np.compress(kept, _masked(each, reached), axis=len(members)) for name, each in arrays.items()}
        return xr.Dataset({name: (dims, each) for name, each in tables.items()}, {**coords, **labels})

    def compared(found: Any) -> Any:
        numbers = {"angle_error": found.error, "angles_certified": found.certified}
        angles = [
            labelled({name: each}, "index", index=np.arange(1, each.shape[-1] + 1))
            for name, each in (("left_angles", found.left_angles), ("right_angles", found.right_angles))
        ]
        shares = {"shares": np.stack(found.fractions, axis=-1)}
        blocks = labelled(shares, "block", block=list(Fractions._fields))
        return xr.merge([labelled(numbers), *angles, blocks], join="outer", compat="no_conflicts")

    values = labelled({"values": one.values}, "index", index=np.arange(1, one.values.shape[-1] + 1))
    numbers = labelled({name: getattr(one, name) for name in ("norm", "bound", "certified", "passes")})
    parts = [values, numbers]
    if one.compared:
        parts.append(_joined(xr, "against", {name: compared(each) for name, each in one.compared.items()}))
    return xr.merge(parts, join="outer", compat="no_conflicts")


def _joined(xr: Any, dim: str, parts: Mapping[str, "xr.Dataset"]) -> "xr.Dataset":
    """Data sets along a new dimension, with NaN, False or 0 where one of them has nothing."""
    return xr.concat(
        list(parts.values()),
        xr.DataArray(list(parts), dims=dim, name=dim),
        data_vars="all",
        coords="minimal",
        compat="override",
        join="outer",
        fill_value=FILL,
    )


def _masked(array: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """NaN, False or 0 in rows that have not been reached."""
    missing = np.nan if np.issubdtype(array.dtype, np.floating) else array.dtype.type(0)
    return np.where(reached.reshape(reached.shape + (1,) * (array.ndim - reached.ndim)), array, missing)


def _check(records: Mapping[str, Records], members: Sequence[str]) -> None:
    taken = sorted(set(members) & {"matrix", "against", "step", "block", "index"})
    leading = {name: np.shape(one.step)[:-1] for name, one in records.items()}
    msg = ""
    if not records:
        msg = "a data set needs the records of one or more matrices, got none"
    elif taken or len(set(members)) < len(members):
        msg = f"members must be names of axes, each once and none of the data set's own, got {list(members)}"
    elif len(set(leading.values())) > 1 or {len(shape) for shape in leading.values()} != {len(members)}:
        msg = f"members must name the leading axes of the records, got {list(members)} for the axes {leading}"
    if msg:
        raise ValueError(msg)
