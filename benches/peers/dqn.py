#!/usr/bin/env python3
"""Deep Q-learning on the pendulum in eager PyTorch. By default it prints updates per second, environment steps per second
(the network chooses an action, the environment steps, the transition is stored), and both in turn.

    dqn.py                                  PyTorch alone
    dqn.py --alrao target/release/alrao     and `alrao bench q-learning`, the two sides in turn, with the ratios
    dqn.py --steps 12000 --seed 0           learns, and prints the mean return of 20 episodes as it goes"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time

import torch

import pendulum
import q_network

TORQUES = 5
CAPACITY = 1_000_000
TRANSITIONS = 10_000
WARM_UP = 20
OPTIMIZERS = ["sgd", "sgd-compiled", "adam", "alrao"]
WORKS = ["updates", "environment_steps", "steps_with_updates"]
# While learning.
LEARNING_STARTS, EPSILON_STEPS, EPSILON_END = 1_000, 10_000, 0.05
REWARD_SCALE = 0.1
EVALUATE_EVERY, EPISODES = 2_000, 20


def arguments():
    parser = argparse.ArgumentParser(
        description="Q-learning in PyTorch", allow_abbrev=False, epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--optimizer", action="append", choices=OPTIMIZERS, help="may be repeated [default: sgd, alrao, on cuda sgd-compiled]")
    add("--batch-size", type=int, default=32)
    add("--hidden", default="64,64")
    add("--classifiers", type=int, default=10)
    add("--environments", type=int, default=1)
    add("--lr", type=float, help="of sgd and adam [default: 0.01; adam 0.001]")
    add("--device", choices=["cpu", "cuda"], default="cpu")
    add("--precision", choices=["f32", "tf32"], default="f32", help="tf32 for a GPU")
    add("--threads", type=int, default=1, help="of both sides; for so small a network more do not pay")
    add("--seed", type=int, default=0)
    add("--steps", type=int, help="learn over so many steps of the environment instead")
    add("--alrao", metavar="BINARY", help="time this program too")
    add("--rounds", type=int, default=9, help="of which the median counts")
    add("--updates", type=int, default=1000, help="a round, and as many steps of the environment")
    add("--json", action="store_true", help="a line of JSON for each row")
    args = parser.parse_args()
    if args.precision == "tf32" and args.device == "cpu":
        parser.error("--precision tf32 is for a GPU; use --device cuda")
    usual = ["sgd", "alrao"] + ["sgd-compiled"] * (args.device == "cuda")
    args.optimizer = args.optimizer or (["alrao"] if args.steps else usual)
    return args


class Agent:
    """A network, and the environments whose transitions it learns from."""

    def __init__(self, args, optimizer, epsilon, random_steps, reward_scale=REWARD_SCALE):
        hidden = tuple(int(size) for size in args.hidden.split(","))
        lr = args.lr or (0.001 if optimizer == "adam" else 0.01)
        self.settings = q_network.Settings(
            pendulum.OBSERVATION, TORQUES, hidden, optimizer, lr, copies=args.classifiers, device=args.device
        )
        self.batch_size, self.epsilon, self.random_steps, self.reward_scale = args.batch_size, epsilon, random_steps, reward_scale
        self.learner = q_network.learner(self.settings)
        self.replay = q_network.Replay(CAPACITY, self.settings)
        self.environment = pendulum.Pendulum(args.environments, TORQUES, args.seed)
        self.observations = self.environment.observations()
        self.random = random.Random(args.seed)
        self.steps = 0

    def update(self):
        return self.learner.learn(self.replay.batch(self.replay.draw(self.batch_size)))

    def best(self, observations):
        tensor = torch.tensor(observations, dtype=self.settings.dtype).to(self.settings.device)
        return self.learner.values(tensor).argmax(1).tolist()

    def choose(self):
        epsilon = 1.0 if self.steps < self.random_steps else self.epsilon(self.steps - self.random_steps)
        is_random = [self.random.random() < epsilon for _ in self.observations]
        best = [0] * len(is_random) if all(is_random) else self.best(self.observations)
        return [self.random.randrange(TORQUES) if own else greedy for own, greedy in zip(is_random, best)]

    def step(self):
        actions = self.choose()
        seen, rewards, _ = self.environment.step(actions)
        # A pendulum's episodes are only truncated, never terminal, so the next state's value always counts.
        self.replay.push(
            [
                [*old, *new, action, reward * self.reward_scale, 1.0]
                for old, new, action, reward in zip(self.observations, seen, actions, rewards)
            ]
        )
        self.observations = self.environment.observations()
        self.steps += len(actions)

    def step_with_updates(self):
        self.step()
        for _ in self.observations:
            self.update()

    def mean_return(self, seed):
        """The mean return of episodes started from the seed, always taking the best action."""
        environment, total = pendulum.Pendulum(EPISODES, TORQUES, seed), 0.0
        for _ in range(pendulum.STEPS):
            _, rewards, _ = environment.step(self.best(environment.observations()))
            total += sum(rewards)
        return total / EPISODES


def learn(args, optimizer):
    torch.manual_seed(args.seed)
    agent = Agent(args, optimizer, lambda step: max(EPSILON_END, 1.0 - (1.0 - EPSILON_END) * step / EPSILON_STEPS), LEARNING_STARTS)
    evaluated, began, best = 0, time.perf_counter(), None
    while agent.steps < args.steps:
        agent.step()
        if agent.steps > LEARNING_STARTS:
            for _ in agent.observations:
                agent.update()
        if agent.steps - evaluated < EVALUATE_EVERY and agent.steps < args.steps:
            continue
        evaluated = agent.steps
        row = {"optimizer": optimizer, "seed": args.seed, "steps": agent.steps, "return": round(agent.mean_return(args.seed), 1)}
        row["seconds"] = round(time.perf_counter() - began, 1)
        best = row["return"] if best is None else max(best, row["return"])
        show(args, row, f"{optimizer}  seed {args.seed}  steps {agent.steps:>6}  return {row['return']:8.1f}  {row['seconds']:6.1f} s")
    # Different episodes from the previous ones.
    last = {"optimizer": optimizer, "seed": args.seed, "best": best, "last": round(agent.mean_return(args.seed + 1_000_000), 1)}
    show(args, last, f"{optimizer}  seed {args.seed}  best {best:.1f}, in new episodes at the end {last['last']:.1f}")


def show(args, row, text):
    print(json.dumps(row) if args.json else text, flush=True)


class Contestant:
    def __init__(self, args, optimizer):
        torch.manual_seed(args.seed)
        self.args, self.agent = args, Agent(args, optimizer, lambda step: EPSILON_END, TRANSITIONS)
        self.row = {"side": "PyTorch", "optimizer": optimizer, "mode": "eager"}
        if optimizer.endswith("compiled"):
            self.row["mode"] = "compiled"
        while self.agent.steps < TRANSITIONS:
            self.agent.step()
        for _ in range(WARM_UP):
            self.agent.step_with_updates()
        self.rates = {work: [] for work in WORKS}

    def round(self):
        agent, copies = self.agent, self.args.environments
        for name, work, at_once in [
            ("updates", agent.update, 1),
            ("environment_steps", agent.step, copies),
            ("steps_with_updates", agent.step_with_updates, copies),
        ]:
            repeats = -(-self.args.updates // at_once)
            synchronize(self.args.device)
            began = time.perf_counter()
            for _ in range(repeats):
                work()
            synchronize(self.args.device)
            self.rates[name].append(repeats * at_once / (time.perf_counter() - began))


def synchronize(device):
    if device == "cuda":
        torch.cuda.synchronize()


class Engine:
    """Runs `alrao bench q-learning`, one process per round."""

    def __init__(self, args):
        optimizers = [own for own in args.optimizer if not own.endswith("compiled")]
        self.command = [args.alrao, "bench", "q-learning", "-q", "--json", "--device", args.device, "--precision", args.precision]
        self.command += ["--threads", str(args.threads), "--hidden", args.hidden, "--batch-size", str(args.batch_size)]
        self.command += ["--classifiers", str(args.classifiers), "--environments", str(args.environments)]
        self.command += ["--steps", str(args.updates)]
        for optimizer in optimizers:
            self.command += ["--optimizer", optimizer]
        self.rates = {}

    def round(self):
        done = subprocess.run(self.command, stdout=subprocess.PIPE, check=True)
        for row in json.loads(done.stdout)["q_learning"]:
            rates = self.rates.setdefault((row["optimizer"], row["mode"]), {work: [] for work in WORKS})
            for work in WORKS:
                rates[work].append(row[f"{work}_per_second"])

    def rows(self):
        return [({"side": "alrao", "optimizer": own, "mode": mode}, rates) for (own, mode), rates in self.rates.items()]


def measure(args):
    contestants, failures = [], []
    for optimizer in args.optimizer:
        try:
            contestants.append(Contestant(args, optimizer))
        except Exception as error:  # a failure to compile must not end the other measurements
            if not optimizer.endswith("compiled"):
                raise
            failures.append({"side": "PyTorch", "optimizer": optimizer, "error": str(error).strip().splitlines()[-1]})
    engine = [Engine(args)] if args.alrao else []
    for _ in range(args.rounds):
        for contestant in engine + contestants:
            contestant.round()
    measured = [(contestant.row, contestant.rates) for contestant in contestants]
    measured += [row for own in engine for row in own.rows()]
    medians = [(row, {work: statistics.median(rates[work]) for work in WORKS}) for row, rates in measured]
    if not args.json:
        print(f"{args.device}, {args.threads} threads, torch {torch.__version__}, batch {args.batch_size}, hidden {args.hidden}")
        print(f"{'':<8} {'optimizer':<13} {'mode':<9} {'updates/s':>10} {'env steps/s':>12} {'both/s':>8}  times PyTorch's eager")
    for row, rates in medians:
        eager = [own for other, own in medians if (other["side"], other["optimizer"]) == ("PyTorch", row["optimizer"])]
        ratios = [rates[work] / eager[0][work] for work in WORKS] if eager and row["side"] == "alrao" else []
        line = row | {f"{work}_per_second": round(rates[work], 1) for work in WORKS}
        line |= {"ratios": [round(ratio, 2) for ratio in ratios]} if ratios else {}
        line |= {"device": args.device, "precision": args.precision, "threads": args.threads, "torch": torch.__version__}
        cells = f"{row['side']:<8} {row['optimizer']:<13} {row['mode']:<9} {rates['updates']:>10.0f} "
        cells += f"{rates['environment_steps']:>12.0f} {rates['steps_with_updates']:>8.0f}"
        show(args, line, cells + ("  " + ", ".join(f"{ratio:.2f}" for ratio in ratios) if ratios else ""))
    for failure in failures:
        show(args, failure, f"{failure['side']:<8} {failure['optimizer']:<13} failed: {failure['error']}")


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.backends.cuda.matmul.allow_tf32 = args.precision == "tf32"
    if args.steps:
        for optimizer in args.optimizer:
            learn(args, optimizer)
    else:
        measure(args)


if __name__ == "__main__":
    sys.exit(main())
