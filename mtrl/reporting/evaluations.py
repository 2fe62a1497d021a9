"""What `mtrl evaluate` found of a run, and which of several ways of evaluating it is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtrl.reporting.files import mapping_in
from mtrl.storage.check_run import check_experiment
from mtrl.storage.json_lines import RETURNS, SUCCESS, is_step
from mtrl.storage.scores import Floats, Measure, check_scores, to_array
from mtrl.system.files import read_mapping
from mtrl.system.terminal import command


class Way(NamedTuple):
    """How `mtrl evaluate` was run; of several ways the greatest is reported."""

    episodes: int
    mean_action: bool
    batched: bool
    goal_seed: int
    worlds_per_task: int
    engine: str

    def __str__(self) -> str:
        action = "mean" if self.mean_action else "sampled"
        return (
            f"{self.episodes} episodes, {action} action, {self.engine} engine, goal seed {self.goal_seed}, "
            f"{self.worlds_per_task} worlds per task"
        )

    def compared(self) -> dict[str, Any]:
        """What must be the same for runs to be compared: both engines give the same episodes."""
        policy = "mean" if self.mean_action else "sampled"
        return {"policy": policy, "goal_seed": self.goal_seed, "episodes": self.episodes}


def _read_evaluations(
    path: Path, config: dict[str, Any], seeds: list[int], tasks: list[str], measure: Measure
) -> dict[Way, dict[int, tuple[str, Floats]]]:
    """The files that `mtrl evaluate` wrote: their name and scores [S, T] by way and step."""
    key = "success" if measure == "success" else "returns"
    found: dict[Way, dict[int, tuple[str, Floats]]] = {}
    for file in sorted((path / "evaluation").glob("*.json")):
        content = read_mapping("evaluation", file)
        if content.get("seeds") != seeds or content.get("tasks") != tasks:
            raise ValueError(f"{file.name} has other seeds or tasks than the run.")
        check_experiment(path, config, f"evaluation/{file.name}", content.get("experiment"))
        step, episodes = content.get("step"), mapping_in(content, "episodes", file)
        if not is_step(step) or key not in episodes:
            raise ValueError(f"{file.name} must hold a step and the {measure} of episodes.")
        engine, policy = content.get("engine", "batched"), content.get("policy", "mean")
        if not isinstance(engine, str):
            raise ValueError(f"{file.name} must hold the name of an engine, got {engine!r}.")
        if policy not in ("mean", "sampled"):
            raise ValueError(f"{file.name} must hold the policy, mean or sampled, got {policy!r}.")
        try:
            outcomes = to_array(episodes[key])
            if outcomes.ndim != 3:
                raise ValueError(f"it must hold the {measure} of each seed, task and episode.")
            with np.errstate(invalid="ignore"):
                scores = np.nansum(outcomes, -1) / np.isfinite(outcomes).sum(-1)
            check_scores(scores, (len(seeds), len(tasks)), SUCCESS if measure == "success" else RETURNS)
        except ValueError as error:
            raise ValueError(f"{file.name}: {error}") from error
        numbers = [content.get(name) for name in ("goal_seed", "worlds_per_task")]
        goal_seed, worlds = (number if isinstance(number, int) else 0 for number in numbers)
        way = Way(outcomes.shape[-1], policy == "mean", engine == "batched", goal_seed, worlds, engine)
        name, other = found.setdefault(way, {}).setdefault(step, (file.name, scores))
        if not np.array_equal(scores, other, equal_nan=True):
            raise ValueError(
                f"{file.name} and {name} evaluate step {step} with the same settings and have other outcomes: move one "
                "of them out of the evaluation directory."
            )
    return found


def read_best_way(
    path: Path, config: dict[str, Any], seeds: list[int], tasks: list[str], notes: list[str], measure: Measure
) -> tuple[NDArray[np.int64], Floats, dict[str, Any]]:
    """Steps [n] and scores [n, S, T] of one way of evaluating, and what of it must be the same to be compared."""
    found = _read_evaluations(path, config, seeds, tasks, measure)
    if not found:
        if not (path / "checkpoints").is_dir():
            raise ValueError(
                "it has no evaluation and no checkpoint for one: without --source its evaluations in training count."
            )
        raise ValueError(f"it has no evaluation; `{command('evaluate', path)}` writes one.")
    way = max(found)
    others = [str(other) for other in sorted(found, reverse=True) if other != way]
    left_out = f"; those with {'; '.join(others)} are left out" if others else ""
    notes.append(f"{path}: its evaluations with {way} are used{left_out}.")
    steps = sorted(found[way])
    scores = np.array([found[way][step][1] for step in steps])
    return np.array(steps, dtype=np.int64), scores, way.compared()
