"""Exported files in other people's engines: ONNX Runtime against `kinglet detect`, OpenCV and OpenVINO against ONNX Runtime.

Usage: check.py PATH-OF-KINGLET

Needs numpy, onnx, onnxruntime, opencv-python-headless and openvino. Models have random parameters; pictures are drawn here. For each
model and kind of file the boxes of the engine are held against those that `kinglet detect` prints.
"""

import json
import os
import subprocess
import sys
import tempfile

import cv2
import numpy as np
import onnx
import onnxruntime
import openvino

KINGLET = os.path.abspath(sys.argv[1])
# Model, image side. The side is small: time goes by pixels, and geometry does not.
MODELS = [
    ("yolov5_mobilenetv3", 192),
    ("yolov5n", 192),
    ("yolov5s-ghost", 160),
    ("yolov5s-transformer", 160),
    ("yolov5n6", 192),
]
MAX_DET = 40
IOU = 0.45


def kinglet(*words):
    run = subprocess.run([KINGLET, "-q", *map(str, words)], capture_output=True, text=True)
    assert run.returncode == 0, f"kinglet {' '.join(map(str, words))}\n{run.stdout}{run.stderr}"
    return run.stdout


def draw(height, width, seed):
    """A picture of discs and bars on a shaded ground."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    picture = np.stack([rows * 200 // height, columns * 200 // width, (rows + columns) % 256], 2).astype(np.uint8)
    for _ in range(12):
        colour = [int(v) for v in rng.integers(0, 256, 3)]
        x, y = int(rng.integers(width)), int(rng.integers(height))
        if rng.random() < 0.5:
            cv2.circle(picture, (x, y), int(rng.integers(6, 40)), colour, -1)
        else:
            cv2.rectangle(picture, (x, y), (x + int(rng.integers(60)), y + int(rng.integers(60))), colour, -1)
    return picture


def overlap(box, boxes):
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:4], boxes[:, 2:4])
    shared = np.prod(np.clip(high - low, 0, None), 1)
    area = lambda b: np.prod(b[..., 2:4] - b[..., :2], -1)
    return shared / (area(box) + area(boxes) - shared + 1e-7)


def suppress(rows, conf):
    """Decoded rows to left, top, right, bottom, score, class; by class, best first."""
    scores = rows[:, 5:].max(1) * rows[:, 4]
    rows, scores = rows[scores > conf], scores[scores > conf]
    half = rows[:, 2:4] / 2
    found = np.column_stack([rows[:, :2] - half, rows[:, :2] + half, scores, rows[:, 5:].argmax(1)])
    found, kept = found[np.argsort(-scores, kind="stable")], []
    for row in found:
        same = np.array([k for k in kept if k[5] == row[5]]).reshape(-1, 6)
        if len(kept) < MAX_DET and (overlap(row, same) <= IOU).all():
            kept.append(row)
    return np.array(kept).reshape(-1, 6)


def detected(weights, picture, side, conf, *more):
    """What `kinglet detect` finds."""
    line = ["detect", "--weights", weights, "--source", picture, "--img", side, "--conf", conf, "--iou", IOU]
    value = json.loads(kinglet(*line, "--max-det", MAX_DET, "--nosave", "--json", *more))
    rows = [d["box"] + [d["confidence"], d["class"]] for d in value["images"][0]["detections"]]
    return np.array(rows).reshape(-1, 6)


def compare(what, got, want, least, apart):
    """Every box has its partner; the printed ones have three decimals."""
    alone = 0
    worst = 1.0
    for rows, others in ((want, got), (got, want)):
        for row in rows:
            same = others[others[:, 5] == row[5]].reshape(-1, 6)
            near = same[np.abs(same[:, 4] - row[4]) <= apart]
            best = overlap(row, near).max() if len(near) else 0.0
            if best < least:
                alone += 1
            else:
                worst = min(worst, best)
    # Random networks have many boxes of nearly the same score; one in ten may change places where pictures are resized.
    allowed = 0 if least > 0.99 else (len(want) + len(got)) // 10
    print(f"  {what:<44} {len(got):3} boxes, {len(want):3} of Kinglet, {alone} alone, lowest IoU {worst:.4f}")
    assert len(want) > 3 and alone <= allowed, f"{what}\n{got}\n{want}"


def session(path):
    onnx.checker.check_model(path, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def found(output):
    return output[0][output[0][:, 4] > 0]


def clipped(rows, side):
    """Kinglet's boxes end at the picture's edge; those in pixels of the network's input need not."""
    return np.column_stack([np.clip(rows[:, :4], 0, side), rows[:, 4:]])


