"""`mtrl report`: compares runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mtrl.config.parsing import make_parser, parse
from mtrl.reporting.groups import (
    Group,
    check_copies,
    check_measures,
    check_protocols,
    group_runs,
    same_losses,
)
from mtrl.reporting.runs import Source, read_runs
from mtrl.reporting.statistics import RESAMPLES, Statistic, describe
from mtrl.reporting.tables import Table, make_tables, markdown, published_tables
from mtrl.storage.run_directory import refuse_inside
from mtrl.system import terminal
from mtrl.system.files import writing
from mtrl.system.paths import check_writable


def command(arguments: list[str]) -> int:
    """Compare runs: success over seeds with intervals, tables and figures."""
    parser = make_parser(
        "report", "Compare runs, grouped by everything but the seed: success over seeds with intervals."
    )
    parser.add_argument(
        "runs", type=Path, nargs="+", help="run directories, or directories with runs in them"
    )
    parser.add_function_arguments(report, skip={"runs", "published", "allow_mixed"})
    parser.add_argument(
        "--published", action="store_true", help="add published figures, marked as such, in a table of their own"
    )  # fmt: skip
    parser.add_argument(
        "--allow_mixed", action="store_true", help="set runs of different protocols, benchmarks or evaluations in one"
    )  # fmt: skip
    show(report(**parse(parser, arguments).as_dict()))
    return 0


def show(tables: Sequence[Table]) -> None:
    """Prints tables to stdout."""
    console = terminal.console()
    for table in tables:
        console.print(table.to_rich(), "")


def report(
    runs: Sequence[Path],
    statistic: Statistic = "final",
    last_k: int = 5,
    source: Source = "metrics",
    output: Path | None = None,
    published: bool = False,
    allow_mixed: bool = False,
    baseline: str | None = None,
) -> list[Table]:
    """Makes the tables and writes them, with the figures, to a directory; notes go to stderr.

    Args:
        statistic: which evaluations of a seed count: the last (final), the mean of the last k (last_k) or the best
            (paper_max, as papers do: biased upwards).
        last_k: how many evaluations last_k takes.
        source: what final is: the last evaluation during training (metrics) or that of `mtrl evaluate` (evaluation).
        output: a directory for Markdown, CSV, JSON and figures.
        baseline: compare each method with this one only: its name in the tables, or a part of it (LS).
    """
    if not 0 < last_k < 2**31:
        raise ValueError(f"last_k must be at least 1 and below 2**31, got {last_k}.")
    if output is not None:
        _check_output(output)
    found, notes = read_runs(runs, source)
    check_measures(found)
    difference = check_protocols(found)
    if difference is not None:
        if not allow_mixed:
            raise ValueError(f"{difference}. Report them apart, or give --allow_mixed.")
        notes.append(f"Mixed protocols: {difference}.")
    groups = group_runs(found)
    check_copies(groups)
    notes += same_losses(groups)
    notes += [note for run in found for note in run.notes] + _seed_notes(groups, statistic, last_k)
    tables = make_tables(groups, statistic, last_k, baseline)
    if published:
        benchmarks = {str(run.stamp["benchmark"].get("name")) for run in found}
        figures = published_tables(benchmarks)
        if not figures:
            notes.append(f"There are no published figures for {', '.join(sorted(benchmarks))}.")
        tables += figures
    for note in notes:
        terminal.message(f"mtrl: {note}")
    if output is not None:
        settings: dict[str, Any] = {
            "statistic": statistic,
            "last_k": last_k,
            "source": source,
            "resamples": RESAMPLES,
            "baseline": baseline,
        }
        with writing(output):
            _write(output, settings, groups, tables, notes, statistic, last_k)
    return tables


def _seed_notes(groups: Sequence[Group], statistic: Statistic, k: int) -> list[str]:
    """Sentences about seeds that are missing, alone, or not as far as others."""
    notes = []
    every = sorted({curve.seed for group in groups for curve in group.curves})
    for group in groups:
        missing = [str(s) for s in every if s not in {curve.seed for curve in group.curves}]
        if missing:
            notes.append(f"{group.label} has no seed {', '.join(missing)}, which another method has.")
        if len(group.curves) == 1:
            notes.append(f"{group.label} has one seed: no standard error and no interval.")
        fewest = min(len(curve.steps) for curve in group.curves)
        if statistic == "last_k" and fewest < k:
            notes.append(
                f"A seed of {group.label} has {fewest} evaluations, so last_k is not the mean of {k}."
            )
    last = sorted({step for group in groups for step in group.last_steps(statistic)})
    if len(last) > 1:
        notes.append(
            f"The seeds' last evaluations are of different steps: {', '.join(f'{s:,}' for s in last)}."
        )
    return notes


def _check_output(output: Path) -> None:
    refuse_inside(output, "output")
    if output.exists() and not output.is_dir():
        raise ValueError(f"The output {output} must be a directory, and it is a file.")
    # What begins with a dot may be a report that another process is just writing.
    taken = output.is_dir() and any(not path.name.startswith(".") for path in output.iterdir())
    if taken and not (output / "report.json").is_file():
        raise ValueError(
            f"The directory {output} holds something else than a report: choose another --output."
        )
    check_writable(output)


def _write(
    output: Path,
    settings: dict[str, Any],
    groups: Sequence[Group],
    tables: Sequence[Table],
    notes: Sequence[str],
    statistic: Statistic,
    k: int,
) -> None:
    from mtrl.reporting.figures import write_figures  # matplotlib takes a while, and only a report needs it

    output.mkdir(parents=True, exist_ok=True)
    content = settings | {"notes": list(notes), "tables": {t.name: t.records() for t in tables}}
    with TemporaryDirectory(prefix=".", dir=output) as name:  # a report that fails leaves the last one whole
        new = Path(name)
        (new / "report.json").write_text(
            json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )
        for table in tables:
            (new / f"{table.name}.csv").write_text(table.to_csv(), encoding="utf-8")
        figures = write_figures(groups, statistic, k, new)
        parts = [
            f"# Report\n\nStatistic: {describe(statistic, k, settings['source'] == 'evaluation')}.\n",
            *(table.to_markdown() for table in tables),
            *(f"![{name.replace('_', ' ')}]({name}.png)\n" for name in figures),
        ]
        if notes:
            parts.append("Notes:\n\n" + "\n".join(f"- {markdown(note)}" for note in notes) + "\n")
        (new / "report.md").write_text("\n".join(parts), encoding="utf-8")
        for path in new.iterdir():
            path.replace(output / path.name)
    terminal.message(f"mtrl: written to {output}.")
