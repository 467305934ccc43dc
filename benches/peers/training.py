"""A training step of PyTorch as a worker, and the check that it computes what Kinglet computes.

`training.py LAYOUT CASE THREADS`, LAYOUT `torch` or `torch channels_last`; `training.py check CASE`.
"""

import sys

import torch

import measure
import torch_models

# Loss of each step, relative. From the second on, rounding grows: PyTorch in f32 and in f64 are as far apart.
TOLERANCE = [1e-4, 1e-3, 5e-3]


def check(path):
    """Trains the steps of the case and compares the losses; the largest relative difference of each step."""
    case = torch_models.read_case(path)
    step = torch_models.TrainStep(case)
    differences = []
    for number, (want, tolerance) in enumerate(zip(case["steps"], TOLERANCE)):
        loss, parts, gradient = step.step(case["images"], case["targets"])
        pairs = [(loss, want["loss"]["total"]), *zip(parts, (want["loss"][k] for k in ("box", "obj", "cls")))]
        worst = max(abs(float(a) - b) / max(abs(b), 1e-9) for a, b in pairs if b != 0.0)
        clipped = abs(float(gradient) - want["gradient_norm"]) / want["gradient_norm"]
        assert worst < tolerance, f"step {number}: the losses differ by {worst:.1e}: {pairs}"
        assert clipped < (2e-3 if number == 0 else 2e-2), f"step {number}: norms of the gradient: {float(gradient)} and {want['gradient_norm']}"
        differences.append({"loss": worst, "gradient_norm": clipped})
    return differences


if __name__ == "__main__":
    if sys.argv[1] == "check":
        print(check(sys.argv[2]))
        raise SystemExit
    layout, path, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.set_flush_denormal(True)
    case = torch_models.read_case(path)
    last = layout == "torch channels_last"
    training = torch_models.TrainStep(case, last)
    images = case["images"].contiguous(memory_format=training.layout)
    targets = case["targets"]
    measure.serve(lambda: float(training.step(images, targets)[0]), torch.__version__.split("+")[0])
