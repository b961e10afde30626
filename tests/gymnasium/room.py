"""Environments of the tests' own."""

import os
import time

import gymnasium
import numpy
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Tuple


class Room(gymnasium.Env):
    """Prints wherever it can, counts its actions from 5, and shows pictures; the last action breaks it."""

    observation_space = Box(0, 255, (2, 3, 2), numpy.uint8)
    action_space = Discrete(3, start=5)

    def __init__(self):
        print("hello")
        os.system("echo from another process")

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        os.write(1, b"reset\n")
        return numpy.arange(12, dtype=numpy.uint8).reshape(2, 3, 2), {}

    def step(self, action):
        print("step", flush=True)
        if action == 7:
            raise RuntimeError("the room is broken")
        return numpy.full((2, 3, 2), action, numpy.uint8), action / 3, False, False, {}


class Cards(Room):
    observation_space = Tuple([Discrete(2), Discrete(3)])


class Wheels(Room):
    action_space = MultiDiscrete([2, 2])


class Trap(Room):
    def step(self, action):
        os.write(2, b"nobody leaves\n")
        time.sleep(3600)


for environment in [Room, Cards, Wheels, Trap]:
    gymnasium.register(f"{environment.__name__}-v0", environment)
