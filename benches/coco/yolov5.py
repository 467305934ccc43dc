"""YOLOv5's validation of a detector, written from its description and with other people's parts: OpenCV, PyTorch, NumPy.

    pip install numpy opencv-python-headless torch onnx
    kinglet export --weights yolov5n.pt --include onnx --dynamic --output onnx
    python yolov5.py onnx/yolov5n.onnx images/val2017 [--half] [--ties numpy]

What Kinglet does otherwise, and what that is worth, can be read off:

* `--half`: network and scores in half precision.
* `--ties`: images of equal ratio of sides, which decide on the shape of their batch, in the order of their paths (as in
  Kinglet), or as NumPy's unstable sorting leaves them (as in YOLOv5; it depends on the processor).

Labels are the `.txt` files in `labels/` where the path has `images/`.
"""

import argparse
import math
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch.nn import functional

BATCH, SIDE, STRIDE, CONF, IOU, MOST = 16, 640, 32, 0.001, 0.6, 300
ANCHORS = [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]]
IOUS = np.linspace(0.5, 0.95, 10)


class Network:
    """Runs the convolutions of an exported file one by one, and decodes as YOLOv5 does."""

    def __init__(self, file, half):
        self.graph = onnx.load(file).graph
        self.kind = torch.float16 if half else torch.float32
        tensors = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in self.graph.initializer}
        self.weights = {n: t.to(self.kind) if t.is_floating_point() else t for n, t in tensors.items()}

    @torch.no_grad()
    def __call__(self, images):
        values, sigmoids, heads = dict(self.weights, images=images.to(self.kind) / 255), {}, []
        for node in self.graph.node:
            # The file's own decoding stands at its end.
            if any(name.startswith("decode.") for name in [*node.input, *node.output]):
                if node.op_type == "Reshape" and not node.input[0].startswith("decode."):
                    heads.append(values[node.input[0]])
                continue
            attribute = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            inputs = list(node.input)
            if node.op_type == "Sigmoid":
                sigmoids[node.output[0]] = inputs[0]
                continue
            if node.op_type == "Conv":
                of = lambda name, default: attribute.get(name, default)
                pads, strides = of("pads", [0] * 4)[:2], of("strides", [1, 1])
                result = functional.conv2d(*(values[i] for i in inputs), strides, pads, groups=of("group", 1))
            elif node.op_type == "Mul" and set(inputs) & sigmoids.keys():
                x = sigmoids[next(i for i in inputs if i in sigmoids)]
                assert x in inputs, "only SiLU"
                result = functional.silu(values[x])
            elif node.op_type == "Add":
                result = values[inputs[0]] + values[inputs[1]]
            elif node.op_type == "Concat":
                result = torch.cat([values[i] for i in inputs], attribute["axis"])
            elif node.op_type == "MaxPool":
                kernel = attribute["kernel_shape"][0]
                result = functional.max_pool2d(values[inputs[0]], kernel, 1, kernel // 2)
            elif node.op_type == "Resize":
                result = functional.interpolate(values[inputs[0]], scale_factor=2, mode="nearest")
            else:
                raise SystemExit(f"{node.op_type} ({node.output[0]}) is not among YOLOv5n's operators")
            values[node.output[0]] = result
        return torch.cat([self.decode(head, level) for level, head in enumerate(heads)], 1).numpy()

    def decode(self, head, level):
        n, _, h, w = head.shape
        y = head.view(n, 3, -1, h, w).permute(0, 1, 3, 4, 2).sigmoid()
        rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        grid = torch.stack((columns, rows), -1).to(self.kind) - 0.5
        xy = (y[..., :2] * 2 + grid) * 2 ** (level + 3)
        anchors = torch.tensor(ANCHORS[level]).to(self.kind).view(1, 3, 1, 1, 2)
        wh = (y[..., 2:4] * 2) ** 2 * anchors
        return torch.cat((xy, wh, y[..., 4:]), -1).flatten(1, 3)


def shapes_of(ratios, order):
    """Height and width of the batch that each image is in."""
    shapes = {}
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        low, high = ratios[batch].min(), ratios[batch].max()
        sides = [high, 1] if high < 1 else [1, 1 / low] if low > 1 else [1, 1]
        shape = np.ceil(np.array(sides) * SIDE / STRIDE + 0.5).astype(int) * STRIDE
        shapes.update(dict.fromkeys(batch, tuple(shape)))
    return shapes


def letterbox(image, shape):
    """The picture in the middle of grey, its padding as YOLOv5 takes it off again (with halves), and its scale."""
    scale = SIDE / max(image.shape[:2])
    height = image.shape[0]
    if scale != 1:
        size = [math.ceil(side * scale) for side in image.shape[1::-1]]
        image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR if scale > 1 else cv2.INTER_AREA)
    pad = (np.array(shape) - image.shape[:2]) / 2
    (top, left), (bottom, right) = (np.round(pad - 0.1).astype(int), np.round(pad + 0.1).astype(int))
    padded = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    return padded[:, :, ::-1].transpose(2, 0, 1), pad[::-1], image.shape[0] / height


