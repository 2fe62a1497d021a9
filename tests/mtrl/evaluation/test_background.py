"""Evaluations in a process of their own say what those in training's process say, whatever happens meanwhile."""

import contextlib
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import tests.envs.own_environments  # noqa: F401  (what is imported needs no allowance)
from agents.sac import SAC
from envs.worlds import Transitions
from mtrl.config.build import make_agent, make_evaluation_env
from mtrl.config.train import TrainConfig
from mtrl.evaluation import background as background_module
from mtrl.evaluation.background import BackgroundEvaluator
from mtrl.evaluation.foreground import Evaluated, ForegroundEvaluator, PolicyState
from mtrl.storage import checkpoints
from mtrl.training import trainer
from tests.mtrl.conftest import (
    OPTIONS,
    FakeEngine,
    Result,
    assert_same_state,
    put_fakes,
    read_state,
    train_arguments,
)
from tests.mtrl.training.test_trainer import make_config

Cli = Callable[..., Result]


class SlowEngine(FakeEngine):
    """An evaluation of 24 steps takes a while."""

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        time.sleep(0.1)
        return super().step(actions)


class StuckEngine(FakeEngine):
    """An evaluation is not at its end whenever somebody looks."""

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        time.sleep(600)
        return super().step(actions)


class DyingEngine(FakeEngine):
    """Takes its process with it."""

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().step(actions)


@pytest.fixture
def config(fake: Callable, tmp_path: Path, request: pytest.FixtureRequest) -> TrainConfig:
    return make_config(tmp_path / "run", seeds=getattr(request, "param", [0, 1]))


@pytest.fixture
def agent(config: TrainConfig) -> SAC:
    env = make_evaluation_env(config, config.seeds, config.evaluation, config.engine)
    return make_agent(config, env)


@pytest.fixture
def background(config: TrainConfig) -> Iterator[BackgroundEvaluator]:
    evaluator = BackgroundEvaluator(config)
    yield evaluator
    evaluator.close()


