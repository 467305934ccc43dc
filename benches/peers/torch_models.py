"""The tutorial's network, yolov5n and kinglet_small in plain PyTorch, with their loss and their training step.

Written from the published architecture and formulas (layer tables, CIoU, target assignment); parameters have the names
that Kinglet's weights have. This is the peer that Kinglet's training is measured against, and it computes the same: see
`check` in training.py.
"""

import json
import math
import struct

import numpy as np
import torch
import yaml
from torch import nn
from torch.nn import functional as F


def read_safetensors(path):
    """Tensors and metadata of a safetensors file."""
    with open(path, "rb") as file:
        content = file.read()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = np.frombuffer(content[8 + length + begin : 8 + length + end], np.float32).copy()
        tensors[name] = torch.from_numpy(values).reshape(entry["shape"])
    return tensors, metadata


def read_case(path):
    """A case of `kinglet bench train --save-case`: batch, first weights, what Kinglet computed."""
    tensors, metadata = read_safetensors(path)
    case = json.loads(metadata["case"])
    case["yaml"] = metadata["model_yaml"]
    # Kinglet's images are [n, h, w, 3].
    case["images"] = tensors.pop("case.images").permute(0, 3, 1, 2).contiguous()
    case["targets"] = tensors.pop("case.targets")
    case["weights"] = tensors
    return case


def norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.03)


class Conv(nn.Module):
    def __init__(self, c_in, c_out, kernel=1, stride=1, padding=None, groups=1):
        super().__init__()
        padding = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding, groups=groups, bias=False)
        self.bn = norm(c_out)

    def forward(self, x):
        return F.silu(self.bn(self.conv(x)), inplace=True)


class DWConv(Conv):
    def __init__(self, c_in, c_out, kernel=1, stride=1):
        super().__init__(c_in, c_out, kernel, stride, groups=math.gcd(c_in, c_out))


