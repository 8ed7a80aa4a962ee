"""Results on disk: netCDF groups, in which the values of a large variable are never in memory together."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # xarray takes half a second to import, and a refused run needs none of it
    import xarray as xr

    from experiments.runner.results import Column, Streamed

__all__ = ["write_group"]


def write_group(file: Path, group: str, content: "xr.Dataset | Streamed") -> None:
    """Append a group to a file; equal content gives equal bytes.

    Every variable with elements has fletcher32 checksums, except numeric scalars, which HDF5 cannot chunk.
    """
    import xarray as xr

    if isinstance(content, xr.Dataset):
        content.to_netcdf(file, mode="a", group=group, engine="h5netcdf", encoding=_encoding(content))
        return
    write_group(file, group, content.labels)
    import h5netcdf

    with h5netcdf.File(file, "a") as opened:
        node: Any = opened[group]
        for name, column in content.columns.items():
            _create(node, name, column)
        for name, place, values in content.blocks:
            node[name][place] = _encoded(values).values


def _create(node: Any, name: str, column: "Column") -> None:
    for dim, length in zip(column.dims, column.shape, strict=True):
        if dim not in node.dimensions:
            node.dimensions[dim] = length
    encoded = _encoded(np.empty((0,) * len(column.shape), column.dtype), column.attrs)
    attrs = dict(encoded.attrs)
    variable = node.create_variable(
        name, column.dims, encoded.dtype, fillvalue=attrs.pop("_FillValue", None), fletcher32=bool(column.dims)
    )
    variable.attrs.update(attrs)


def _encoded(values: np.ndarray, attrs: Any = None) -> "xr.Variable":
    """The values as xarray writes them: it has a convention for truth values, and marks what is not a number."""
    import xarray as xr
    from xarray import conventions

    dims = [f"axis_{index}" for index in range(values.ndim)]
    return conventions.encode_cf_variable(xr.Variable(dims, values, dict(attrs or {})))


def _encoding(dataset: "xr.Dataset") -> dict[Any, dict[str, Any]]:
    encoding: dict[Any, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        if variable.dtype.kind in "OSUT":
            # Characters, since HDF5 stores variable-length strings outside the checksummed chunks.
            encoding[name] = {"dtype": "S1", "fletcher32": variable.size > 0}
        else:
            encoding[name] = {"fletcher32": variable.ndim > 0 and variable.size > 0}
    return encoding
