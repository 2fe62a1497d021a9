"""An environment of one's own: Gymnasium's pendulum of any length and mass, with a picture that needs no pygame."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from PIL import Image, ImageDraw

SIZE = 240  # pixels
PIXELS_PER_METRE = 70


class Pendulum(PendulumEnv):
    """Swings up a rod and holds it upright, with a torque of at most 2 Nm.

    Observations: cosine and sine of the angle from upright, and the angular velocity.

    Args:
        length: of the rod, in metres.
        mass: of the rod, in kilograms.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(self, length: float = 1.0, mass: float = 1.0, render_mode: str | None = None) -> None:
        super().__init__(render_mode=render_mode)
        self.l, self.m = length, mass

    def step(self, action: Any) -> Any:
        """One step; it says that it succeeds while the rod stands upright."""
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated, info | {"success": bool(observation[0] > 0.95)}

    def render(self) -> Any:
        """A picture [240, 240, 3]."""
        picture = Image.new("RGB", (SIZE, SIZE), (255, 255, 255))
        draw = ImageDraw.Draw(picture)
        middle, reach = SIZE / 2, self.l * PIXELS_PER_METRE
        angle = self.state[0]
        tip = (middle + reach * math.sin(angle), middle - reach * math.cos(angle))
        draw.line([(middle, middle), tip], fill=(200, 80, 60), width=round(6 + 6 * self.m))
        draw.ellipse([middle - 5, middle - 5, middle + 5, middle + 5], fill=(0, 0, 0))
        return np.asarray(picture)