def overlaps(a, b):
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    area = lambda boxes: (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    return common / (area(a)[:, None] + area(b)[None] - common + 1e-7)


def suppressed(rows, pad, scale, size):
    """Boxes in pixels of the file, scores and classes, best first."""
    rows = rows[rows[:, 4] > CONF]
    scores = rows[:, 5:] * rows[:, 4:5]
    boxes = np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2], 1)
    cell, label = np.nonzero(scores > CONF)
    score, boxes = scores[cell, label].astype(np.float32), boxes[cell].astype(np.float32)
    best = np.argsort(-score, kind="stable")
    score, boxes, label = score[best], boxes[best], label[best]
    apart = boxes + (label[:, None] * 7680).astype(np.float32)
    left, kept = np.arange(len(apart)), []
    while len(left) and len(kept) < MOST:
        kept.append(left[0])
        left = left[1:][overlaps(apart[left[:1]], apart[left[1:]])[0] <= IOU]
    boxes = (boxes[kept].astype(np.float64) - np.tile(pad, 2)) / scale
    return np.clip(boxes, 0, np.tile(size, 2)), score[kept], label[kept]


def matched(boxes, classes, truth):
    """Which detections are right at each IoU: pairs by IoU, one for each detection, then one for each label."""
    right = np.zeros((len(boxes), len(IOUS)), bool)
    iou = np.where(truth[:, :1] == classes[None], overlaps(truth[:, 1:], boxes), 0)
    for at, least in enumerate(IOUS):
        pairs = np.argwhere(iou >= least)
        pairs = pairs[np.argsort(-iou[tuple(pairs.T)], kind="stable")]
        pairs = pairs[np.unique(pairs[:, 1], return_index=True)[1]]
        right[pairs[np.unique(pairs[:, 0], return_index=True)[1], 1], at] = True
    return right


def average_precision(recall, precision):
    recall, precision = np.concatenate(([0], recall, [1])), np.concatenate(([1], precision, [0]))
    x = np.linspace(0, 1, 101)
    return np.trapezoid(np.interp(x, recall, np.maximum.accumulate(precision[::-1])[::-1]), x)


def report(right, score, label, truth):
    """Precision, recall, mAP50 and mAP50-95."""
    best = np.argsort(-score, kind="stable")
    right, score, label = right[best], score[best], label[best]
    x, rows = np.linspace(0, 1, 1000), []
    for of_class, labels in zip(*np.unique(truth, return_counts=True)):
        hits, confidence = right[label == of_class], score[label == of_class]
        if not len(hits):
            rows.append((np.zeros(len(IOUS)), np.zeros(1000), np.zeros(1000)))
            continue
        hit = hits.cumsum(0)
        recall, precision = hit / labels, hit / np.arange(1, len(hits) + 1)[:, None]
        curve = lambda y, left: np.interp(-x, -confidence, y[:, 0], left=left)
        ap = [average_precision(*pair) for pair in zip(recall.T, precision.T)]
        rows.append((np.array(ap), curve(precision, 1), curve(recall, 0)))
    ap, precision, recall = (np.array(column) for column in zip(*rows))
    f1 = (2 * precision * recall / (precision + recall + 1e-16)).mean(0)
    smooth = np.convolve(np.pad(f1, 50, mode="edge"), np.ones(101) / 101, mode="valid")
    at = smooth.argmax()
    return precision[:, at].mean(), recall[:, at].mean(), ap[:, 0].mean(), ap.mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("onnx", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--half", action="store_true")
    parser.add_argument("--ties", choices=["path", "numpy"], default="path")
    args = parser.parse_args()
    network = Network(args.onnx, args.half)
    files = sorted(args.images.iterdir())
    images = [cv2.imread(str(file)) for file in files]
    ratios = np.array([image.shape[0] / image.shape[1] for image in images])
    order = np.argsort(ratios, kind="stable" if args.ties == "path" else None)
    shapes, found = shapes_of(ratios, order), []
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        boxed = [letterbox(images[i], shapes[i]) for i in batch]
        output = network(torch.from_numpy(np.stack([b[0] for b in boxed])))
        for i, rows, (_, pad, scale) in zip(batch, output, boxed):
            size = np.array(images[i].shape[1::-1])
            boxes, score, label = suppressed(rows, pad, scale, size)
            text = Path(str(files[i]).replace("/images/", "/labels/")).with_suffix(".txt")
            lines = np.unique(np.loadtxt(text, ndmin=2), axis=0) if text.exists() and text.stat().st_size else np.zeros((0, 5))
            corners = np.concatenate([lines[:, 1:3] - lines[:, 3:] / 2, lines[:, 1:3] + lines[:, 3:] / 2], 1)
            truth = np.concatenate([lines[:, :1], np.clip(corners, 0, 1) * np.tile(size, 2)], 1)
            found.append((matched(boxes, label, truth), score, label, truth[:, 0]))
    numbers = report(*(np.concatenate(column) for column in zip(*found)))
    print("P %.4f  R %.4f  mAP50 %.4f  mAP50-95 %.4f" % numbers)


if __name__ == "__main__":
    main()
