"""The published figures: complete, and marked where they cannot be what they are called."""

import json
import math
from importlib.resources import files

FIGURES = json.loads((files("mtrl.reporting") / "published.json").read_text())


def largest_sem(mean: float, n: int) -> float:
    """Of n values in [0, 1] with this mean: as many ones as fit, the rest of the sum in one value, and zeros."""
    ones = math.floor(n * mean)
    values = [1.0] * ones + [n * mean - ones] + [0.0] * (n - ones - 1)
    return math.sqrt(sum((v - mean) ** 2 for v in values[:n]) / (n - 1) / n)


def test_every_figure_says_what_it_is() -> None:
    for figure in FIGURES:
        assert figure.keys() == {
            "quantity", "benchmark", "method", "value", "sem", "seeds", "metric", "protocol", "source", "note"
        }  # fmt: skip
        assert figure["quantity"] in ("success", "seconds")
        assert 0 <= figure["value"] <= (1 if figure["quantity"] == "success" else 60)
        assert figure["metric"]
        assert figure["protocol"]
        assert figure["source"]


def test_exactly_the_impossible_standard_errors_are_noted() -> None:
    assert round(largest_sem(0.97, 10), 3) == 0.030
    impossible = {
        f["method"]
        for f in FIGURES
        if f["sem"] is not None and f["sem"] > largest_sem(f["value"], f["seeds"])
    }
    assert impossible == {f["method"] for f in FIGURES if "impossible" in f["note"]} == {"Aligned-MTL"}


def test_hours_are_those_of_the_published_seconds() -> None:
    times = {f["method"]: f for f in FIGURES if f["quantity"] == "seconds"}
    assert {name: f["value"] for name, f in times.items()} == {
        "SAC": 7.3, "PCGrad": 9.7, "CAGrad": 20.9, "Nash-MTL": 40.7
    }  # fmt: skip
    for f in times.values():
        assert f["note"].startswith(f"{f['value'] * 2_000_000 / 150 / 3600:.0f} hours")
