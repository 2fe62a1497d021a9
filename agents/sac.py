"""Multi-task soft actor-critic: S seeds and T tasks in one set of batched networks, one temperature per task.

Haarnoja et al. 2018, 1812.05905 (SAC with learned temperature). The networks and how they act are in
`agents.actor_critic`, what a value is in `agents.values`, the losses in `agents.losses`, the temperatures in
`agents.temperature`, and what combines the tasks' losses in `agents.optimizer`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from agents.actor_critic import ActorCritic
from agents.config import Precision, SACConfig
from agents.losses import actor_loss, sample_action, temperature_weights
from agents.networks.base import Architecture
from agents.optimizer import TaskOptimizer
from agents.return_scale import ReturnScale
from agents.temperature import Temperature
from mtrl.balancers.base import Balancer
from mtrl.device.compile import compile_methods
from mtrl.device.generators import Generators
from mtrl.device.streams import SideStream

#: What of an agent has a state of its own.
_PARTS = ("critic_optimizer", "actor_optimizer", "noise", "exploration")


class Batch(NamedTuple):
    """B transitions of every task: observation [S, T, B, O], action [S, T, B, A], reward and terminated [S, T, B]."""

    observation: Tensor
    action: Tensor
    reward: Tensor
    next_observation: Tensor
    terminated: Tensor


class SAC(ActorCritic):
    """The agent: S seeds trained side by side, each with parameters, noise and balancer state of its own.

    Args, besides those of `ActorCritic`:
        critic_balancer: prototype for the critics' gradients, copied and set up here, or None for the plain mean loss.
        actor_balancer: the same for the actor's. The temperature is never balanced.
    """

    def __init__(
        self,
        architecture: Architecture,
        config: SACConfig,
        *,
        observation_size: int,
        action_size: int,
        num_tasks: int,
        seeds: Sequence[int],
        critic_architecture: Architecture | None = None,
        critic_balancer: Balancer | None = None,
        actor_balancer: Balancer | None = None,
        device: torch.device | str = "cpu",
        task_names: Sequence[str] | None = None,
        precision: Precision = "float32",
    ) -> None:
        if actor_balancer is not None and actor_balancer.requires_positive_losses:
            raise ValueError(
                f"{type(actor_balancer).__name__} needs positive losses, and the actor's loss is negative where the "
                "policy is good: balance the critic only (`--balance critic`)."
            )
        super().__init__(
            architecture,
            config,
            observation_size=observation_size,
            action_size=action_size,
            num_tasks=num_tasks,
            seeds=seeds,
            critic_architecture=critic_architecture,
            device=device,
            task_names=task_names,
            precision=precision,
        )
        decays = config.learning_rate_decay != "none"
        # A CUDA graph reads the tensor anew in each replay, and has a number for good.
        self.learning_rate_factor: Tensor | float = torch.ones((), device=self.device) if decays else 1.0
        self.critic_optimizer = self._optimizer("critic", critic_balancer)
        self.actor_optimizer = self._optimizer("actor", actor_balancer)
        self.temperature = Temperature(
            config, len(seeds), num_tasks, action_size, self.learning_rate_factor, self.device
        )
        self.return_scale = ReturnScale(
            self.temperature.log_alpha, config.value_max, self.temperature.target_entropy, config.gamma
        )
        self.noise = Generators(self.seeds, "update", self.device)
        self._target_stream, self._policy_stream, self._follow_stream = (
            SideStream(self.device) for _ in range(3)
        )

    def _optimizer(self, network: str, balancer: Balancer | None) -> TaskOptimizer:
        if balancer is not None:
            balancer = copy.deepcopy(balancer)
            balancer.setup(self.num_tasks, seeds=self.seeds, device=self.device, stream=network)
        return TaskOptimizer(
            getattr(self, network),
            self.vectors[network],
            balancer,
            self.num_tasks,
            self.config,
            self.learning_rate_factor,
        )

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of critics, actor, temperatures and targets on a batch; no host synchronisation.

        A seed with a loss or gradient that is not finite stays as it is. Target and policy are computed beside the
        critics' values, and the target critics follow beside the actor's step; none of these reads what another one
        changes. (The policy's encoding of the observations is therefore that of the critic loss, from before the
        critics' step.)

        Returns:
            metrics on the device: [S, T] per-task losses, temperatures, entropies, values; of `critic/` and `actor/`
            what `TaskOptimizer.step` returns; [S] the learning rates' factor, where it decays.
        """
        noise = self.noise.randn(2, *batch.action.shape[1:])
        alpha = self.temperature()
        with self._target_stream, torch.no_grad():
            target, target_metrics = self._target(batch, noise[:, 0], alpha)
        with self._policy_stream:
            action, log_prob, log_std, policy_features = self._policy(
                self.actor_optimizer.network, batch.observation, noise[:, 1]
            )
        outputs, value_features = self._values(self.critic_optimizer.network, batch.observation, batch.action)
        self._target_stream.join()
        critic_losses = self.value.loss(outputs, target)
        critic_metrics = self.critic_optimizer.step(
            self._weighed(critic_losses),
            value_features,
            lambda: self._weighed(
                self.value.loss(self._run(self.critic, batch.observation, batch.action)[0], target)
            ),
        )
        with self._follow_stream:
            self._follow(critic_metrics["nonfinite"])
        self._policy_stream.join()
        policy_outputs, _ = self._values(self.critic, batch.observation, action)
        actor_losses = self._actor_loss(policy_outputs, log_prob, alpha)
        actor_metrics = self.actor_optimizer.step(
            self._weighed(actor_losses),
            policy_features,
            lambda: self._weighed(self._actor_losses_now(batch, noise[:, 1], alpha)),
        )
        entropy, q_value, log_std = self._adapt_temperature(
            log_prob, outputs, log_std, actor_metrics["nonfinite"]
        )
        self._follow_stream.join()
        factor = self.learning_rate_factor
        decay = {"learning_rate_factor": factor.repeat(len(self.seeds))} if isinstance(factor, Tensor) else {}
        return {
            "critic/loss": critic_losses.detach(),
            "critic/q_value": q_value,
            **{f"critic/{name}": value for name, value in critic_metrics.items()},
            "actor/loss": actor_losses.detach(),
            "actor/entropy": entropy,
            "actor/log_std": log_std,
            "temperature": alpha,
            **target_metrics,
            **{f"actor/{name}": value for name, value in actor_metrics.items()},
            **decay,
        }

    def _target(self, batch: Batch, noise: Tensor, alpha: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What the target critics say that the critics' outputs should be (`Value.target`), and metrics of it."""
        mean, log_std, _ = self._run(self.actor, self.critic.encode(batch.next_observation))
        next_action, next_log_prob = sample_action(mean, self.config.bounded_log_std(log_std), noise)
        next_outputs, _ = self._run(self.target_critic, batch.next_observation, next_action)
        reward, metrics = batch.reward, {}
        if self.config.normalize_returns:
            metrics["return_scale"] = self.return_scale(alpha)
            reward = reward / metrics["return_scale"].unsqueeze(-1)
        discount = self.config.gamma * (1.0 - batch.terminated)
        target = self.value.target(reward, discount, next_outputs, alpha.unsqueeze(-1) * next_log_prob)
        return target, metrics

    def _values(self, critic: nn.Module, observation: Tensor, action: Tensor) -> tuple[Tensor, Tensor | None]:
        """Outputs [S, E, T, B, K], and the representation where the balancer wants its gradients."""
        outputs, features = self._run(critic, observation, action)
        return outputs, features if self.critic_optimizer.reads_representation else None

    def _policy(
        self, actor: nn.Module, observation: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Actions [S, T, B, A] with gradients, their log-probabilities [S, T, B], the log standard deviations [S, T, B,
        A] as constants, and the representation where the balancer wants its gradients."""
        with torch.no_grad():
            encoded = self.critic.encode(observation)
        mean, log_std, features = self._run(actor, encoded)
        log_std = self.config.bounded_log_std(log_std)
        action, log_prob = sample_action(mean, log_std, noise)
        representation = features if self.actor_optimizer.reads_representation else None
        return action, log_prob, log_std.detach(), representation

    def _actor_loss(self, outputs: Tensor, log_prob: Tensor, alpha: Tensor) -> Tensor:
        """[S, T], from the critics' outputs at the policy's actions."""
        return actor_loss(self.value.combined(self.value.mean(outputs)), log_prob, alpha)

    def _actor_losses_now(self, batch: Batch, noise: Tensor, alpha: Tensor) -> Tensor:
        action, log_prob, _, _ = self._policy(self.actor, batch.observation, noise)
        outputs = self._run(self.critic, batch.observation, action)[0]
        return self._actor_loss(outputs, log_prob, alpha)

    def _weighed(self, losses: Tensor) -> Tensor:
        """Losses [S, T] times the weights of the tasks."""
        if self.config.task_weights == "uniform":
            return losses
        return losses * temperature_weights(self.temperature.log_alpha)

    @torch.no_grad()
    def _adapt_temperature(
        self, log_prob: Tensor, outputs: Tensor, log_std: Tensor, nonfinite: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A step of the temperatures of the seeds that stepped; returns the means of entropy, value and log standard
        deviation, [S, T]."""
        mean_log_prob = log_prob.mean(-1)
        self.temperature.step(mean_log_prob, 1.0 - nonfinite)
        return -mean_log_prob, self.value.mean(outputs).mean((1, -1)), log_std.mean((-2, -1))

    @torch.no_grad()
    def _follow(self, nonfinite: Tensor) -> None:
        """The targets follow the critics of the seeds that stepped."""
        rate = self.config.tau * (1.0 - nonfinite).unsqueeze(-1)
        target, critic = self.vectors["target"], self.vectors["critic"]
        target.shared.lerp_(critic.shared, rate)
        target.owned.lerp_(critic.owned, rate)

    def factor_gradients(self, batch_size: int) -> None:
        """Has the task gradients of some weights as factors, where that costs less (`mtrl.gradients`).

        Args:
            batch_size: B of the updates to come, of which none was made or compiled yet.
        """
        shape = (len(self.seeds), self.num_tasks, batch_size, 1)
        zeros = self.vectors["critic"].shared.new_zeros(shape)
        observation = zeros.expand(-1, -1, -1, self.observation_size)
        action = zeros.expand(-1, -1, -1, self.action_size)
        self.critic_optimizer.factor_gradients(observation, action)
        self.actor_optimizer.factor_gradients(self.critic.encode(observation))

    def set_progress(self, progress: float) -> None:
        """Says which share of training in [0, 1] is done when the updates that are queued from now on are made."""
        if isinstance(self.learning_rate_factor, Tensor):
            self.learning_rate_factor.fill_(self.config.learning_rate_factor(progress))

    def diagnose(self, wanted: bool) -> None:
        """Whether the next updates return a Gramian also where the balancer does without it."""
        for optimizer in (self.critic_optimizer, self.actor_optimizer):
            if optimizer.balancer is not None:
                optimizer.balancer.diagnose = wanted

    def compile(self, *, autotune: bool = False) -> None:
        """Compiles the parts between matrix products into fused kernels: a small update is bound by their number.

        Args:
            autotune: also time kernels for each matrix product on first use, those that apply bias and ReLU among them.
        """
        compile_methods(self.value, "loss", autotune=autotune)
        names = ["_target", "_actor_loss", "_follow", "_adapt_temperature"]
        # A compiled function returns features and outputs side by side: the outputs' gradient skips the features.
        if not self.critic_optimizer.reads_representation:
            names.append("_values")
        if not self.actor_optimizer.reads_representation:
            names.append("_policy")
        compile_methods(self, *names, autotune=autotune)
        self.critic_optimizer.compile()
        self.actor_optimizer.compile()

    def state_dict(self) -> dict[str, Any]:  # type: ignore[override]
        """Everything that the next update and the next action depend on, besides batch, observation and progress.

        Unlike other modules' it is nested, one mapping for each part, and has a network's parameters as its vector.
        """
        return {
            **self.network_state(),
            "log_alpha": self.temperature.log_alpha,
            "temperature_adam": self.temperature.adam.state_dict(),
            "return_statistics": self.return_scale.statistics,
            **{part: getattr(self, part).state_dict() for part in _PARTS},
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # type: ignore[override]
        self.load_networks(state, self.vectors)
        self.temperature.log_alpha.copy_(state["log_alpha"])
        self.temperature.adam.load_state_dict(state["temperature_adam"])
        self.return_scale.statistics.copy_(state["return_statistics"])
        for part in _PARTS:
            getattr(self, part).load_state_dict(state[part])
