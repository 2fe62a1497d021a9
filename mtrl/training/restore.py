"""A training loop that goes on from a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mtrl.storage import checkpoint
from mtrl.system import terminal
from mtrl.training.loop import TrainingLoop


def restore(loop: TrainingLoop, path: Path) -> None:
    """Puts a new loop in the state of a checkpoint of its run, and says where it will not go on as if never stopped.

    Raises:
        CheckpointError: the checkpoint is damaged, does not fit, or is of another version.
    """
    try:
        state = checkpoint.load(path)
        _check(loop, path, state)
        loop.load_state_dict(state)
    except (torch.OutOfMemoryError, checkpoint.CheckpointError):
        raise
    except KeyError as error:
        raise checkpoint.CheckpointError(
            f"The checkpoint {path} has no {error}: it was written by another version of the toolkit "
            f"({_version(loop.run_dir)}); go on with that one."
        ) from error
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise checkpoint.CheckpointError(
            f"The checkpoint {path} does not fit the run: {terminal.one_line(str(error))}."
        ) from error
    _say_what_differs(loop, path, state)


def _check(loop: TrainingLoop, path: Path, state: Mapping[str, Any]) -> None:
    """Compares a state with the loop's, apart from what generators, balancers and the replay look at themselves.

    Raises:
        CheckpointError: it does not fit, or cannot be gone on from.
    """
    agent, collector = loop.agent.state_dict(), loop.collector.state_dict()
    del agent["noise"], agent["exploration"]
    for optimizer in ("critic_optimizer", "actor_optimizer"):
        del agent[optimizer]["balancer"]
    checkpoint.check_fits(path, state["agent"], agent, "agent")
    kept = [n for n in ("observation", "tracker", "normalizer", "returns") if n in state["loop"]]
    for name in kept:
        # Of an episode without a success there is no step of its success.
        checkpoint.check_fits(
            path, state["loop"][name], collector[name], f"loop.{name}", finite=name != "tracker"
        )
    num_tasks = len(loop.tasks)
    gramian = torch.empty(len(loop.config.seeds), num_tasks, num_tasks, dtype=torch.float64)
    gramians = state["loop"]["update_metrics"]["gramians"]
    expected = dict.fromkeys(gramians, gramian)
    checkpoint.check_fits(path, gramians, expected, "loop.update_metrics.gramians", finite=False)
    # A world that a fault stopped may be anywhere until its next episode begins.
    checkpoint.check_fits(path, state["env"], loop.env.state_dict(), "env", finite=False)


def _say_what_differs(loop: TrainingLoop, path: Path, state: Mapping[str, Any]) -> None:
    """Says it where the run that goes on is not the one that was not stopped."""
    theirs = state["loop"].get("device", loop.config.device)
    if theirs != loop.config.device:
        terminal.message(
            f"The run was trained on {theirs} and goes on on {loop.config.device}, with other random numbers and "
            "roundings: this differs from the run that was not moved."
        )
    if not loop.env.keeps_state:
        terminal.message(
            "The state of environments of your own cannot be saved: their episodes begin anew. This differs from "
            "the run that was not stopped."
        )
    if "replay" not in state and loop.step > 0:
        terminal.message(
            f"The checkpoint {path} was written without its replay: the policy first collects up to step "
            f"{loop.learns_from} of each task, then the updates go on. This differs from the run that was not "
            "stopped."
        )


def _version(run_dir: Path) -> str:
    """The version that a run's stamp names."""
    try:
        stamped = json.loads((run_dir / "stamp.json").read_text(encoding="utf-8"))
        return f"{stamped['versions']['mtrl-toolkit']}, commit {stamped['git_commit']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "its stamp.json does not say which"
