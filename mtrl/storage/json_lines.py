"""Logs of a run: files of one JSON object a line, each with a step; and which of the lines that are due are missing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from mtrl.system.files import read_file, write_text

#: A line that has this is of an evaluation; others are of training.
SUCCESS = "evaluation/success"
RETURNS = "evaluation/returns"
#: The first line of a log has this: the options of the run that wrote it. Those of before 2026-11-30 lack it.
EXPERIMENT = "experiment"
#: A line that has this says which lines a resumed run found missing.
MISSING = "missing"
_LONGEST = 1_000_000  # bytes of a first line


def read_lines(path: Path, having: str = "") -> list[dict[str, Any]]:
    """The objects of a file, none where there is none; a last line that was cut off while it was written is left out.

    Args:
        having: read only lines that have this name.

    Raises:
        ValueError: it is no file, a line is no object with a step, or the steps do not increase.
    """
    if not path.exists() and not path.is_symlink():
        return []
    found: list[dict[str, Any]] = []
    # Two counts: an evaluation may come to its end later than lines of training.
    newest = {"training": -1, "evaluation": -1}
    for number, text in enumerate(read_file("log", path).split(b"\n")[:-1], start=1):
        if having.encode() not in text:
            continue
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            line = None
        if not _is_line(line):
            shown = text[:40].decode(errors="backslashreplace")
            raise ValueError(
                f"{path}, line {number}, must be a JSON object with a step, and it is {shown!r}: restore the file, or "
                "delete the line."
            )
        step, kind = line["step"], "evaluation" if SUCCESS in line else "training"
        if MISSING not in line:
            if step <= newest[kind]:
                raise ValueError(
                    f"{path}, line {number}, is of step {step} after one of step {newest[kind]}, and the steps of "
                    f"{kind} do not increase: restore the file, or delete the line."
                )
            newest[kind] = step
        found.append(line)
    return found


def read_experiment(path: Path) -> Any:
    """What the first line of a log says of the run that wrote it; None where it says nothing."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            line = json.loads(file.readline(_LONGEST))
    except (OSError, ValueError, RecursionError):  # who reads the log says what is wrong with it
        return None
    return line.get(EXPERIMENT) if isinstance(line, dict) else None


def _is_line(line: Any) -> bool:
    """Whether this is an object with a step and, if it is a mark, with lists of steps and nothing else."""
    if not isinstance(line, dict) or not is_step(line.get("step")):
        return False
    if MISSING not in line:
        return True
    mark = line[MISSING]
    return (
        line.keys() == {"step", MISSING}
        and isinstance(mark, dict)
        and mark.keys() <= {"training", "evaluation"}
        and all(isinstance(steps, list) and all(map(is_step, steps)) for steps in mark.values())
    )


def is_step(value: Any) -> TypeGuard[int]:
    """Whether a value that was read is a number of environment steps."""
    return type(value) is int and 0 <= value < 2**63


def by_seed(values: Any, tasks: Sequence[str] = ()) -> Any:
    """The values of a metric [S] or [S][T], as lines have them: [S], or [S] of each task by its name.

    (Lines of before 2026-11-29 have [S][T] themselves.)

    Args:
        tasks: names of the T tasks in their order; by default all of the line, in its order.

    Raises:
        ValueError: the line has other tasks, or not a list of equal length of each.
    """
    if not isinstance(values, Mapping):
        return values
    if tasks and values.keys() != set(tasks):
        raise ValueError(f"it is of the tasks {', '.join(values)}, and the run has {', '.join(tasks)}.")
    of_tasks = [values[task] for task in tasks or values]
    if not all(isinstance(seeds, list) and len(seeds) == len(of_tasks[0]) for seeds in of_tasks):
        raise ValueError("its tasks have no numbers for equally many seeds.")
    return [list(seed) for seed in zip(*of_tasks, strict=True)]


def missing_steps(
    lines: Sequence[Mapping[str, Any]], due: Mapping[str, Sequence[int]]
) -> dict[str, list[int]]:
    """The steps of which there is no line, of those at which one of training, or of an evaluation, is due."""
    found: dict[str, set[int]] = {"training": set(), "evaluation": set()}
    for line in lines:
        if MISSING not in line:
            found["evaluation" if SUCCESS in line else "training"].add(line["step"])
    return {kind: [step for step in steps if step not in found[kind]] for kind, steps in due.items()}


def mark_missing(
    path: Path, lines: Sequence[Mapping[str, Any]], missing: Mapping[str, Sequence[int]]
) -> str | None:
    """Writes to a log which lines it lacks, as far as it does not say so already, and returns that as a sentence."""
    known: dict[str, set[int]] = {kind: set() for kind in missing}
    for line in lines:
        for kind, steps in line.get(MISSING, {}).items():
            known[kind].update(steps)
    new = {kind: [step for step in steps if step not in known[kind]] for kind, steps in missing.items()}
    if not any(new.values()):
        return None
    mark = {"step": min(step for steps in new.values() for step in steps), MISSING: new}
    write_text(path, "".join(json.dumps(line) + "\n" for line in [*lines, mark]))
    parts = [f"{describe_steps(steps)} of {kind}" for kind, steps in new.items() if steps]
    return f"{path} has lost the lines of steps {' and '.join(parts)}, which is marked there."


def describe_steps(steps: Sequence[int]) -> str:
    """A few steps as they are, of many the first and the last."""
    if len(steps) <= 4:
        return ", ".join(map(str, steps))
    return f"{steps[0]} to {steps[-1]} ({len(steps)} of them)"
