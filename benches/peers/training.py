"""A training step of PyTorch as a worker, and the check that it computes what Kinglet computes.

`training.py LAYOUT CASE THREADS`, LAYOUT `torch` or `torch channels_last`; `training.py check CASE`.
"""

import sys

import torch

import measure
import torch_models

# Loss of each step, relative: the least that is allowed. From the second step on rounding grows, faster in larger pictures; how
# fast, PyTorch itself tells: its own steps in f32 and in f64 go apart by rounding alone.
TOLERANCE = [1e-4, 1e-3, 5e-3]
# Norm of the first step's gradient. Later ones are of weights that have gone apart, and gradients go apart sooner than losses.
GRADIENT_TOLERANCE = 2e-3
# Both programs that round have gone away from the exact steps, each by chance, and Kinglet's 3x3 convolutions (Winograd) round some
# four times as much as direct ones.
ROUNDING = 8


def check(path):
    """Trains the steps of the case and compares the losses; the largest relative difference of each step."""
    case = torch_models.read_case(path)
    single, double = torch_models.TrainStep(case), torch_models.TrainStep(case, dtype=torch.float64)
    differences = []
    for number, (want, least) in enumerate(zip(case["steps"], TOLERANCE)):
        wanted = [want["loss"][key] for key in ("total", "box", "obj", "cls")]
        *found, gradient = values(single.step(case["images"], case["targets"]))
        # Targets stay as they are: in f64 some would be of another cell.
        *exact, exact_gradient = values(double.step(case["images"].double(), case["targets"]))
        apart = {"loss": far(found, wanted), "gradient_norm": far([gradient], [want["gradient_norm"]])}
        allowed = max(least, ROUNDING * far(found, exact))
        assert apart["loss"] < allowed, f"step {number}: losses {found} and {wanted}; apart by {allowed:.1e} at most was expected"
        allowed = max(GRADIENT_TOLERANCE, ROUNDING * far([gradient], [exact_gradient]))
        assert number > 0 or apart["gradient_norm"] < allowed, f"gradients' norms {gradient} and {want['gradient_norm']}"
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
