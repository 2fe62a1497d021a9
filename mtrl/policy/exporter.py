"""`mtrl export`: a trained policy as one file that other programs run, checked against the policy after writing.

The program takes `observation` [N, O] (float32) and `task` [N] (int64, the index in the list of tasks that the file
holds) and gives the mean `action` [N, A] in [-1, 1]; N is any number.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from agents.task_policy import MeanAction
from mtrl.config.parsing import make_parser, parse
from mtrl.policy.policy import Policy, load_policy
from mtrl.system import terminal
from mtrl.system.files import writing

Format = Literal["onnx", "torch"]
Program = Callable[[Tensor, Tensor], Tensor]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch": ".pt2"}
_DESCRIPTION = "policy.json"
_TOLERANCE = 1e-4  # actions lie in [-1, 1]; another runtime adds in another order
_BATCH_SIZES = (1, 2, 33)


def command(arguments: list[str]) -> int:
    """Writes the policy of the run that the arguments name, and prints the path."""
    parser = make_parser(
        "export", "Write a trained policy as one file that other programs run.", reads_classes=True
    )
    parser.add_argument("run", type=Path, help="the directory of a run")
    parser.add_function_arguments(export, skip={"run"})
    print(terminal.printable(str(export(**parse(parser, arguments).as_dict()))))
    return 0


def export(
    run: str | Path,
    format: Format = "onnx",
    checkpoint: str = "last",
    seed: int | None = None,
    output: Path | None = None,
) -> Path:
    """Writes the policy of a run, and returns the path.

    Args:
        run: the run's directory.
        format: onnx, or torch for a program of torch.export.
        checkpoint: last, best or the step of a checkpoint.
        seed: the trained seed; by default the run's first one.
        output: a new file; by default one in the run directory, called after step and seed.

    Raises:
        ValueError: the file exists, a package is missing, or there is no such run, seed or checkpoint.
        RuntimeError: the program's actions differ from the policy's; nothing was written.
    """
    if format not in SUFFIXES:
        raise ValueError(f"The format must be one of {', '.join(SUFFIXES)}, got {format}.")
    if format == "onnx":
        missing = [
            name for name in ("onnx", "onnxscript", "onnxruntime") if not importlib.util.find_spec(name)
        ]
        if missing:
            raise ValueError(
                f"The format onnx needs the packages {', '.join(missing)}: install them by "
                "`pip install 'mtrl-toolkit[onnx]'`, or choose --format torch."
            )
    policy = load_policy(run, checkpoint, seed)
    name = f"policy-step{policy.step}-seed{policy.seed}{SUFFIXES[format]}"
    path = Path(run) / "export" / name if output is None else Path(output)
    exists = ValueError(f"The file {path} exists already and is never overwritten: choose another --output.")
    if path.exists():
        raise exists
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export", dir=path.parent) as directory:
        new = Path(directory) / name  # PyTorch warns of another ending
        write, read = (_write_onnx, _read_onnx) if format == "onnx" else (_write_torch, _read_torch)
        with _quiet(), writing(path):
            write(policy, new)
        check(policy, read(new))
        try:
            os.link(new, path)  # unlike a rename it fails where another process was first
        except FileExistsError:
            raise exists from None
        except OSError:  # a file system without links
            new.rename(path)
    return path


def check(policy: Policy, program: Program) -> None:
    """Compares a program with the policy on random observations of every task.

    Raises:
        RuntimeError: an action differs.
    """
    generator = torch.Generator().manual_seed(0)
    for size in (*_BATCH_SIZES, len(policy.tasks)):
        observation = torch.randn(size, policy.observation_size, generator=generator)
        task = torch.arange(size) % len(policy.tasks)
        difference = float((program(observation, task) - policy(observation, task)).abs().max())
        if not difference <= _TOLERANCE:
            raise RuntimeError(
                f"The exported program's actions differ from the policy's by {difference:.1e}, and {_TOLERANCE:.0e} is "
                "allowed: nothing was written."
            )


def _example(policy: Policy) -> tuple[Tensor, Tensor]:
    """What a program is traced with."""
    return torch.zeros(2, policy.observation_size), torch.zeros(2, dtype=torch.int64)


def _description(policy: Policy) -> dict[str, str]:
    return {"tasks": json.dumps(policy.tasks), "step": str(policy.step), "seed": str(policy.seed)}


def _dynamic_shapes() -> tuple[dict[int, torch.export.Dim], ...]:
    batch = torch.export.Dim("N")
    return {0: batch}, {0: batch}


def _write_torch(policy: Policy, path: Path) -> None:
    program = torch.export.export(
        MeanAction(policy.network), _example(policy), dynamic_shapes=_dynamic_shapes()
    )
    content = io.BytesIO()  # where the disk is full, PyTorch ends the process
    torch.export.save(program, content, extra_files={_DESCRIPTION: json.dumps(_description(policy))})
    path.write_bytes(content.getbuffer())


def _read_torch(path: Path) -> Program:
    return torch.export.load(path).module()


def _write_onnx(policy: Policy, path: Path) -> None:
    program = torch.onnx.export(
        MeanAction(policy.network),
        _example(policy),
        dynamo=True,
        dynamic_shapes=_dynamic_shapes(),
        input_names=["observation", "task"],
        output_names=["action"],
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(_description(policy))
    program.save(path, external_data=False)


def _read_onnx(path: Path) -> Program:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(observation: Tensor, task: Tensor) -> Tensor:
        (action,) = session.run(None, {"observation": observation.numpy(), "task": task.numpy()})
        return torch.from_numpy(action)

    return run


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters' remarks are about themselves and torchvision."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