def _yield_to_nobody() -> None:
    """All cores have tests to run: what runs only where one is idle would be waited for."""
    background_module.yield_to_others = lambda: None
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[type[BackgroundEvaluator]]:
    """Evaluates in a process that does so for one test after the other: to start one takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        put_fakes(patch)
        starter = BackgroundEvaluator(make_config(tmp_path_factory.mktemp("warm") / "run"))
    starter._process.submit(_yield_to_nobody)

    class WarmEvaluator(BackgroundEvaluator):
        def _start_process(self) -> None:
            self._process, self._alive = starter._process, starter._alive
            self._prepared = self._process.submit(background_module._prepare, self._config, self._arguments)

        def close(self) -> None:
            self._thread.shutdown()

    yield WarmEvaluator
    starter.close()


@pytest.fixture
def warm_background(config: TrainConfig, warm: type[BackgroundEvaluator]) -> Iterator[BackgroundEvaluator]:
    with contextlib.closing(warm(config)) as evaluator:
        yield evaluator


def process_of(evaluator: BackgroundEvaluator) -> multiprocessing.process.BaseProcess:
    """The one that is there now."""
    (process,) = evaluator._process._processes.values()
    return process


def assert_equal(first: Evaluated, second: Evaluated) -> None:
    for name, values in vars(first.episodes).items():
        np.testing.assert_array_equal(values, getattr(second.episodes, name), err_msg=name)
    np.testing.assert_array_equal(first.finite, second.finite)


@pytest.mark.parametrize("config", [[4], [0, 1], [5, 2, 7]], indirect=True)
def test_both_evaluate_alike(config: TrainConfig, agent: SAC, warm_background: BackgroundEvaluator) -> None:
    foreground = ForegroundEvaluator(config, agent, lambda: None)
    returns = []
    for factor in (1.0, 3.0):
        policy = agent.policy_state()
        policy["actor"]["shared"] *= factor
        evaluated, beside = (evaluator.start(policy).result() for evaluator in (foreground, warm_background))
        assert_equal(evaluated, beside)
        assert evaluated.finite.all()
        assert evaluated.episodes.returns.shape == (len(config.seeds), 3, 4)
        returns.append(evaluated.episodes.returns)
    assert not np.array_equal(*returns)
    foreground.close()


def test_the_agent_in_training_stays_as_it_is(config: TrainConfig, agent: SAC) -> None:
    before, other = agent.policy_state(), agent.policy_state()
    other["actor"]["shared"] *= 2.0

    def stop() -> None:
        raise InterruptedError

    for before_step in (lambda: None, stop):
        evaluator = ForegroundEvaluator(config, agent, before_step)
        if before_step is stop:
            with pytest.raises(InterruptedError):
                evaluator.start(other)
        else:
            evaluator.start(other)
        evaluator.close()
        for name, parameters in agent.policy_state().items():
            assert_same_state(before[name], parameters)


def test_seeds_whose_actions_are_not_finite_are_named(
    config: TrainConfig, agent: SAC, warm_background: BackgroundEvaluator
) -> None:
    policy = agent.policy_state()
    policy["actor"]["shared"][1] = torch.nan
    evaluated = warm_background.start(policy).result()
    assert evaluated.finite.tolist() == [True, False]
    assert np.isfinite(evaluated.episodes.returns).all()


def test_a_process_that_dies_is_replaced_once(
    config: TrainConfig, agent: SAC, background: BackgroundEvaluator, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = background.start(agent.policy_state()).result()
    process = process_of(background)
    process.kill()
    process.join()
    assert_equal(background.start(agent.policy_state()).result(), expected)
    assert capfd.readouterr().err == "evaluation: its process died; another one begins again.\n"


def test_processes_that_keep_dying_stop_training(fake: Callable, cli: Cli, tmp_path: Path) -> None:
    fake(DyingEngine)
    config = make_config(tmp_path / "run")
    with contextlib.closing(make_evaluation_env(config, [0], config.evaluation, config.engine)) as env:
        policy = make_agent(config, env).policy_state()
    evaluator = BackgroundEvaluator(config)
    with pytest.raises(
        RuntimeError, match=r"^The evaluation failed twice \(its process died\)\. With --sync"
    ):
        evaluator.start(policy).result()
    evaluator.close()


def test_what_the_process_raises_is_told_in_a_sentence(
    config: TrainConfig, warm_background: BackgroundEvaluator
) -> None:
    with pytest.raises(RuntimeError, match=r"^The evaluation failed \(KeyError: 'actor'\)\.$"):
        warm_background.start({}).result()


def test_signals_do_not_reach_a_process_that_begins(
    config: TrainConfig, agent: SAC, capfd: pytest.CaptureFixture[str]
) -> None:
    """They are sent to all of a job, and it still imports."""
    evaluator = BackgroundEvaluator(config)
    process = process_of(evaluator)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(process.pid, number)
    evaluator.start(agent.policy_state()).result()
    assert process_of(evaluator) is process
    assert process.is_alive()
    evaluator.close()
    assert capfd.readouterr().err == ""
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


@pytest.mark.parametrize("when", ["beginning", "evaluating"])
def test_nothing_is_waited_for_when_it_is_closed(
    fake: Callable, agent: SAC, tmp_path: Path, when: str, capfd: pytest.CaptureFixture[str]
) -> None:
    fake(StuckEngine)
    evaluator = BackgroundEvaluator(make_config(tmp_path / "run", seeds=[0, 1]))
    evaluated = evaluator.start(agent.policy_state())
    process = process_of(evaluator)
    if when == "evaluating":
        evaluator._prepared.result()
    assert not wait([evaluated], 0.2).done
    evaluator.close()
    assert not process.is_alive()
    assert process not in multiprocessing.active_children()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("when", [pytest.param("waiting", marks=pytest.mark.slow), "evaluating"])
def test_it_leaves_no_processes_of_its_environments(
    tmp_path: Path, when: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Which have nothing to say, either."""
    episodes = 1 if when == "waiting" else 10_000
    tasks = [{"name": "line", "env": "tests.envs.own_environments:Line"}]
    benchmark = json.dumps({"name": "lines", "horizon": 1_000, "tasks": tasks})
    options = {"benchmark": benchmark, "engine": "gymnasium", "protocol": None, "num_workers": 2}
    config = make_config(tmp_path / "run", evaluation__interval=1, evaluation__episodes=episodes, **options)
    with contextlib.closing(make_evaluation_env(config, [0], config.evaluation, config.engine)) as env:
        policy = make_agent(config, env).policy_state()
    evaluator = BackgroundEvaluator(config)
    evaluated = evaluator.start(policy)
    evaluator._prepared.result()
    process = process_of(evaluator)
    helpers = descendants(process.pid)
    assert len(helpers) >= 2
    wait([evaluated], None if when == "waiting" else 0.5)
    evaluator.close()
    wait_until_gone([process.pid, *helpers])
    assert capfd.readouterr().err == ""


