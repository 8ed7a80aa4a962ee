"""Curves as text: what was packed comes back to four digits, and shares of a page are kept to."""

import base64
import json
import zlib

import numpy as np
import pytest

from experiments.reporting.curves import Curve, Curves, Variable
from experiments.reporting.packing import pack, shared


def curves(num_variables=3, num_steps=160, num_members=5, seed=0):
    draw = np.random.default_rng(seed)
    names = [f"v{i}" for i in range(num_variables)]
    lines = []
    for name in names:
        values = np.sort(np.exp(10 * draw.standard_normal((num_members, num_steps))), axis=0)
        lines.append(Curve(name, "plain", "plain", num_members, 0, np.median(values, 0), values[0], values[-1]))
    variables = tuple(Variable(name, "1", "meaning", "", "") for name in names)
    return Curves(variables, {"plain": np.arange(num_steps)}, tuple(lines), num_steps)


def unpacked(packed):
    return json.loads(zlib.decompress(base64.b64decode(packed.text)))


def test_numbers_come_back_to_four_digits():
    given = curves()
    found = unpacked(pack(given))
    assert found["steps"]["plain"] == list(range(160))
    for row, curve in zip(found["curves"], given.curves, strict=True):
        for name in ("middle", "low", "high"):
            np.testing.assert_allclose(row[name], getattr(curve, name), rtol=5.001e-4)


def test_no_number_is_null_and_equal_members_have_no_range():
    line = np.array([1.0, np.nan, 3.0])
    curve = Curve("v0", "plain", "plain", 2, 0, line, line, line)
    (row,) = unpacked(pack(curves(1, 3)._replace(curves=(curve,))))["curves"]
    assert row["middle"] == [1, None, 3]
    assert "low" not in row
    assert "high" not in row


def test_fewer_observations_are_evenly_spaced_and_have_both_ends():
    packed = pack(curves(), 20)
    found = unpacked(packed)
    steps = found["steps"]["plain"]
    assert (packed.shown, len(steps), steps[0], steps[-1]) == (20, 20, 0, 159)
    assert all(len(row["middle"]) == 20 for row in found["curves"])
    assert set(np.diff(steps)) <= {8, 9}


@pytest.mark.parametrize("share", [1.0, 0.7, 0.3, 0.1, 0.0])
def test_a_room_is_kept_to(share):
    given = curves(6)
    room = int(share * len(pack(given).text))
    (packed,) = shared([given], room)
    assert len(packed.text) <= room
    assert packed.left_out == tuple(variable.name for variable in given.variables if variable.name not in kept(packed))
    assert (packed.shown == 160) == (share == 1.0)
    assert share == 0.0 or kept(packed)[:1] == ["v0"]


def kept(packed):
    return [variable["name"] for variable in unpacked(packed)["variables"]] if packed.text else []


def test_a_small_run_leaves_its_room_to_a_large_one():
    small, large = curves(1, 10), curves(6)
    sizes = [len(pack(each).text) for each in (small, large)]
    room = sum(sizes)
    assert [len(packed.text) for packed in shared([large, small], room)] == sizes[::-1]
    first, second = shared([large, small], room - 1)
    assert len(second.text) == sizes[0]
    assert len(first.text) < sizes[1]
    assert len(first.text) + len(second.text) <= room - 1


def test_variables_with_the_most_curves_are_left_out_first():
    given = curves(3)
    assert pack(given._replace(curves=(*[given.curves[0]] * 9, *given.curves)), kept=2).left_out == ("v0",)
