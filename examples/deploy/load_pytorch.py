"""Load an exported model in PyTorch: python load_pytorch.py out/best 3 32 32 (C, H, W)."""

import sys

import torch

sys.path.insert(0, sys.argv[1])  # the folder of `relu-search export --format python`
from model import load

network = load()
with torch.no_grad():
    print(network(torch.zeros(1, *map(int, sys.argv[2:]))).softmax(1))
