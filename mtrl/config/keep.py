"""Which checkpoints are kept: the rules of the option `checkpoint.keep`."""

from __future__ import annotations

from collections.abc import Sequence

from mtrl.config.spelling import whole_number

KEPT = 2  # newest checkpoints, besides the best


def check_rule(rule: int | str) -> None:
    """
    Raises:
        ValueError: it is no rule of `kept_by`.
    """
    if rule != "all" and not (isinstance(rule, str) and _multiple(rule)):
        if isinstance(rule, int) and not isinstance(rule, bool) and rule >= KEPT:
            return
        raise ValueError(
            f"checkpoint.keep must be all, a number of the newest ones from {KEPT} on, or every:STEPS, got {rule!r}."
        )


def kept_by(rule: int | str, steps: Sequence[int]) -> set[int]:
    """The steps, of ascending ones, that a rule keeps: all, the newest so many, or the first from each multiple on."""
    if rule == "all":
        return set(steps)
    if isinstance(rule, int):
        return set(steps[-rule:])
    multiple = _multiple(rule)
    assert multiple is not None
    first: dict[int, int] = {}
    for step in steps:
        first.setdefault(step // multiple, step)
    first.pop(0, None)
    return set(first.values())


def _multiple(rule: str) -> int | None:
    """The steps of the rule every:STEPS."""
    word, _, steps = rule.partition(":")
    number = whole_number(steps) if word == "every" else None
    return number if number is not None and number > 0 else None
