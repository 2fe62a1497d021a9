"""Learning curves of every architecture with two balancers, as one figure and as a Markdown table.

    python scripts/plot_networks.py results/networks --output docs/images/networks.png

Each folder NETWORK-BALANCER is a run (config.yaml, metrics.jsonl). A line is the success of training episodes (actions
drawn from the policy, mean over tasks and seeds, over a window of 5,000 steps), thin lines are single seeds and dots
evaluations with the mean action; the grey line is the success of uniformly random actions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import yaml
from numpy.typing import NDArray

from mtrl.storage.json_lines import by_seed, read_lines

WINDOW = 5_000
STYLES = {"LS": ("C0", "--", "o"), "AlignedMTL": ("C3", "-", "s"), "null": ("0.2", ":", "^")}


def curve(run: Path, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps [N] and means over tasks [N, S]."""
    lines = [line for line in read_lines(run / "metrics.jsonl") if metric in line]
    values = np.array([by_seed(line[metric]) for line in lines], dtype=float)
    with np.errstate(all="ignore"):
        return np.array([line["step"] for line in lines]), np.nanmean(values, axis=-1)


def smooth(steps: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means [N, S] over the last WINDOW steps."""
    return np.stack([np.nanmean(values[(steps > s - WINDOW) & (steps <= s)], axis=0) for s in steps])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    runs: dict[str, dict[str, Path]] = {}
    for path in sorted(options.folder.iterdir()):
        if path.is_dir():
            network, _, balancer = path.name.rpartition("-")
            runs.setdefault(network, {})[balancer] = path

    random_success = []
    columns = 4
    rows = -(-len(runs) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3 * columns, 2.3 * rows), sharex=True, sharey=True, squeeze=False
    )
    print("| network | balancer | steps per task | success of the last 5,000 steps, by seed | mean |")
    print("|---|---|---|---|---|")
    for axis, (network, methods) in zip(axes.flat, runs.items(), strict=False):
        for balancer, run in sorted(methods.items(), reverse=True):
            colour, line, marker = STYLES[balancer]
            steps, success = curve(run, "training/success")
            random_steps = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["random_steps"]
            random_success.append(success[steps <= random_steps])
            smoothed = smooth(steps, success)
            axis.plot(steps / 1000, smoothed, color=colour, linewidth=0.6, alpha=0.5)
            axis.plot(steps / 1000, smoothed.mean(-1), line, color=colour, label=balancer)
            evaluated, values = curve(run, "evaluation/success")
            axis.plot(evaluated / 1000, values.mean(-1), marker, color=colour, markersize=4)
            by_seed = ", ".join(f"{v:.2f}" for v in smoothed[-1])
            print(f"| {network} | {balancer} | {steps[-1]:,} | {by_seed} | {smoothed[-1].mean():.2f} |")
        axis.set_title(network, fontsize=9)
        axis.grid(alpha=0.3)
    random_mean = float(np.concatenate(random_success).mean())
    print(f"\nUniformly random actions: {random_mean:.3f}")
    for axis in axes.flat[: len(runs)]:
        axis.axhline(random_mean, color="0.5", linewidth=1)
    for axis in axes.flat[len(runs) :]:
        axis.axis("off")
    handles = {
        label: handle
        for axis in axes.flat
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    axes.flat[-1].legend(handles.values(), handles.keys(), loc="center")
    figure.supxlabel("environment steps per task (thousands)", fontsize=9)
    figure.supylabel("success, mean over tasks", fontsize=9)
    figure.tight_layout()
    figure.savefig(options.output, dpi=110)


if __name__ == "__main__":
    main()