class Conv3BN(nn.Module):
    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn = norm(c_out)

    def forward(self, x):
        return F.hardswish(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, channels, shortcut):
        super().__init__()
        self.cv1, self.cv2, self.shortcut = Conv(channels, channels), Conv(channels, channels, 3), shortcut

    def forward(self, x):
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C3(nn.Module):
    def __init__(self, c_in, c_out, repeats=1, shortcut=True):
        super().__init__()
        hidden = c_out // 2
        self.cv1, self.cv2, self.cv3 = Conv(c_in, hidden), Conv(c_in, hidden), Conv(2 * hidden, c_out)
        self.m = nn.Sequential(*(Bottleneck(hidden, shortcut) for _ in range(repeats)))

    def forward(self, x):
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class SPPF(nn.Module):
    def __init__(self, c_in, c_out, kernel=5):
        super().__init__()
        self.cv1, self.cv2 = Conv(c_in, c_in // 2), Conv(c_in // 2 * 4, c_out)
        self.pool = nn.MaxPool2d(kernel, 1, kernel // 2)

    def forward(self, x):
        x = self.cv1(x)
        a = self.pool(x)
        b = self.pool(a)
        return self.cv2(torch.cat((x, a, b, self.pool(b)), 1))


class SqueezeExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        narrow = channels // 4
        self.fc = nn.Sequential(nn.Linear(channels, narrow), nn.ReLU(), nn.Linear(narrow, channels), nn.Hardsigmoid())

    def forward(self, x):
        return x * self.fc(x.mean((2, 3), keepdim=True).flatten(1))[:, :, None, None]


class MobileNetv3(nn.Module):
    def __init__(self, c_in, c_out, hidden, kernel, stride, squeeze, h_swish):
        super().__init__()
        act = nn.Hardswish if h_swish else nn.ReLU
        self.residual = stride == 1 and c_in == c_out
        gate = SqueezeExcite(hidden) if squeeze else nn.Identity()
        depthwise = nn.Conv2d(hidden, hidden, kernel, stride, (kernel - 1) // 2, groups=hidden, bias=False)
        last = [nn.Conv2d(hidden, c_out, 1, bias=False), norm(c_out)]
        if hidden == c_in:
            parts = [depthwise, norm(hidden), act(), gate, *last]
        else:
            widen = [nn.Conv2d(c_in, hidden, 1, bias=False), norm(hidden), act()]
            parts = [*widen, depthwise, norm(hidden), gate, act(), *last]
        self.conv = nn.Sequential(*parts)

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class ConvSqueeze(nn.Module):
    """The paper's squeeze-and-excite: width rounded to 8, 1x1 convolutions."""

    def __init__(self, channels):
        super().__init__()
        narrow = max(8, (channels // 4 + 4) // 8 * 8)
        narrow += 8 if narrow < 0.9 * channels / 4 else 0
        self.fc1, self.fc2 = nn.Conv2d(channels, narrow, 1), nn.Conv2d(narrow, channels, 1)

    def forward(self, x):
        return x * F.hardsigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class InvertedResidual(nn.Module):
    def __init__(self, c_in, c_out, hidden, kernel, stride, squeeze, h_swish):
        super().__init__()
        act = nn.Hardswish if h_swish else nn.ReLU
        self.residual = stride == 1 and c_in == c_out
        unit = lambda conv, *last: nn.Sequential(conv, norm(conv.out_channels), *last)
        widen = [] if hidden == c_in else [unit(nn.Conv2d(c_in, hidden, 1, bias=False), act())]
        depthwise = nn.Conv2d(hidden, hidden, kernel, stride, kernel // 2, groups=hidden, bias=False)
        gate = [ConvSqueeze(hidden)] if squeeze else []
        self.block = nn.Sequential(*widen, unit(depthwise, act()), *gate, unit(nn.Conv2d(hidden, c_out, 1, bias=False)))

    def forward(self, x):
        return x + self.block(x) if self.residual else self.block(x)


class Concat(nn.Module):
    def forward(self, xs):
        return torch.cat(xs, 1)


class Detect(nn.Module):
    """Raw levels [n, anchors, h, w, 5 + nc]."""

    def __init__(self, channels, anchors, nc):
        super().__init__()
        self.anchors, self.values = anchors, 5 + nc
        self.m = nn.ModuleList(nn.Conv2d(c, anchors * self.values, 1) for c in channels)

    def forward(self, xs):
        out = []
        for y in self.flat(xs):
            n, _, h, w = y.shape
            out.append(y.view(n, self.anchors, self.values, h, w).permute(0, 1, 3, 4, 2))
        return out

    def flat(self, xs):
        """Raw levels [n, anchors x (5 + nc), h, w], as ONNX files have them."""
        return [conv(x) for conv, x in zip(self.m, xs)]


BLOCKS = {c.__name__: c for c in (Conv, DWConv, C3, SPPF, Conv3BN, MobileNetv3, InvertedResidual)}


class Detector(nn.Module):
    """A network from the rows of a model file."""

    def __init__(self, text, nc):
        super().__init__()
        spec = yaml.safe_load(text)
        depth, width = spec["depth_multiple"], spec["width_multiple"]
        anchors = len(spec["anchors"][0]) // 2
        scaled = lambda c: math.ceil(c * width / 8) * 8 if c != anchors * (nc + 5) else c
        channels, layers, self.sources = [], [], []
        for i, (source, repeats, kind, args) in enumerate(spec["backbone"] + spec["head"]):
            sources = [s if s >= 0 else i + s for s in ([source] if isinstance(source, int) else source)]
            c_in = [3 if s < 0 else channels[s] for s in sources]
            repeats = max(round(repeats * depth), 1) if repeats > 1 else repeats
            args = [{"None": None, "nc": nc}.get(a, a) if isinstance(a, str) else a for a in args]
            c_out = c_in[0]
            if kind in BLOCKS:
                # The tutorial's blocks are registered among those whose width is scaled.
                c_out = scaled(args[0])
                rest = [repeats, *args[1:]] if kind == "C3" else args[1:]
                layer = BLOCKS[kind](c_in[0], c_out, *rest)
            elif kind == "nn.Upsample":
                layer = nn.Upsample(scale_factor=args[1], mode="nearest")
            elif kind == "Concat":
                layer, c_out = Concat(), sum(c_in)
            elif kind == "Detect":
                layer = Detect(c_in, anchors, nc)
            else:
                raise ValueError(f"row {i}: this peer has no block `{kind}`")
            channels.append(c_out)
            layers.append(layer)
            self.sources.append(sources)
        self.model = nn.ModuleList(layers)

    @classmethod
    def from_case(cls, case):
        """The network with the case's weights."""
        net = cls(case["yaml"], case["nc"])
        known = net.state_dict()
        for name in known:
            if not name.endswith("num_batches_tracked"):
                known[name] = case["weights"][name].reshape(known[name].shape)
        surplus = set(case["weights"]) - set(known)
        assert not surplus, f"weights that the network lacks: {sorted(surplus)[:5]}"
        net.load_state_dict(known)
        return net

    def forward(self, x):
        kept = []
        for layer, sources in zip(self.model, self.sources):
            inputs = [x if s < 0 else kept[s] for s in sources]
            kept.append(layer(inputs if len(sources) > 1 or isinstance(layer, Detect) else inputs[0]))
        return kept[-1]


def ciou(a, b, eps=1e-7):
    """Complete IoU (Zheng et al. 2020) of boxes (x, y, w, h), row by row."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.unbind(1), b.unbind(1)
    left, right = torch.maximum(ax - aw / 2, bx - bw / 2), torch.minimum(ax + aw / 2, bx + bw / 2)
    top, bottom = torch.maximum(ay - ah / 2, by - bh / 2), torch.minimum(ay + ah / 2, by + bh / 2)
    inter = (right - left).clamp(0) * (bottom - top).clamp(0)
    iou = inter / (aw * ah + bw * bh - inter + eps)
    wide = torch.maximum(ax + aw / 2, bx + bw / 2) - torch.minimum(ax - aw / 2, bx - bw / 2)
    high = torch.maximum(ay + ah / 2, by + bh / 2) - torch.minimum(ay - ah / 2, by - bh / 2)
    distance = ((ax - bx) ** 2 + (ay - by) ** 2) / (wide**2 + high**2 + eps)
    v = 4 / math.pi**2 * (torch.atan(bw / (bh + eps)) - torch.atan(aw / (ah + eps))) ** 2
    with torch.no_grad():
        alpha = v / (v - iou + 1 + eps)
    return iou - distance - v * alpha


class Loss:
    """Box, objectness and class loss with the gains of scratch-low."""

    GAINS = {"box": 0.05, "obj": 1.0, "cls": 0.5}
    BALANCE = {3: [4.0, 1.0, 0.4]}
    RATIO = 4.0

    def __init__(self, case):
        self.nc, self.strides, nl = case["nc"], case["strides"], len(case["strides"])
        self.anchors = [torch.tensor(a) / s for a, s in zip(case["anchors"], self.strides)]
        self.balance = self.BALANCE.get(nl, [4.0, 1.0, 0.25, 0.06, 0.02])
        self.box = self.GAINS["box"] * 3 / nl
        self.cls = self.GAINS["cls"] * self.nc / 80 * 3 / nl
        self.obj = self.GAINS["obj"] * (case["img"] / 640) ** 2 * 3 / nl

    def assign(self, targets, anchors, h, w):
        """Image, anchor, row, column, class, box in cells, of every pair; pairs with a neighbouring cell come last."""
        size = torch.tensor([w, h], dtype=targets.dtype)
        boxes = targets[:, 2:] * torch.cat((size, size))
        ratio = boxes[None, :, 2:] / anchors[:, None]
        fits = torch.maximum(ratio, 1 / ratio).amax(2) < self.RATIO
        anchor, target = fits.nonzero(as_tuple=True)
        xy = boxes[target, :2]
        rest = size - xy
        near, far = (xy % 1 < 0.5) & (xy > 1), (rest % 1 < 0.5) & (rest > 1)
        shift = torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.0, 0.5], [-0.5, 0.0], [0.0, -0.5]])
        chosen = torch.stack([torch.ones(len(xy), dtype=torch.bool), near[:, 0], near[:, 1], far[:, 0], far[:, 1]])
        which, pair = chosen.nonzero(as_tuple=True)
        cell = (xy[pair] - shift[which]).long()
        column, row = cell[:, 0].clamp(0, w - 1), cell[:, 1].clamp(0, h - 1)
        anchor, target = anchor[pair], target[pair]
        box = torch.cat((boxes[target, :2] - torch.stack((column, row), 1), boxes[target, 2:]), 1)
        return targets[target, 0].long(), anchor, row, column, targets[target, 1].long(), box

    def __call__(self, levels, targets):
        box = obj = cls = torch.zeros(())
        for raw, anchors, balance in zip(levels, self.anchors, self.balance):
            n, _, h, w, _ = raw.shape
            wanted = torch.zeros(raw.shape[:4], dtype=raw.dtype)
            image, anchor, row, column, kind, true = self.assign(targets, anchors, h, w)
            if len(image):
                chosen = raw[image, anchor, row, column]
                xy = chosen[:, :2].sigmoid() * 2 - 0.5
                wh = (chosen[:, 2:4].sigmoid() * 2) ** 2 * anchors[anchor]
                iou = ciou(torch.cat((xy, wh), 1), true)
                box = box + (1 - iou).mean()
                wanted[image, anchor, row, column] = iou.detach().clamp(0)
                if self.nc > 1:
                    cls = cls + F.binary_cross_entropy_with_logits(chosen[:, 5:], F.one_hot(kind, self.nc).to(raw.dtype))
            obj = obj + F.binary_cross_entropy_with_logits(raw[..., 4], wanted) * balance
        box, obj, cls = box * self.box, obj * self.obj, cls * self.cls
        return (box + obj + cls) * levels[0].shape[0], (box, obj, cls)


class TrainStep:
    """Forward, loss, backward, clipping to norm 10, SGD with Nesterov momentum in three groups, average of weights."""

    def __init__(self, case, channels_last=False, dtype=torch.float32):
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.net = Detector.from_case(case).train().to(dtype=dtype, memory_format=self.layout)
        self.loss = Loss(case)
        norms = {id(m.weight) for m in self.net.modules() if isinstance(m, nn.BatchNorm2d)}
        named = list(self.net.named_parameters())
        biases = [p for name, p in named if name.endswith(".bias")]
        scales = [p for _, p in named if id(p) in norms]
        weights = [p for name, p in named if name.endswith(".weight") and id(p) not in norms]
        groups = [
            {"params": biases, "weight_decay": 0.0},
            {"params": weights, "weight_decay": case["weight_decay"]},
            {"params": scales, "weight_decay": 0.0},
        ]
        self.optim = torch.optim.SGD(groups, lr=case["lr"], momentum=case["momentum"], nesterov=True, foreach=True)
        self.average = [v.detach().clone() for v in self.state()]
        self.updates = 0

    def state(self):
        return [v for v in self.net.state_dict().values() if v.dtype.is_floating_point]

    def step(self, images, targets):
        """One step; the loss, its parts and the gradient's norm."""
        self.optim.zero_grad(set_to_none=True)
        loss, parts = self.loss(self.net(images), targets)
        loss.backward()
        gradient = nn.utils.clip_grad_norm_(self.net.parameters(), 10.0, foreach=True)
        self.optim.step()
        self.updates += 1
        decay = 0.9999 * (1 - math.exp(-self.updates / 2000))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.state(), 1 - decay)
        return loss.detach(), [p.detach() for p in parts], gradient
