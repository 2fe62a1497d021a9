"""Trains for hours, is killed again and again, and says whether memory and open files stay flat.

python scripts/soak.py --run_dir runs/soak --output soak.json [--minutes 120] [--kills 10]

Trains the quickstart's networks on MT3 without end. At random moments the whole process tree gets SIGKILL and the run
is resumed; the last third is left alone, so that a slow leak would show. Every ten seconds the resident memory and the
open files of the tree are noted, by the process's age.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
SETTLED = 600.0  # seconds after which nothing may grow any more
PERIOD = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run_dir", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps_per_checkpoint", type=int, default=4_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    duration = 60 * args.minutes
    draw = random.Random(args.seed)
    kills = sorted(draw.uniform(min(SETTLED, duration / 4), 2 / 3 * duration) for _ in range(args.kills))

    started = time.monotonic()
    process, born = start(new_run(args.run_dir, args.steps_per_checkpoint)), started
    samples: list[dict[str, float]] = []
    lives = 1
    while (now := time.monotonic() - started) < duration:
        if kills and now >= kills[0]:
            kills.pop(0)
            kill_tree(process)
            process, born = start(["train", "--resume", str(args.run_dir)]), time.monotonic()
            lives += 1
        if process.poll() is not None:
            sys.exit(f"The training ended by itself with exit code {process.returncode}.")
        samples.append(
            {"minute": now / 60, "life": lives, "age": time.monotonic() - born, **measure(process)}
        )
        args.output.write_text(json.dumps({"samples": samples}) + "\n", encoding="utf-8")
        time.sleep(PERIOD)
    process.send_signal(signal.SIGTERM)
    exit_code = process.wait(timeout=60)
    last = json.loads((args.run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])["step"]
    result = {
        "lives": lives,
        "exit_code": exit_code,
        "last_step": last,
        **growth(samples),
        "samples": samples,
    }
    args.output.write_text(json.dumps(result) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in result.items() if name != "samples"}, indent=1))


def new_run(run_dir: Path, interval: int) -> list[str]:
    options = {
        "--config": ROOT / "configs" / "quickstart.yaml",
        "--run_dir": run_dir,
        "--total_steps": 1_000_000_000,
        "--buffer_size": 10_000,  # full before the memory is compared
        "--checkpoint.interval": interval,
        "--num_workers": 1,
    }
    return ["train", *(str(x) for option in options.items() for x in option)]


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "mtrl", *arguments], stderr=subprocess.DEVNULL)


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in tree:
        member.kill()
    process.wait()
    psutil.wait_procs(tree)


def measure(process: subprocess.Popen[bytes]) -> dict[str, float]:
    """Megabytes resident and open files of the process and its workers."""
    megabytes, files = 0.0, 0
    for member in (psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)):
        try:
            megabytes += member.memory_info().rss / 2**20
            files += member.num_fds()
        except psutil.NoSuchProcess:
            continue
    return {"megabytes": megabytes, "files": files}


def growth(samples: list[dict[str, float]]) -> dict[str, float]:
    """Of the longest life: the first and the last third after it settled, medians."""
    longest = max(samples, key=lambda sample: sample["age"])["life"]
    settled = [s for s in samples if s["life"] == longest and s["age"] >= SETTLED]
    if len(settled) < 3:
        return {}
    third = len(settled) // 3
    found: dict[str, float] = {"minutes_compared": len(settled) * PERIOD / 60}
    for name in ("megabytes", "files"):
        before, after = (
            statistics.median(s[name] for s in part) for part in (settled[:third], settled[-third:])
        )
        found |= {f"{name}_before": before, f"{name}_after": after, f"{name}_growth": after / before - 1}
    return found


if __name__ == "__main__":
    main()
