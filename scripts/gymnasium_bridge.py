"""Copies of one Gymnasium environment, for a parent process that speaks frames on standard input and output.

The program `alrao` holds this text and starts it as `python3 -c TEXT`. src/rl/gymnasium is the other end.

A frame is the length of what follows (u32), a kind (u8), and a body. All numbers are little-endian. Each request has one
answer; the end of standard input ends the process.

    request             body                            answer          body
    1 open              version u32, copies u32, name   101 opened      "alraogym", version u32, numbers in an
                                                                        observation u32, actions u32, versions
    2 reset             for each: copy u32, seed u64    102 reset       for each: observation f32 ...
    3 step              for each copy: action u32, or   103 stepped     rewards f64 ..., flags u8 ... (1: terminated,
                        2^32 - 1 for no step                            2: truncated, 4: no step), observations f32 ...
    any                                                 100 fault       reason u8, text

Texts are UTF-8 and run to the end of their frame. Observations are flattened; actions are counted from 0.
"""

import os
import select
import signal
import struct
import sys
import time
import traceback

VERSION = 1
MAGIC = b"alraogym"
OPEN, RESET, STEP = 1, 2, 3
IDLE = 2**32 - 1
FAULT, OPENED, WAS_RESET, STEPPED = 100, 101, 102, 103
# Seconds for the environments to close after the parent has ended.
CLOSING = 5
# Reasons of a fault.
NO_GYMNASIUM, NOT_INSTALLED, NOT_MADE, CONTINUOUS_ACTIONS, OTHER_ACTIONS, OTHER_OBSERVATION, FAILED = range(1, 8)


class Fault(Exception):
    def __init__(self, reason, text):
        super().__init__(text)
        self.reason = reason


class Frames:
    """Both pipes. Standard input and output are redirected, so that nothing else in this process can use the pipes."""

    def __init__(self):
        self.requests = os.fdopen(os.dup(0), "rb")
        self.answers = os.fdopen(os.dup(1), "wb")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)
        sys.stdout = sys.stderr

    def read(self):
        """Kind and body of the next request, or None at the end."""
        header = self.requests.read(5)
        if len(header) < 5:
            return None
        length, kind = struct.unpack("<IB", header)
        body = self.requests.read(max(length - 1, 0))
        return (kind, body) if len(body) == length - 1 else None

    def write(self, kind, body):
        self.answers.write(struct.pack("<IB", len(body) + 1, kind) + body)
        self.answers.flush()


class Environments:
    def __init__(self, name, count):
        try:
            import gymnasium
            import numpy
        except ImportError as error:
            if error.name == "gymnasium":
                raise Fault(NO_GYMNASIUM, str(error)) from error
            raise
        self.numpy = numpy
        try:
            self.copies = [gymnasium.make(name)]
            check_spaces(gymnasium.spaces, self.copies[0])
            self.copies += [gymnasium.make(name) for _ in range(count - 1)]
        except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
            raise Fault(NOT_INSTALLED, str(error)) from error
        except gymnasium.error.Error as error:
            raise Fault(NOT_MADE, str(error)) from error
        actions = self.copies[0].action_space
        self.actions, self.first_action = int(actions.n), int(actions.start)
        self.width = int(numpy.prod(self.copies[0].observation_space.shape, dtype=int))
        python = ".".join(str(part) for part in sys.version_info[:3])
        self.versions = f"Gymnasium {gymnasium.__version__}, Python {python}"

    def opened(self):
        return MAGIC + struct.pack("<III", VERSION, self.width, self.actions) + self.versions.encode()

    def flat(self, observation):
        numbers = self.numpy.asarray(observation, dtype="<f4").reshape(-1)
        if numbers.size != self.width:
            raise ValueError(f"an observation has {numbers.size} numbers, its space has {self.width}")
        return numbers.tobytes()

    def number(self, reward):
        try:
            return float(reward)
        except TypeError:
            numbers = self.numpy.asarray(reward, dtype="<f8").reshape(-1)
            if numbers.size != 1:
                raise ValueError(f"a reward has {numbers.size} numbers") from None
            return float(numbers[0])

    def reset(self, body):
        shown = []
        for copy, seed in struct.iter_unpack("<IQ", body):
            observation, _ = self.copies[copy].reset(seed=seed)
            shown.append(self.flat(observation))
        return b"".join(shown)

    def step(self, body):
        actions = struct.unpack(f"<{len(self.copies)}I", body)
        rewards, flags, shown = [], [], []
        for environment, action in zip(self.copies, actions):
            if action == IDLE:
                rewards.append(0.0)
                flags.append(4)
                shown.append(bytes(4 * self.width))
                continue
            observation, reward, terminated, truncated, _ = environment.step(self.first_action + action)
            rewards.append(self.number(reward))
            flags.append(bool(terminated) + 2 * bool(truncated))
            shown.append(self.flat(observation))
        return struct.pack(f"<{len(rewards)}d", *rewards) + bytes(flags) + b"".join(shown)

    def close(self):
        for environment in self.copies:
            environment.close()