def check(model, side, folder):
    print(f"{model}, {side} pixels")
    weights = os.path.join(folder, f"{model}.safetensors")
    kinglet("export", "--cfg", model, "--nc", 3, "--img", side, "--include", "safetensors", "--output", folder)
    path = os.path.join(folder, f"{model}.onnx")

    def export(*flags):
        words = ["--weights", weights, "--img", side, "--output", folder, "--source", folder]
        kinglet("export", *words, *flags)
        return session(path)

    paths = {}
    for name, (height, width) in {"square": (side, side), "wide": (150, 230)}.items():
        paths[name] = os.path.join(folder, f"{name}.png")
        cv2.imwrite(paths[name], draw(height, width, 3)[:, :, ::-1])
    square, wide = (cv2.cvtColor(cv2.imread(paths[n]), cv2.COLOR_BGR2RGB) for n in ("square", "wide"))
    # A threshold in the widest gap between scores, so that none is near it.
    scores = np.sort(detected(weights, paths["square"], side, 0.0001)[:, 4])[::-1]
    gaps = scores[8:24] - scores[9:25]
    conf = float((scores[8 + gaps.argmax()] + scores[9 + gaps.argmax()]) / 2)
    want = detected(weights, paths["square"], side, conf)
    want_agnostic = detected(weights, paths["square"], side, conf, "--agnostic-nms")
    want_wide = detected(weights, paths["wide"], side, conf)
    nms = ["--nms", "--conf", conf, "--iou", IOU, "--max-det", MAX_DET]
    floats = (square.transpose(2, 0, 1)[None] / 255).astype(np.float32)

    for opset in (12, 17):
        for free in ([], ["--dynamic"]):
            flags = ["--opset", opset, *free]
            name = " ".join(map(str, flags))
            rows = export(*flags).run(None, {"images": floats})[0]
            compare(name, clipped(suppress(rows[0], conf), side), want, 0.999, conf / 100)
            output = export(*flags, *nms).run(None, {"images": floats})[0]
            compare(name + " --nms", clipped(found(output), side), want, 0.999, conf / 100)
        output = export("--opset", opset, *nms, "--agnostic-nms").run(None, {"images": floats})[0]
        compare(f"--opset {opset} --nms --agnostic-nms", clipped(found(output), side), want_agnostic, 0.999, conf / 100)
        for pictures in (["--preprocess", *wide.shape[:2]], ["--preprocess", "--dynamic"]):
            flags = ["--opset", opset, *pictures]
            output = export(*flags, *nms).run(None, {"images": wide[None]})[0]
            compare(" ".join(map(str, flags)) + " --nms", found(output), want_wide, 0.9, conf / 5)
    # A batch of two in another size than the export's: the first image must not see the second.
    run = export("--dynamic", *nms)
    pair = np.concatenate([floats, floats[:, :, ::-1]])
    both = run.run(None, {"images": pair})[0]
    np.testing.assert_allclose(both[0], run.run(None, {"images": floats})[0][0], rtol=1e-4, atol=1e-3)
    # In every engine h-swish and the gate of squeeze-and-excite have to mean the same, decomposed (12) or not (17).
    for opset in (12, 17):
        want = export("--opset", opset).run(None, {"images": floats})[0]
        for engine in (in_opencv, in_openvino):
            agree(f"--opset {opset}, {engine.__name__[3:]}", engine(path, floats), want)


def in_opencv(path, floats):
    net = cv2.dnn.readNetFromONNX(path)
    net.setInput(floats)
    return net.forward()


def in_openvino(path, floats):
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(path, "CPU", exact)({"images": floats})[0]


def agree(what, got, want):
    assert got.shape == want.shape, f"{what}: {got.shape} instead of {want.shape}"
    difference = np.abs(got - want).max() / np.abs(want).max()
    print(f"  {what}: off by {difference:.1e} of the largest value")
    assert difference < 1e-4, what


def main():
    with tempfile.TemporaryDirectory() as folder:
        for model, side in MODELS:
            check(model, side, folder)
    versions = (f"{m.__name__} {m.__version__}" for m in (onnx, onnxruntime, cv2, openvino))
    print(f"every file agrees: {', '.join(versions)}")


main()
