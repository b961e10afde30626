"""Prints the scalars of an event file, as TensorBoard's own reader reads them: an object a line."""

import json
import sys

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

for event in EventFileLoader(sys.argv[1]).Load():
    for value in event.summary.value:
        # The reader turns simple values into tensors of one element.
        number = value.tensor.float_val[0] if value.HasField("tensor") else value.simple_value
        print(json.dumps({"tag": value.tag, "step": event.step, "value": number}))
