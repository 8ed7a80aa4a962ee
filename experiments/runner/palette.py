"""Pictures of 256 colours: a third of the bytes of a full PNG, and the same to the eye."""

import numpy as np
from PIL import Image

__all__ = ["in_palette"]

COLOURS = 256
# At most so many are for even areas, where the eye sees steps in a colour map and a wrong shade of a band. The others
# are for the blurred edges of lines and letters, which have ten times as many shades, in few pixels each.
OF_AREAS = 200
CODES = 1 << 24


def in_palette(picture: Image.Image) -> Image.Image:
    """The RGB picture in mode P, exact if it has at most 256 colours.

    Without dither, which is noise in an even area.
    """
    red, green, blue = np.moveaxis(np.asarray(picture).astype(np.int32), -1, 0)
    codes = red << 16 | green << 8 | blue
    used = np.zeros(CODES, bool)
    used[codes] = True
    found = np.flatnonzero(used)
    colours = np.stack([found >> 16, found >> 8 & 255, found & 255], -1).astype(np.uint8)
    palette = _palette(colours, np.bincount(codes[_even(codes)], minlength=CODES)[found])
    entries = np.zeros(CODES, np.uint8)
    entries[found] = _nearest(colours, palette)
    drawn = Image.fromarray(entries[codes])
    drawn.putpalette(palette.tobytes())
    return drawn


def _even(codes: np.ndarray) -> np.ndarray:
    """Which pixels have the colour of both neighbours in their row, or in their column."""
    even = np.zeros(codes.shape, bool)
    for area, lines in ((even, codes), (even.T, codes.T)):
        same = lines[1:] == lines[:-1]
        area[1:-1] |= same[1:] & same[:-1]
    return even


def _palette(colours: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """At most 256 colours for these (n, 3), of which each has so many pixels in even areas."""
    if len(colours) <= COLOURS:
        return colours
    inner = areas > 0
    of_areas = _chosen(np.repeat(colours[inner], np.ceil(np.sqrt(areas[inner])).astype(int), axis=0), OF_AREAS)
    return np.concatenate([of_areas, _chosen(colours[~inner], COLOURS - len(of_areas))])


def _chosen(shades: np.ndarray, most: int) -> np.ndarray:
    """At most so many colours for these shades (n, 3), spread over all of them and moved to the means of groups."""
    distinct = np.unique(shades, axis=0)
    if len(distinct) <= most:
        return distinct
    method, dither = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
    chosen = Image.fromarray(shades[None]).quantize(most, method=method, kmeans=1, dither=dither)
    return np.array(chosen.getpalette(), np.uint8).reshape(-1, 3)[:most]


def _nearest(colours: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The index of the palette's nearest colour, for each of these (n, 3)."""
    # In float32 these sums of products of integers are exact.
    points, entries = colours.astype(np.float32), palette.astype(np.float32)
    return np.argmin(np.square(entries).sum(1) - 2 * points @ entries.T, axis=1)
