"""Classify an image with ONNX Runtime, NumPy and Pillow alone.

relu-search export RUN --format onnx --normalise-inside --out out/best
python classify_onnx.py out/best picture.png
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

folder, picture = Path(sys.argv[1]), sys.argv[2]
card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
session = onnxruntime.InferenceSession(folder / "model.onnx")

height, width = card["image_size"]
image = Image.open(picture).convert("L" if card["in_channels"] == 1 else "RGB")
pixels = np.asarray(image.resize((width, height)), dtype=np.uint8)
images = pixels.reshape(1, height, width, card["in_channels"])
if card["forms"]["onnx"]["input"]["dtype"] == "float32":  # exported without --normalise-inside
    mean, std = (np.float32(card["normalisation"][key]) for key in ("mean", "std"))
    images = ((images - mean) / std).transpose(0, 3, 1, 2)

(logits,) = session.run(["logits"], {"images": images})
probabilities = np.exp(logits[0] - logits[0].max())
probabilities /= probabilities.sum()
names = card["classes"] or range(card["num_classes"])
for i in probabilities.argsort()[::-1][:3]:
    print(f"{names[i]}: {probabilities[i]:.1%}")