def descendants(process: int) -> list[int]:
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [process]
    for ancestor in found:
        found += [child for child, parent in parents.items() if parent == ancestor]
    return found[1:]


def wait_until_gone(processes: list[int]) -> None:
    deadline = time.monotonic() + 300
    while any(os.path.exists(f"/proc/{process}") for process in processes):
        assert time.monotonic() < deadline
        time.sleep(0.05)


PARENT = """  # nothing guards it: to import it anew would begin a second parent
import multiprocessing, signal, sys, time
import pytest, torch
from pathlib import Path
from mtrl.evaluation.background import BackgroundEvaluator
from mtrl.config.build import make_agent, make_evaluation_env
from tests.mtrl.conftest import FakeEngine, put_fakes
from tests.mtrl.evaluation.test_background import StuckEngine
from tests.mtrl.training.test_trainer import make_config

what, directory = sys.argv[1:]
use = put_fakes(pytest.MonkeyPatch())
config = make_config(Path(directory))
agent = make_agent(config, make_evaluation_env(config, config.seeds, config.evaluation, config.engine))
use(FakeEngine if what == "waiting" else StuckEngine)
evaluator = BackgroundEvaluator(config)
evaluated = evaluator.start(agent.policy_state())
if what == "waiting":
    evaluated.result()
elif what == "evaluating":
    evaluator._prepared.result()
(process,) = multiprocessing.active_children()
print(process.pid, flush=True)
if what != "done":
    time.sleep(600)
"""


