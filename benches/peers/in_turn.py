#!/usr/bin/env python3
"""Times PyTorch's steps for `alrao bench step --peers PYTHON`, which times its own in between. Each line of JSON on
standard input is a request, answered by a line on standard output:

    at the start                            {"torch": "2.15.0", "python": "3.11.7", "device": "cpu", "threads": 2}
    {"prepare": {"model": "cnn", "way": "sgd", "batch_size": 32, "width": 1.0, "classifiers": 10}}
                                            {"prepared": 1, "samples": 32}
    {"time": 1, "steps": 20}                {"seconds": 0.31}

A failure is answered by {"error": "..."}. `prepare` requires only the model and the way. The process ends when its input
ends. Exit codes: 2 for bad arguments, 3 if PyTorch is missing, 4 if it has no such device."""

import argparse
import gc
import json
import os
import platform
import signal
import sys

import clock

# The first steps of a compiled contestant compile, then capture graphs.
WARM_UP, WARM_UP_COMPILED = 3, 5


def arguments():
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False, formatter_class=layout)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["f32", "tf32", "bf16"], default="f32", help="tf32 for a GPU; bf16 by autocast")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if args.device == "cpu" and args.precision == "tf32":
        parser.error("--precision tf32 is for a GPU; use --device cuda")
    return args


def standard_streams():
    """The streams of requests and answers. Output of libraries and compilers is redirected to standard error, and they
    cannot read the requests."""
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return requests, answers


def give_up(code, line):
    print(line, file=sys.stderr, flush=True)
    os._exit(code)


def load_torch(args):
    try:
        import torch
    except (ImportError, OSError) as error:
        if getattr(error, "name", None) == "torch":
            give_up(3, f"{sys.executable} has no PyTorch; `{sys.executable} -m pip install torch` installs it")
        give_up(3, f"{sys.executable} does not load PyTorch: {one_line(error)}")
    if args.device == "cuda" and not torch.cuda.is_available():
        give_up(4, f"the PyTorch {torch.__version__} of {sys.executable} finds no CUDA device")
    return torch


def one_line(error):
    """The first line of a message, and the next one after a line that ends in a colon."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    count = 1
    while count < len(lines) and lines[count - 1].endswith(":"):
        count += 1
    return " ".join(lines[:count])


class Contestants:
    def __init__(self, torch, args):
        self.torch, self.args = torch, args
        self.works, self.last = {}, 0

    def answer(self, line):
        try:
            request = json.loads(line)
            if isinstance(request, dict) and "prepare" in request:
                return self.prepare(**request["prepare"])
            if isinstance(request, dict) and "time" in request:
                return self.time(request["time"], request["steps"])
            raise ValueError("a request is either prepare or time")
        except KeyError as error:
            answer = {"error": f"the request lacks {error}"}
        except (Exception, SystemExit) as error:
            answer = {"error": one_line(error)}
        self.free()
        return answer

    def prepare(self, model, way, **sizes):
        import contestants
        import pieces

        channels_last = way == "sgd-channels-last"
        settings = contestants.Settings(model, self.args.device, self.args.precision, channels_last=channels_last, **sizes)
        x, y = contestants.batch(settings)
        if way in pieces.PIECES:
            work = pieces.PIECES[way](settings, y)
        else:
            work = contestants.step("sgd" if channels_last else way, settings, x, y)
        for _ in range(WARM_UP_COMPILED if way in contestants.COMPILED else WARM_UP):
            work()
        self.last += 1
        self.works[self.last] = work
        return {"prepared": self.last, "samples": len(y)}

    def time(self, contestant, steps):
        if contestant not in self.works:
            raise ValueError(f"no contestant is numbered {contestant}")
        return {"seconds": clock.seconds(self.torch, self.args.device, self.works[contestant], steps)}

    def free(self):
        gc.collect()
        if self.args.device == "cuda":
            self.torch.cuda.empty_cache()


def main():
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    args = arguments()
    requests, answers = standard_streams()
    torch = load_torch(args)

    import contestants

    contestants.set_backends(args.precision, args.threads)
    torch.set_num_interop_threads(1)

    def say(answer):
        print(json.dumps(answer), file=answers, flush=True)

    device = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    try:
        say({"torch": torch.__version__, "python": platform.python_version(), "device": device, "threads": args.threads})
        own = Contestants(torch, args)
        for line in requests:
            say(own.answer(line))
    except BrokenPipeError:
        os._exit(1)
    # Do not wait for threads and compilers that are still running.
    os._exit(0)


if __name__ == "__main__":
    main()
