"""Multi-task reinforcement learning: gradient balancing, training, evaluation.

`train`, `resume`, `evaluate` and `report` do what the commands of these names do (`resume` is `mtrl train --resume`),
`load_policy` gives a trained policy and `export` writes it for other programs. Each is imported when it is first used:
a script that only loads a policy waits for no environment.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mtrl.system.check_install import check_import_packages

if TYPE_CHECKING:
    from mtrl.functions import evaluate, report, resume, train
    from mtrl.policy.exporter import export
    from mtrl.policy.policy import Policy, load_policy

    __version__: str

__all__ = ["Policy", "__version__", "evaluate", "export", "load_policy", "report", "resume", "train"]

_MODULES = {
    "Policy": "policy.policy",
    "evaluate": "functions",
    "export": "policy.exporter",
    "load_policy": "policy.policy",
    "report": "functions",
    "resume": "functions",
    "train": "functions",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("mtrl-toolkit")
    if name not in _MODULES:
        raise AttributeError(f"module 'mtrl' has no attribute {name!r}")
    check_import_packages()
    return getattr(import_module(f"mtrl.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
