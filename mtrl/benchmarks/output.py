"""The JSON file of a benchmark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Protocol

from mtrl.system.files import write_text


class BenchmarkOptions(Protocol):
    """A dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def output(self) -> Path | None: ...


def write_report(config: BenchmarkOptions, report: Mapping[str, Any]) -> None:
    """Writes the options, as `settings`, and what the report holds to the file that is asked for, if one is."""
    if config.output is None:
        return
    settings = {f.name: getattr(config, f.name) for f in fields(config) if f.name != "output"}
    config.output.parent.mkdir(parents=True, exist_ok=True)
    write_text(config.output, json.dumps({"settings": settings, **report}, indent=1, default=str) + "\n")
