"""What a task's reset does with MuJoCo: it moves things and reads where they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from envs.compiled.arrays import Array
from envs.headless import mujoco

FRAME_SKIP = 5


class Scene:
    """A model and its data.

    Attributes:
        bodies, sites: the numbers of those that may be moved.
    """

    def __init__(self, model: mujoco.MjModel, bodies: Sequence[str], sites: Sequence[str]) -> None:
        self.model, self.data = model, mujoco.MjData(model)
        self.bodies = [model.body(name).id for name in bodies]
        self.sites = [model.site(name).id for name in sites]

    @property
    def tcp(self) -> NDArray[np.float64]:
        """The centre of the fingers, [3]."""
        tcp: NDArray[np.float64] = (self.site("rightEndEffector") + self.site("leftEndEffector")) / 2.0
        return tcp

    def body(self, name: str) -> NDArray[np.float64]:
        """Where a body was at the last step or `forward`, [3]; likewise `site` and `geom`."""
        return np.array(self.data.body(name).xpos)

    def site(self, name: str) -> NDArray[np.float64]:
        return np.array(self.data.site(name).xpos)

    def geom(self, name: str) -> NDArray[np.float64]:
        return np.array(self.data.geom(name).xpos)

    def move_body(self, name: str, position: Array) -> None:
        """Moves a body in the model; what is read of it changes at the next step or `forward` only."""
        body = self.model.body(name)
        assert body.id in self.bodies
        body.pos = position

    def move_site(self, name: str, position: Array) -> None:
        """Moves a site within its body, likewise."""
        site = self.model.site(name)
        assert site.id in self.sites
        site.pos = position

    def set_joints(self, positions: dict[int, float], velocities: tuple[int, ...] = ()) -> None:
        """Sets entries of qpos, sets entries of qvel to zero, and brings everything up to date."""
        for index, value in positions.items():
            self.data.qpos[index] = value
        self.data.qvel[list(velocities)] = 0.0
        self.forward()

    def place_object(self, position: Array) -> None:
        """Puts the task's free object at a position, at rest (Meta-World's `_set_obj_xyz`)."""
        self.set_joints(dict(enumerate(position, start=9)), tuple(range(9, 15)))

    def set_joint_silently(self, name: str, value: float) -> None:
        """Sets a joint and nothing else: what is read stays as it was."""
        self.data.joint(name).qpos = value

    def forward(self) -> None:
        """Brings positions up to date with the joints."""
        mujoco.mj_forward(self.model, self.data)

    def step_physics(self) -> None:
        """The steps that MuJoCo makes in one of the environment's."""
        mujoco.mj_step(self.model, self.data, FRAME_SKIP)
