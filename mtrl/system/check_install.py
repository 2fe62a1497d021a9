"""`agents` and `envs` are common names: make sure that they are this project's."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def check_import_packages() -> None:
    """Checks that `agents` and `envs` are imported from beside `mtrl`.

    Raises:
        ValueError: a folder or another distribution's package of that name comes first.
    """
    root = Path(__file__).resolve().parents[2]
    for name in ("agents", "envs"):
        spec = find_spec(name)
        places = [] if spec is None else spec.submodule_search_locations or [str(spec.origin)]
        found = [Path(place).resolve() for place in places]
        if found == [root / name]:
            continue
        expected = f"The package {name!r} of mtrl-toolkit must be imported from {root / name}"
        if not found:
            raise ValueError(f"{expected}, but it is not there: install mtrl-toolkit again.")
        place = found[0]
        if {"site-packages", "dist-packages"} & set(place.parts):
            raise ValueError(
                f"{expected}, but {place} comes first: uninstall the distribution that also provides it, or use a "
                "virtual environment of its own."
            )
        kind = "folder" if place.is_dir() else "file"
        raise ValueError(
            f"{expected}, but your {kind} {place} comes first: rename it, or start with {place.parent} off Python's "
            "path: PYTHONPATH, or the folder of a script. (`mtrl` finds modules of your own in the working directory "
            "without.)"
        )
