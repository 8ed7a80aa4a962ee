"""A picture of 256 colours is the picture, to the eye: areas, lines and letters keep their colours."""

import io

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from PIL import Image

from experiments.runner import plots
from experiments.runner.palette import in_palette


@pytest.fixture(scope="module")
def drawn():
    """A map of all colours of both scales, with its bars, above bands and all six line colours."""
    figure = plots.figure(6.0, 6.0)
    above, middle, below = figure.subplots(3, 1)
    x, y = np.meshgrid(np.linspace(-1, 1, 60), np.linspace(0.1, 1, 30))
    plots.heat([above], np.arange(60), (x * y)[None], "signed")
    plots.heat([middle], np.arange(60), (90 * np.abs(x) * y)[None], "angle", limits=(0.0, 90.0))
    for index, look in enumerate(plots.looks(6)):
        members = np.sin(np.linspace(0, 6, 200) + index) + np.array([[-0.2], [0.0], [0.2]])
        plots.band(below, np.arange(200), members, label=f"line {index}", **look.curve)
    below.legend()
    return figure


@pytest.fixture(scope="module")
def file(drawn, tmp_path_factory):
    """The picture as saved."""
    folder = tmp_path_factory.mktemp("pictures")
    plots.save(drawn, folder, "drawn")
    return folder / "drawn.png"


@pytest.fixture(scope="module")
def both(drawn, file):
    """The pixels as saved, and as Agg draws them in true colour."""
    drawn.set_dpi(plots.STYLE["savefig.dpi"])
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    with Image.open(file) as saved:
        assert saved.mode == "P"
        return np.asarray(saved.convert("RGB")).astype(int), np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def test_colours_are_kept_closely_everywhere(both):
    saved, true = both
    assert len(np.unique(true.reshape(-1, 3), axis=0)) > 1000
    off = np.abs(saved - true).max(-1)
    # Blurred edges of lines may be off by a sixth of the scale, on average by a hundredth.
    assert off.max() <= 40
    assert off[(true != 255).any(-1)].mean() <= 2.6


def test_colour_maps_show_no_steps(both):
    saved, true = both
    # In a bar and in a cell of a map, pixels are like the eight on their right.
    runs = np.lib.stride_tricks.sliding_window_view(true, 9, axis=1)
    area = (runs == runs[..., :1]).all((-1, -2)) & (true[:, :-8] != 255).any(-1)
    off = np.abs(saved - true).max(-1)[:, :-8][area]
    assert len(np.unique(true[:, :-8][area], axis=0)) > 500
    assert off.max() <= 8
    assert off.mean() <= 2.2


def test_white_and_the_colours_of_lines_are_exact(both):
    saved, true = both
    np.testing.assert_array_equal(saved[(true == 255).all(-1)], 255)
    for colour in plots.COLOURS:
        line = np.round(255 * np.array(to_rgb(colour))).astype(int)
        assert (saved == line).all(-1).sum() >= (true == line).all(-1).sum() / 2 > 0


def test_the_same_drawing_is_the_same_bytes_without_a_version(drawn, file, tmp_path):
    plots.save(drawn, tmp_path, "again")
    one = file.read_bytes()
    assert one == (tmp_path / "again.png").read_bytes()
    assert len(one) <= 200_000
    with Image.open(io.BytesIO(one)) as saved:
        assert saved.info.keys() == {"dpi"}
        assert saved.size == tuple(drawn.get_size_inches() * plots.STYLE["savefig.dpi"])


@pytest.mark.parametrize("count", [1, 2, 255, 256])
def test_few_colours_are_exact(count):
    shades = np.stack([np.arange(count), np.arange(count) // 2, 255 - np.arange(count)], -1).astype(np.uint8)
    # All of them in even areas, for which a picture of more colours has fewer.
    pixels = np.broadcast_to(np.repeat(shades, 3, axis=0), (3, 3 * count, 3))
    made = in_palette(Image.fromarray(pixels))
    assert made.mode == "P"
    np.testing.assert_array_equal(np.asarray(made.convert("RGB")), pixels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (400, 1), (40, 60)])
def test_pictures_of_any_shape_and_without_an_even_area(shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    made = np.asarray(in_palette(Image.fromarray(pixels)).convert("RGB")).astype(int)
    assert len(np.unique(made.reshape(-1, 3), axis=0)) <= 256
    # Of 256 colours spread over the cube, one is this near.
    assert np.abs(made - pixels).max() <= 64


def test_an_even_picture_of_many_shades_has_them_in_order():
    shades = (mpl.colormaps["cividis"](np.linspace(0, 1, 1024))[:, :3] * 255).round().astype(np.uint8)
    pixels = np.repeat(np.repeat(shades[:, None], 5, axis=0), 8, axis=1)
    made = np.asarray(in_palette(Image.fromarray(pixels)).convert("RGB")).astype(int)
    assert np.abs(made - pixels).max() <= 4
