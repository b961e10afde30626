"""Environments of the tests' own."""

import os
import re
import subprocess
import sys
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


class Grip(Room):
    """Holds Python's lock for ever."""

    def step(self, action):
        os.write(2, b"nobody leaves\n")
        re.match(r"(a+)+$", "a" * 60 + "b")


class Fork(Room):
    """Dies, and its other half does not."""

    def __init__(self):
        if os.fork() == 0:
            time.sleep(3600)

    def step(self, action):
        os._exit(7)


class Nest(Room):
    """Starts a process, and tells its number as a reward, in an array of one."""

    def __init__(self):
        self.process = subprocess.Popen(["sleep", "3600"])

    def step(self, action):
        if action == 6:
            return numpy.zeros((2, 3, 2)), numpy.zeros(2), False, False, {}
        return numpy.zeros((2, 3, 2)), numpy.array([self.process.pid]), False, False, {}


class Exit(Room):
    def __init__(self):
        sys.exit("the room is closed")


for environment in [Room, Cards, Wheels, Trap, Grip, Fork, Nest, Exit]:
    gymnasium.register(f"{environment.__name__}-v0", environment)
