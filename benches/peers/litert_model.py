"""The file that LiteRT reads: `litert_model.py CASE HEIGHT WIDTH FILE`, from the network in plain PyTorch.

CASE has the weights (`kinglet bench train --save-case`). LiteRT computes in NHWC: the file takes [1, h, w, 3] and gives the
raw head levels as [1, h, w, channels], so that no change of layout is left in it.
"""

import sys


def write(case, height, width, path):
    import litert_torch
    import torch

    import torch_models

    net = torch_models.Detector.from_case(torch_models.read_case(case))
    head = net.model[-1]
    head.forward = head.flat
    net = litert_torch.to_channel_last_io(net, args=[0], outputs=list(range(len(head.m)))).eval()
    litert_torch.convert(net, (torch.zeros(1, height, width, 3),)).export(path)


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
