"""How a task is declared: one small file each in `envs/compiled/tasks`, which says what differs between tasks."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.benchmarks import TASK_NAMES
from envs.compiled.arrays import Array, Arrays
from envs.suggestion import unknown

if TYPE_CHECKING:
    from envs.compiled.scene import Scene

Kind = Literal["position", "quaternion", "axes", "joint", "grip"]
ObjectKind = Literal["body", "site", "geom", "joint"]


class Reading(NamedTuple):
    """Something to read after each step: a position [3], quaternion [4] (scalar first), a frame's three axes [9],
    a joint, or whether something is gripped [1]."""

    kind: Kind
    object: ObjectKind
    name: str


# Where a body's or a site's frame is, or a geom's centre.
body, site, geom = (partial(Reading, "position", kind) for kind in ("body", "site", "geom"))
# A body's orientation as a quaternion, scalar first (MuJoCo's `xquat`).
body_quaternion = partial(Reading, "quaternion", "body")
# An orientation as three axes (`envs.compiled.arrays.quaternion` makes a quaternion of them).
body_axes, site_axes, geom_axes = (partial(Reading, "axes", kind) for kind in ("body", "site", "geom"))
# The position of a hinge or slide joint.
joint = partial(Reading, "joint", "joint")
# Whether both of the gripper's pads press on a geom: 1 or 0.
grip = partial(Reading, "grip", "geom")

ROBOT: dict[str, Reading] = {
    "hand": body("hand"),
    "right_claw": body("rightclaw"),
    "left_claw": body("leftclaw"),
    "left_pad": body("leftpad"),
    "right_pad": body("rightpad"),
    "right_finger": site("rightEndEffector"),
    "left_finger": site("leftEndEffector"),
}
"""What every task reads."""

Reward = Callable[[Arrays, Array, Arrays], tuple[Array, Array]]
Vector3 = tuple[float, float, float]


@dataclass(frozen=True)
class Task:
    """One of Meta-World's tasks.

    The functions `observe`, `reward_v1`, `reward_v2` and `remember` are pure and see all n worlds at once;
    they take

    - readings: what `readings` names and what `ROBOT` names, and besides "tcp" [n, 3], the centre of the
      fingers, "gripper" [n], the opening in [0, 1] as observed, and "objects" [n, 14], what `observe`
      gave, padded by zeros (not for `observe` itself);
    - action: [n, 4], clipped to [-1, 1];
    - state: what `reset` gave, stacked; and "tcp_start" [n, 3], the fingers' centre when the hand had
      settled.

    Attributes:
        model: the file in Meta-World's `assets/sawyer_xyz`.
        hand_start: where the hand is put at a reset; with `np.float32(...)` of the numbers where
            Meta-World has that.
        reset_low, reset_high: the box that goals are drawn from, [D] (Meta-World's `_random_reset_space`).
        readings: what to read, by names of our own.
        reset: places things for a goal [D] in a world whose hand has settled, with Meta-World's calls in
            Meta-World's order, since what is read in between may be stale. Returns arrays that the
            functions above need, "target" [3] among them: the goal that is observed.
        observe: positions and quaternions of the one or two objects, as observed: [n, 7] or [n, 14].
        reward_v1, reward_v2: reward [n] and success [n] (bool) of both versions.
        min_distance: goals are drawn again whose two places, entries 0-1 and 3-4, are closer than this.
        kept_from: what stands for the second of these places.
        moved_bodies, moved_sites: all that `reset` moves by `Scene.move_body` and `move_site`.
        remember: computes the next values of those entries of the state that change during an episode, before the
            reward of the same step; `reset` gives their first ones.
        hand_low, hand_high: the box that the hand's target is kept in.
        goal_low, goal_high: the box that the observed goal is clipped to, except in the first observation.
    """

    model: str
    hand_start: tuple[float, ...] | NDArray[np.floating]
    reset_low: tuple[float, ...]
    reset_high: tuple[float, ...]
    readings: Mapping[str, Reading]
    reset: Callable[[Scene, NDArray[np.float64]], dict[str, NDArray[np.float64] | np.floating | float]]
    observe: Callable[[Arrays], Array]
    reward_v1: Reward
    reward_v2: Reward
    min_distance: float = 0.0
    kept_from: tuple[float, float] | None = None
    moved_bodies: tuple[str, ...] = ()
    moved_sites: tuple[str, ...] = ()
    remember: Callable[[Arrays, Array, Arrays], dict[str, Array]] | None = None
    hand_low: Vector3 = (-0.5, 0.40, 0.05)
    hand_high: Vector3 = (0.5, 1.0, 0.5)
    goal_low: Vector3 = (-0.5, 0.40, 0.05)
    goal_high: Vector3 = (0.5, 1.0, 0.5)
    all_readings: dict[str, Reading] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "all_readings", {**ROBOT, **self.readings})


def load_task(name: str) -> Task:
    """The declaration of the task called "<name>-v3".

    Raises:
        ValueError: there is none.
    """
    if name not in TASK_NAMES:
        raise unknown("task", name, TASK_NAMES)
    module = importlib.import_module(f"envs.compiled.tasks.{name.removesuffix('-v3').replace('-', '_')}")
    task: Task = module.TASK
    return task
