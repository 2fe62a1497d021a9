"""Pictures of cosines between the tasks' gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_RED, _WHITE, _BLUE, _GREY = (
    np.array(c) for c in ((178, 24, 43), (247, 247, 247), (33, 102, 172), (160,) * 3)
)
_STEPS = 20  # shades of either sign
_SHADES = 2 * _STEPS + 2  # from a cosine of -1 to one of 1, and where there is none
_LEVELS = 6  # from a shade to the colour of text on it


class HeatMap:
    """Draws cosines of T tasks [T, T]: red for a conflict, blue for agreement; the frame is drawn once.

    A picture has a palette and is put together from tiles, one for each hundredth, which are drawn when first needed:
    to write a hundred numbers takes thirty milliseconds, and colours of three bytes take four times as long.
    """

    MARGIN, TOP = 190, 24  # pixels for the names and for the numbers

    def __init__(self, tasks: Sequence[str]) -> None:
        self.legible = len(tasks) <= 12  # in every cell its number
        self.size = 40 if self.legible else 14
        self._font = ImageFont.load_default(12)
        self._tiles: dict[int | None, NDArray[np.uint8]] = {}
        side = self.size * len(tasks)
        mask = Image.new("L", (self.MARGIN + side, self.TOP + side))
        draw = ImageDraw.Draw(mask)
        for i, task in enumerate(tasks):
            middle = (i + 0.5) * self.size
            row = (self.MARGIN - 6, self.TOP + middle)
            draw.text(row, f"{task}  {i + 1}", fill=255, font=self._font, anchor="rm")
            if self.legible or i % 5 == 4:
                column = (self.MARGIN + middle, self.TOP / 2)
                draw.text(column, str(i + 1), fill=255, font=self._font, anchor="mm")
        self._frame = _indices(_shade(0), mask)

    def __call__(self, cosine: NDArray[np.float64]) -> Image.Image:
        """The picture; grey where there is no cosine (NaN)."""
        num_tasks = len(cosine)
        hundredths = [None if np.isnan(value) else round(100 * value) for value in cosine.flat]
        tiles = np.stack([self._tile(value) for value in hundredths])
        cells = tiles.reshape(num_tasks, num_tasks, self.size, self.size).swapaxes(1, 2)
        indices = self._frame.copy()
        indices[self.TOP :, self.MARGIN :] = cells.reshape(num_tasks * self.size, -1)
        picture = Image.fromarray(indices)
        picture.putpalette(_PALETTE)
        return picture

    def _tile(self, hundredths: int | None) -> NDArray[np.uint8]:
        """A cell [size, size]."""
        if hundredths not in self._tiles:
            mask = Image.new("L", (self.size, self.size))
            if self.legible and hundredths is not None:
                middle = (self.size / 2, self.size / 2)
                text = f"{hundredths / 100:.2f}"
                ImageDraw.Draw(mask).text(middle, text, fill=255, font=self._font, anchor="mm")
            self._tiles[hundredths] = _indices(_shade(hundredths), mask)
        return self._tiles[hundredths]


def _shade(hundredths: int | None) -> int:
    return _SHADES - 1 if hundredths is None else _STEPS + round(_STEPS * hundredths / 100)


def _indices(shade: int, mask: Image.Image) -> NDArray[np.uint8]:
    """Where a mask's text is on a shade, as indices of the palette."""
    levels = np.round(np.asarray(mask) / 255 * (_LEVELS - 1))
    return (shade * _LEVELS + levels).astype(np.uint8)


def _palette() -> bytes:
    """For each shade, its colour and then those on the way to the colour of text on it, in steps."""
    colors = []
    for shade in range(_SHADES):
        value = shade / _STEPS - 1.0
        color = _WHITE + abs(value) * ((_RED if value < 0 else _BLUE) - _WHITE)
        text = 255 if abs(value) > 0.6 else 0
        if shade == _shade(None):
            color, text = _GREY, 0
        colors += [color + level / (_LEVELS - 1) * (text - color) for level in range(_LEVELS)]
    return np.round(colors).astype(np.uint8).tobytes()


_PALETTE = _palette()
