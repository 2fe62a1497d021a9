"""When a simulation blows up: MuJoCo warns, and silently starts that world again at time 0."""

from __future__ import annotations

import envs.headless  # noqa: F401  (before MuJoCo)

# isort: split
import mujoco

_BAD = (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC)


def diverged(data: mujoco.MjData) -> bool:
    """Whether positions, velocities or accelerations became invalid since the last reset."""
    return any(data.warning[kind].number > 0 for kind in _BAD)


def keep_no_log() -> None:
    """Keeps MuJoCo from writing its warnings to a file in the working directory: engines report them themselves."""
    mujoco.set_mju_user_warning(lambda message: None)