@pytest.fixture
def start_parent(tmp_path: Path) -> Iterator[Callable[[str], tuple[subprocess.Popen[bytes], int]]]:
    """Starts a script that closes nothing; what it evaluates has no end."""
    script, parents = tmp_path / "script.py", []
    script.write_text(PARENT, encoding="utf-8")

    def begin(what: str) -> tuple[subprocess.Popen[bytes], int]:
        parent = subprocess.Popen(
            [sys.executable, script, what, tmp_path / "run"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            start_new_session=True,
        )
        parents.append(parent)
        assert parent.stdout is not None
        return parent, int(parent.stdout.readline())

    yield begin
    for parent in parents:
        parent.kill()
        parent.communicate()


@pytest.mark.parametrize(
    ("what", "number"),
    [
        ("beginning", signal.SIGINT),
        ("waiting", signal.SIGKILL),
        ("evaluating", signal.SIGINT),
        pytest.param("waiting", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("evaluating", signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_the_process_ends_with_its_parent(start_parent: Callable, what: str, number: signal.Signals) -> None:
    """SIGINT goes to both, as by Ctrl-C."""
    parent, process = start_parent(what)
    os.killpg(parent.pid, number) if number == signal.SIGINT else parent.kill()
    parent.wait(timeout=300)
    wait_until_gone([process])
    errors = parent.stderr.read().decode()
    assert errors.count("Traceback") == (1 if number == signal.SIGINT else 0), errors
    assert errors.rstrip().endswith("KeyboardInterrupt") or number == signal.SIGKILL, errors


def test_a_script_ends_that_does_not_close_it(start_parent: Callable) -> None:
    parent, process = start_parent("done")
    assert parent.wait(timeout=300) == 0
    wait_until_gone([process])
    assert parent.stderr.read() == b""


# ------------------------------------------------------------------------------------------------ training


@pytest.fixture
def in_background(monkeypatch: pytest.MonkeyPatch, warm: type[BackgroundEvaluator]) -> None:
    monkeypatch.setattr(trainer, "ForegroundEvaluator", lambda config, *_: warm(config))


COMMAND = """  # nothing guards it
import os, sys
from mtrl.cli import main
from mtrl.evaluation.background import BackgroundEvaluator
from mtrl.training import trainer
from tests.mtrl.conftest import FakeEngine, pytest, put_fakes
from tests.mtrl.evaluation.test_background import StuckEngine

def background(config, *_):
    use(StuckEngine)
    evaluator = BackgroundEvaluator(config)
    use(FakeEngine)
    start = evaluator.start
    def begin(policy):
        evaluated = start(policy)
        if sys.argv[1] == "evaluating":
            evaluator._prepared.result()
        print("evaluating", flush=True)
        return evaluated
    evaluator.start = begin
    return evaluator

use = put_fakes(pytest.MonkeyPatch())
trainer.ForegroundEvaluator = background
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("when", "number"),
    [
        ("evaluating", signal.SIGINT),
        pytest.param("beginning", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_training_is_stopped_in_the_middle_of_an_evaluation(
    tmp_path: Path, when: str, number: signal.Signals
) -> None:
    """That has no end. The signal goes to all processes, as by Ctrl-C or of a job."""
    run, script = tmp_path / "run", tmp_path / "script.py"
    script.write_text(COMMAND, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, script, when, *train_arguments(run, total_steps=100_000, **OPTIONS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
        text=True,
    )
    try:
        assert process.stdout.readline() == "evaluating\n"
        helpers = descendants(process.pid)
        os.killpg(process.pid, number)
        assert process.wait(timeout=300) == 128 + number
        wait_until_gone(helpers)
        begun, _, notice, said = process.stderr.read().strip().split("\n")  # a line below the terminal's "^C"
    finally:
        process.kill()
        process.communicate()
    assert begun.startswith(f"Training in {run} from step 0")
    assert notice.startswith("mtrl: stopping after this step")
    assert said.startswith(f"mtrl: Stopped by {number.name} at step ")
    assert checkpoints.steps(run / "checkpoints")[-1] == int(said.split()[6].rstrip(","))


def sorted_lines(run: Path) -> list[dict[str, Any]]:
    """An evaluation's line comes when it is done."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return sorted(lines, key=lambda line: (line["step"], "evaluation/success" in line))


def assert_same_outcome(expected: Path, run: Path) -> None:
    assert sorted_lines(expected) == sorted_lines(run)
    best = [checkpoints.find(path / "checkpoints", "best").name for path in (expected, run)]
    assert best[0] == best[1]
    last = [checkpoints.steps(path / "checkpoints")[-1] for path in (expected, run)]
    assert last[0] == last[1]
    assert_same_state(read_state(expected, last[0]), read_state(run, last[0]))


def test_training_goes_on_meanwhile(
    whole: Path, fake: Callable, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "ForegroundEvaluator", lambda config, *_: BackgroundEvaluator(config))
    assert cli(*train_arguments(tmp_path / "run", **OPTIONS)).code == 0
    assert_same_outcome(whole, tmp_path / "run")


class SignalledEngine(FakeEngine):
    """SIGTERM in a step of training."""

    at, engines = 0, 0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        type(self).engines += 1

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        if self.steps == self.at and self.engines == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().step(actions)


def done_when_waited_for(evaluator: BackgroundEvaluator, policy: PolicyState) -> Future[Evaluated]:
    """An evaluation that takes until the next one."""
    evaluated = start(evaluator, policy)
    evaluated.done = lambda: getattr(evaluated, "was_waited_for", False)  # type: ignore[method-assign]
    return evaluated


start = BackgroundEvaluator.start


def wait_to_the_end(futures: list[Future[Evaluated]], seconds: float) -> None:
    wait(futures)
    for future in futures:
        future.was_waited_for = True  # type: ignore[attr-defined]


@pytest.mark.parametrize("at", [16, 20, 39])
@pytest.mark.parametrize("finished_in_background", [True, False])
def test_a_run_that_is_stopped_before_its_evaluation_is_done_makes_it_later(
    whole: Path,
    in_background: None,
    warm: type[BackgroundEvaluator],
    fake: Callable,
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
    finished_in_background: bool,
) -> None:
    monkeypatch.setattr(SignalledEngine, "at", at)
    monkeypatch.setattr(SignalledEngine, "engines", 0)
    monkeypatch.setattr(trainer, "wait", wait_to_the_end)
    monkeypatch.setattr(BackgroundEvaluator, "start", done_when_waited_for)
    fake(SignalledEngine)
    result = cli(*train_arguments(tmp_path / "run", **OPTIONS))
    assert result.code == 128 + signal.SIGTERM, result.err
    made = [line["step"] for line in sorted_lines(tmp_path / "run") if "evaluation/success" in line]
    assert made == ([] if at < 39 else [16])
    assert {16} if at < 39 else {32, 40} <= {*checkpoints.steps(tmp_path / "run" / "checkpoints")}
    monkeypatch.undo()
    if finished_in_background:
        monkeypatch.setattr(trainer, "ForegroundEvaluator", lambda config, *_: warm(config))
    put_fakes(monkeypatch)
    result = cli("train", "--resume", tmp_path / "run")
    assert result.code == 0, result.err
    assert_same_outcome(whole, tmp_path / "run")


class KilledEngine(FakeEngine):
    """Training ends in its step 30."""

    at = 0  # in the process of evaluations it stays so

    def step(self, actions: NDArray[np.float64]) -> Transitions:
        if self.steps + 1 == self.at:
            raise KeyboardInterrupt
        return super().step(actions)


@pytest.mark.parametrize("done_at", [20, 27, 40])
def test_a_run_that_is_killed_beside_its_evaluation(
    whole: Path,
    in_background: None,
    fake: Callable,
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    done_at: int,
) -> None:
    """It goes on from step 24; the evaluation of step 16 was done before, after that, or never."""

    def begin(evaluator: BackgroundEvaluator, policy: PolicyState) -> Future[Evaluated]:
        evaluated, steps = start(evaluator, policy), itertools.count(16)

        def done() -> bool:
            if next(steps) < done_at:
                return False
            wait([evaluated])
            return True

        evaluated.done = done  # type: ignore[method-assign]
        return evaluated

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(BackgroundEvaluator, "start", begin)
        patch.setattr(KilledEngine, "at", 30)
        fake(KilledEngine)
        assert cli(*train_arguments(run, **OPTIONS)).code == 128 + signal.SIGINT
    assert checkpoints.steps(run / "checkpoints")[-1] == 24
    made = [line["step"] for line in sorted_lines(run) if "evaluation/success" in line]
    assert made == ([16] if done_at < 30 else [])
    fake(FakeEngine)
    result = cli("train", "--resume", run)
    assert result.code == 0, result.err
    assert_same_outcome(whole, run)
    assert checkpoints.steps(run / "checkpoints") == checkpoints.steps(whole / "checkpoints")


@pytest.mark.parametrize("is_there", [True, False])
def test_an_evaluation_of_a_policy_that_is_gone_or_damaged_is_left_out(
    whole: Path, in_background: None, fake: Callable, cli: Cli, tmp_path: Path, is_there: bool
) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    *others, last = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    assert "evaluation/success" in last
    kept = [line for line in others if "evaluation/success" not in line or json.loads(line)["step"] < 32]
    (run / "metrics.jsonl").write_text("".join(kept))
    policy = run / "checkpoints" / "step_0000000032"
    (policy / "agent.safetensors").write_bytes(b"damaged") if is_there else shutil.rmtree(policy)
    result = cli("train", "--resume", run)
    assert result.code == 0
    if is_there:
        assert "The evaluation of step 32 is left out: The checkpoint file" in result.err
        assert (run / "metrics.jsonl").read_text() == "".join([*kept, last])
    else:
        assert "has lost the lines of steps 32 of evaluation, which is marked there" in result.err
        assert (run / "metrics.jsonl").read_text().endswith(last)
