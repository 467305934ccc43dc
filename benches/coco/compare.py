"""Kinglet's mAP beside pycocotools' on the same detections, and where the difference comes from.

    python -m venv .venv && . .venv/bin/activate && pip install -r requirements.txt
    kinglet data convert data.yaml --to coco --output coco
    kinglet val --weights best.safetensors --data coco --save-json --json > report.json
    python compare.py coco/annotations/instances_val.json runs/val/exp/best_predictions.json report.json

The steps from pycocotools' number to Kinglet's, one at a time: up to 300 instead of 100 detections an image; precision
read off straight lines between points of the curve, which ends in precision 0 at recall 1, instead of steps, and summed
by trapezoids; and what is left: a detection of Kinglet never falls back to a second label, and boxes and scores
in the file are rounded. `--most 0.002` ends with exit code 1 where what is left is more than that.
"""

import argparse
import contextlib
import io
import json
import sys

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def evaluate(truth, results, most_detections):
    """pycocotools' evaluation of boxes."""
    with contextlib.redirect_stdout(io.StringIO()):
        run = COCOeval(truth, truth.loadRes(results), "bbox")
        run.params.maxDets = [1, 10, most_detections]
        run.evaluate()
        run.accumulate()
    return run


def stepwise(run):
    """pycocotools' AP: mAP50-95 and mAP50 over all areas."""
    precision = run.eval["precision"][:, :, :, 0, -1]
    mean = lambda values: float(values[values > -1].mean())
    return mean(precision), mean(precision[0])


def straight(run):
    """The same matches with the interpolation that YOLOv5 and Kinglet use."""
    params = run.params
    per_class = []
    for k, _ in enumerate(params.catIds):
        area = len(params.areaRng)
        images = [e for e in run.evalImgs[k * area * len(params.imgIds):][: len(params.imgIds)] if e is not None]
        truths = sum(int((1 - np.asarray(e["gtIgnore"])).sum()) for e in images)
        if truths == 0:
            continue
        most = params.maxDets[-1]
        scores = np.concatenate([e["dtScores"][:most] for e in images])
        order = np.argsort(-scores, kind="mergesort")
        matched = np.concatenate([e["dtMatches"][:, :most] for e in images], axis=1)[:, order]
        ignored = np.concatenate([e["dtIgnore"][:, :most] for e in images], axis=1)[:, order].astype(bool)
        row = []
        for level in range(len(params.iouThrs)):
            hits = (matched[level] > 0)[~ignored[level]]
            row.append(average(np.cumsum(hits) / truths, np.cumsum(hits) / np.arange(1, len(hits) + 1)) if len(hits) else 0)
        per_class.append(row)
    table = np.array(per_class)
    return float(table.mean()), float(table[:, 0].mean())


def average(recall, precision):
    """Area under the envelope, by trapezoids over 101 points of straight lines."""
    recall = np.concatenate(([0.0], recall, [1.0]))
    precision = np.concatenate(([1.0], precision, [0.0]))
    envelope = np.flip(np.maximum.accumulate(np.flip(precision)))
    at = np.linspace(0, 1, 101)
    values = np.interp(at, recall, envelope)
    return float(((values[1:] + values[:-1]) / 2).sum() / 100)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth")
    parser.add_argument("results")
    parser.add_argument("report", help="what `kinglet val --json` printed")
    parser.add_argument("--most", type=float, default=0.002, help="so much may be left unexplained")
    args = parser.parse_args()
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(args.truth)
    usual, more = (evaluate(truth, args.results, most) for most in (100, 300))
    with open(args.report) as file:
        report = json.load(file)
    kinglet = (report["map50_95"], report["map50"])
    steps = [
        ("pycocotools, 100 detections an image", stepwise(usual)),
        ("with 300 detections an image", stepwise(more)),
        ("with straight lines and trapezoids", straight(more)),
        ("Kinglet (matching, rounding)", kinglet),
    ]
    print(f"{'':38}{'mAP50-95':>10}{'step':>9}{'mAP50':>10}{'step':>9}")
    before = steps[0][1]
    for name, values in steps:
        cells = "".join(f"{value:10.4f}{value - last:+9.4f}" for value, last in zip(values, before))
        print(f"{name:38}{cells}")
        before = values
    left = max(abs(a - b) for a, b in zip(steps[-1][1], steps[-2][1]))
    if left > args.most:
        sys.exit(f"{left:.4f} is left unexplained, more than {args.most}")


if __name__ == "__main__":
    main()
