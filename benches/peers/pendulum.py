"""The pendulum of Gymnasium's `Pendulum-v1` with a few discrete torques, in plain Python, which is faster than NumPy for a
few copies. Episodes are truncated after 200 steps and restart."""

import math
import random

STEPS = 200
OBSERVATION = 3


class Pendulum:
    def __init__(self, count, torques=5, seed=0):
        self.random = random.Random(seed)
        self.torques = [4.0 * action / (torques - 1) - 2.0 for action in range(torques)]
        self.states = [self.start() for _ in range(count)]

    def start(self):
        """Angle, speed, steps so far."""
        return self.random.uniform(-math.pi, math.pi), self.random.uniform(-1.0, 1.0), 0

    def observations(self):
        return [[math.cos(angle), math.sin(angle), speed] for angle, speed, _ in self.states]

    def step(self, actions):
        """Returns the next observations, the rewards, and which copies were truncated; these have restarted."""
        rewards, ended = [], []
        for copy, action in enumerate(actions):
            angle, speed, steps = self.states[copy]
            torque = self.torques[action]
            turned = (angle + math.pi) % (2 * math.pi) - math.pi
            rewards.append(-(turned * turned + 0.1 * speed * speed + 0.001 * torque * torque))
            speed = max(-8.0, min(8.0, speed + 0.05 * (15.0 * math.sin(angle) + 3.0 * torque)))
            self.states[copy] = angle + 0.05 * speed, speed, steps + 1
            ended.append(steps + 1 >= STEPS)
        seen = self.observations()
        for copy in [copy for copy, over in enumerate(ended) if over]:
            self.states[copy] = self.start()
        return seen, rewards, ended