def check_spaces(spaces, environment):
    actions, observation = environment.action_space, environment.observation_space
    if isinstance(actions, spaces.Box):
        raise Fault(CONTINUOUS_ACTIONS, on_one_line(actions))
    if not isinstance(actions, spaces.Discrete):
        raise Fault(OTHER_ACTIONS, on_one_line(actions))
    if not isinstance(observation, spaces.Box) or 0 in observation.shape:
        raise Fault(OTHER_OBSERVATION, on_one_line(observation))


def on_one_line(space):
    text = " ".join(str(space).split())
    return text if len(text) <= 200 else text[:200] + "..."


def answer(environments, kind, body):
    """The environments and the answer to a request: its kind and body."""
    if kind == OPEN and environments is None:
        version, count = struct.unpack_from("<II", body)
        if version != VERSION:
            raise Fault(FAILED, f"frames of version {version} are asked for, these are of version {VERSION}")
        environments = Environments(body[8:].decode(), count)
        return environments, OPENED, environments.opened()
    if kind == RESET and environments is not None:
        return environments, WAS_RESET, environments.reset(body)
    if kind == STEP and environments is not None:
        return environments, STEPPED, environments.step(body)
    raise Fault(FAILED, f"a request of kind {kind} does not belong here")


def leave_a_watcher(frames):
    """Forks a process that kills this one and its children once the parent has closed the pipe or this process has ended.
    The watcher is a process of its own since an environment may hold Python's lock for ever."""
    try:
        os.setpgid(0, 0)
    except PermissionError:
        # This process leads a session already.
        pass
    watched = os.getpid()
    try:
        if os.getpgrp() != watched or os.fork() != 0:
            return
    except OSError:
        # There are too many processes. The bridge works without a watcher.
        return
    # A reader of these pipes must see them close when the watched process ends.
    frames.answers.close()
    for standard in range(3):
        os.dup2(os.open(os.devnull, os.O_RDWR), standard)
    ends = select.poll()
    ends.register(frames.requests, 0)
    while os.getppid() == watched and not ends.poll(500):
        pass
    closing = time.monotonic() + CLOSING
    while os.getppid() == watched and time.monotonic() < closing:
        time.sleep(0.05)
    os.killpg(watched, signal.SIGKILL)


def main():
    # Ctrl-C reaches all processes of a terminal. The parent decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    frames = Frames()
    if hasattr(os, "fork"):
        leave_a_watcher(frames)
    environments = None
    while (request := frames.read()) is not None:
        try:
            environments, kind, body = answer(environments, *request)
        except (Exception, SystemExit) as error:
            is_known = isinstance(error, Fault)
            reason, text = (error.reason, str(error)) if is_known else (FAILED, f"{type(error).__name__}: {error}")
            if not is_known:
                traceback.print_exc()
            kind, body = FAULT, bytes([reason]) + text.encode(errors="replace")[:4000]
        frames.write(kind, body)
    if environments is not None:
        environments.close()


try:
    main()
except BrokenPipeError:
    # The parent has ended. Skip the flush at exit, which would fail too.
    os._exit(1)
