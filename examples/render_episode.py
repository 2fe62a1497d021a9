"""Renders an episode of a trained policy with Meta-World's own `env.render()`.

    python examples/render_episode.py runs/quickstart window-open-v3 episode.mp4

On a machine without a display, set MUJOCO_GL=egl (or osmesa) first.
"""

import sys

import gymnasium
import imageio.v2 as imageio
import metaworld  # noqa: F401  (registers its environments)

import mtrl


def main(run: str, task: str, path: str) -> None:
    policy = mtrl.load_policy(run)
    env = gymnasium.make(
        "Meta-World/MT1", env_name=task, seed=7, render_mode="rgb_array", camera_name="corner2"
    )
    observation, _ = env.reset()
    rewards, frames, success, done = [], [], False, False
    while not done:
        observation, reward, terminated, truncated, info = env.step(policy(observation, task))
        rewards.append(reward)
        if len(rewards) % 4 == 0:
            frames.append(env.render()[::-1, ::-1])  # this camera is mounted upside down
        success = success or info["success"] > 0
        done = terminated or truncated or success
    env.close()
    imageio.mimwrite(path, frames, fps=20)
    print(f"{path}: {len(rewards)} steps, return {sum(rewards):.0f}, {'solved' if success else 'not solved'}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python examples/render_episode.py RUN TASK FILE.mp4")
    main(*sys.argv[1:])
