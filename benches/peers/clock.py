"""Times work on a device: with CUDA events on a GPU, with the host's clock elsewhere."""

import statistics
import time


def milliseconds(torch, device, work, repeats, warm_up):
    """The median time of one call of `work`, after some warm-up calls."""
    for _ in range(warm_up):
        work()
    if device != "cuda":
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            work()
            times.append(1e3 * (time.perf_counter() - began))
        return statistics.median(times)
    torch.cuda.synchronize()
    marks = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    for start, end in marks:
        start.record()
        work()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in marks)


def seconds(torch, device, work, repeats):
    """The total time of these calls of `work`."""
    if device != "cuda":
        began = time.perf_counter()
        for _ in range(repeats):
            work()
        return time.perf_counter() - began
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(repeats):
        work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3
