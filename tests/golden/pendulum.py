#!/usr/bin/env python3
"""Writes pendulum.safetensors: episodes of Gymnasium's Pendulum-v1 from given states, under torques out of a few.

For each number of torques K: `K states` `[episodes, 2]` angle and speed at the start, `K actions` `[episodes, 200]`,
`K observations` `[episodes, 201, 3]`, `K rewards` and `K truncated` `[episodes, 200]`. Half of the episodes draw their
torques at random and hold each for some steps, the other half push with the motion until it is as fast as it gets.

Needs numpy, safetensors and gymnasium 1.4.0: python pendulum.py
"""

import math
from pathlib import Path

import gymnasium
import numpy as np
from safetensors.numpy import save_file

STEPS, EPISODES = 200, 6
# Torques; those of the last are no numbers of a few binary digits.
NUMBERS = [2, 5, 8]


def episode(env, generator, torques, pushes):
    angle, speed = generator.uniform(-math.pi, math.pi), generator.uniform(-1, 1)
    env.reset(seed=0)
    env.unwrapped.state = np.array([angle, speed])
    observations, actions, rewards, ends = [np.array([np.cos(angle), np.sin(angle), speed], "float32")], [], [], []
    action, held = 0, 0
    for _ in range(STEPS):
        if pushes:
            action = len(torques) - 1 if env.unwrapped.state[1] > 0 else 0
        elif held == 0:
            action, held = generator.integers(len(torques)), generator.integers(1, 12)
        held -= 1
        observation, reward, terminated, truncated, _ = env.step(np.array([torques[action]]))
        assert not terminated
        observations.append(observation)
        actions.append(action)
        rewards.append(reward)
        ends.append(truncated)
    return [angle, speed], actions, observations, rewards, ends


def main():
    env = gymnasium.make("Pendulum-v1")
    generator = np.random.default_rng(0)
    tensors = {}
    for number in NUMBERS:
        torques = np.linspace(-2, 2, number)
        episodes = [episode(env, generator, torques, pushes=index % 2 == 1) for index in range(EPISODES)]
        kinds = ["float64", "int32", "float32", "float64", "uint8"]
        names = ["states", "actions", "observations", "rewards", "truncated"]
        for name, kind, values in zip(names, kinds, zip(*episodes)):
            tensors[f"{number} {name}"] = np.array(values, kind)
    save_file(tensors, Path(__file__).parent / "pendulum.safetensors")


if __name__ == "__main__":
    main()
