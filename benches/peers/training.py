"""A training step of PyTorch as a worker, and the check that it computes what Kinglet computes.

`training.py LAYOUT CASE THREADS`, LAYOUT `torch` or `torch channels_last`; `training.py check CASE`.
"""

import sys

import torch

import measure
import torch_models

# Loss and norm of the gradient of each step, relative: the least that is allowed. From the second step on rounding grows, faster
# in larger pictures; how fast, PyTorch itself tells: its own steps in f32 and in f64 go apart by rounding alone.
TOLERANCE = [(1e-4, 2e-3), (1e-3, 2e-2), (5e-3, 2e-2)]
# Both programs that round have gone away from the exact steps, each by chance, and Kinglet's 3x3 convolutions (Winograd) round some
# four times as much as direct ones.
ROUNDING = 8


def check(path):
    """Trains the steps of the case and compares the losses; the largest relative difference of each step."""
    case = torch_models.read_case(path)
    single, double = torch_models.TrainStep(case), torch_models.TrainStep(case, dtype=torch.float64)
    differences = []
    for number, (want, tolerances) in enumerate(zip(case["steps"], TOLERANCE)):
        wanted = [want["loss"][key] for key in ("total", "box", "obj", "cls")] + [want["gradient_norm"]]
        found = values(single.step(case["images"], case["targets"]))
        # Targets stay as they are: in f64 some would be of another cell.
        exact = values(double.step(case["images"].double(), case["targets"]))
        apart = {}
        for key, part, least in zip(("loss", "gradient_norm"), (slice(0, 4), slice(4, 5)), tolerances):
            apart[key] = far(found[part], wanted[part])
            allowed = max(least, ROUNDING * far(found[part], exact[part]))
            assert apart[key] < allowed, f"step {number}, {key}: {found[part]} and {wanted[part]} differ by more than {allowed:.1e}"
        differences.append(apart)
    return differences


def values(step):
    loss, parts, gradient = step
    return [float(loss), *map(float, parts), float(gradient)]


def far(found, wanted):
    return max(abs(a - b) / max(abs(b), 1e-9) for a, b in zip(found, wanted) if b != 0.0)


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
