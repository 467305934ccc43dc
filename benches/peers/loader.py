"""Training pictures a second: Kinglet's loader beside one of OpenCV and numpy in PyTorch's DataLoader.

Both decode JPEGs, join four to a mosaic, move and scale it (no rotation, as in the default hyperparameters), jitter
colours and flip, and give batches of bytes. The peer is written from the published recipe. Times are of whole epochs.
"""

import os
import random
import subprocess
import time

import cv2
import numpy as np
import torch
import yaml

import measure

GREY = (114, 114, 114)


class Mosaics(torch.utils.data.Dataset):
    """Pictures of a folder, augmented; labels as rows (class, x, y, w, h)."""

    def __init__(self, data, side, cache=False):
        self.cache = {} if cache else None
        with open(data) as file:
            spec = yaml.safe_load(file)
        root = os.path.join(os.path.dirname(os.path.abspath(data)), spec.get("path", "."))
        folder = os.path.join(root, spec["train"])
        self.paths = sorted(os.path.join(folder, name) for name in os.listdir(folder))
        self.labels = [self.read_labels(path) for path in self.paths]
        self.side = side

    @staticmethod
    def read_labels(path):
        path = os.path.splitext(path.replace(f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"))[0] + ".txt"
        if not os.path.exists(path):
            return np.zeros((0, 5), np.float32)
        with open(path) as file:
            return np.array([line.split() for line in file if line.strip()], np.float32).reshape(-1, 5)

    def __len__(self):
        return len(self.paths)

    def load(self, index):
        """The picture with its longer side at the network's, and its boxes as corners in pixels."""
        image = None if self.cache is None else self.cache.get(index)
        if image is None:
            image = cv2.imread(self.paths[index])
            ratio = self.side / max(image.shape[:2])
            if ratio != 1:
                size = (max(1, int(image.shape[1] * ratio)), max(1, int(image.shape[0] * ratio)))
                image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
            if self.cache is not None:
                self.cache[index] = image
        h, w = image.shape[:2]
        labels = self.labels[index].copy()
        x, y, bw, bh = (labels[:, 1:] * [w, h, w, h]).T
        labels[:, 1:] = np.stack((x - bw / 2, y - bh / 2, x + bw / 2, y + bh / 2), 1)
        return image, labels

    def __getitem__(self, index):
        s = self.side
        cx, cy = (int(random.uniform(s / 2, 3 * s / 2)) for _ in range(2))
        canvas = np.full((2 * s, 2 * s, 3), GREY[0], np.uint8)
        boxes = []
        for corner, chosen in enumerate([index, *random.choices(range(len(self)), k=3)]):
            image, labels = self.load(chosen)
            h, w = image.shape[:2]
            left, top = (cx - w, cx)[corner % 2], (cy - h, cy)[corner // 2]
            x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + w, 2 * s), min(top + h, 2 * s)
            canvas[y1:y2, x1:x2] = image[y1 - top : y2 - top, x1 - left : x2 - left]
            labels[:, 1:] += [left, top, left, top]
            boxes.append(labels)
        labels = np.concatenate(boxes)
        labels[:, 1:] = labels[:, 1:].clip(0, 2 * s)
        scale = random.uniform(0.5, 1.5)
        tx, ty = (random.uniform(0.4, 0.6) * s for _ in range(2))
        move = np.array([[scale, 0, tx - scale * s], [0, scale, ty - scale * s]], np.float32)
        image = cv2.warpAffine(canvas, move, (s, s), borderValue=GREY)
        moved = (labels[:, 1:] * scale + np.tile(move[:, 2], 2)).clip(0, s)
        sides, before = moved[:, 2:] - moved[:, :2], (labels[:, 3:] - labels[:, 1:3]) * scale
        kept = (sides > 2).all(1) & (sides.prod(1) > 0.1 * before.prod(1))
        labels = np.concatenate((labels[kept, :1], moved[kept]), 1)
        self.jitter(image)
        if random.random() < 0.5:
            image = image[:, ::-1]
            labels[:, [1, 3]] = s - labels[:, [3, 1]]
        return torch.from_numpy(np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1))), torch.from_numpy(labels)

    @staticmethod
    def jitter(image):
        gains = np.random.uniform(-1, 1, 3) * [0.015, 0.7, 0.4] + 1
        hue, saturation, value = cv2.split(cv2.cvtColor(image, cv2.COLOR_BGR2HSV))
        steps = np.arange(256, dtype=np.float64)
        tables = [(steps * gains[0]) % 180, (steps * gains[1]).clip(0, 255), (steps * gains[2]).clip(0, 255)]
        parts = [cv2.LUT(part, table.astype(np.uint8)) for part, table in zip((hue, saturation, value), tables)]
        cv2.cvtColor(cv2.merge(parts), cv2.COLOR_HSV2BGR, dst=image)


def collate(samples):
    images, labels = zip(*samples)
    return torch.stack(images), labels


class Peer:
    """An epoch of the DataLoader; milliseconds an image."""

    name, version = "opencv + torch", f"{cv2.__version__} + {torch.__version__.split('+')[0]}"

    def __init__(self, data, side, cache):
        self.peak = None
        cv2.setNumThreads(0)
        # One worker process, as Kinglet's one worker thread; it lives on from epoch to epoch.
        self.batches = torch.utils.data.DataLoader(
            Mosaics(data, side, cache), 16, True, num_workers=1, collate_fn=collate, persistent_workers=True
        )
        if cache:
            self.block(1)  # fills it

    def block(self, iterations):
        times = []
        for _ in range(iterations):
            begin = time.perf_counter()
            images = sum(len(batch) for batch, _ in self.batches)
            times.append((time.perf_counter() - begin) * 1e3 / images)
        return times


class Kinglet:
    """Epochs of Kinglet's loader, from its example `loader_speed`."""

    name, version, peak = "kinglet", "", None

    def __init__(self, program, data, side, cache):
        self.command = [program, data, str(side)] + ["--cache"] * cache
        self.fill = int(cache)

    def block(self, iterations):
        told = subprocess.run(self.command, capture_output=True, text=True, check=True).stdout
        times = [float(line.split()[-2]) for line in told.splitlines() if line.startswith("epoch")][self.fill :]
        return times[:iterations] if iterations < len(times) else times


def main(args, report):
    if not os.path.exists(args.loader_speed):
        raise SystemExit("first: cargo build --release -p kinglet-data --example loader_speed")
    engines = [Kinglet(args.loader_speed, args.data, args.img, args.cache), Peer(args.data, args.img, args.cache)]
    times = measure.interleave(engines, args.rounds, args.iterations)
    rows = measure.summary(engines, times)
    cached = ", pictures in memory" if args.cache else ""
    print(f"\nloader, {args.img}x{args.img}, one worker{cached}, milliseconds an image\n{measure.table(rows)}\n")
    setting = {"name": os.path.basename(os.path.dirname(os.path.abspath(args.data))), "image": args.img, "cache": args.cache}
    report(args, "loader", setting, [{"rows": rows, "times_ms": times}])
