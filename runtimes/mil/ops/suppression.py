"""Non-maximum suppression."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgewright.runtimes.mil.operators import OPERATION

Tensor = torch.Tensor
Array = NDArray[Any]


@OPERATION("non_maximum_suppression")
def non_maximum_suppression(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: Any,
    max_boxes: Any,
    score_threshold: Any = -np.inf,
    per_class_suppression: Any = False,
) -> tuple[Tensor, ...]:
    """`boxes`: [N, B, (x, y, width, height)], centred. What is not filled is 0, its index -1."""
    count, limit = int(max_boxes), float(iou_threshold)
    batch, _, classes = scores.shape
    out_boxes, out_scores = torch.zeros(batch, count, 4), torch.zeros(batch, count, classes)
    out_indices = torch.full((batch, count), -1, dtype=torch.int32)
    numbers = torch.zeros(batch, dtype=torch.int32)
    for n in range(batch):
        kept = _kept(boxes[n].numpy(), scores[n].numpy(), limit, float(score_threshold), bool(per_class_suppression))
        kept = kept[:count]
        numbers[n] = len(kept)
        out_boxes[n, : len(kept)], out_scores[n, : len(kept)] = boxes[n, kept], scores[n, kept]
        out_indices[n, : len(kept)] = torch.tensor(kept, dtype=torch.int32)
    return out_boxes, out_scores, out_indices, numbers


def _kept(boxes: Array, scores: Array, limit: float, threshold: float, by_class: bool) -> list[int]:
    """Numbers of the boxes that stay, the best first."""
    best, kinds = scores.max(1), scores.argmax(1)
    order = [int(i) for i in np.argsort(-best, kind="stable") if best[i] > threshold]
    kept: list[int] = []
    for i in order:
        rivals = [j for j in kept if not by_class or kinds[i] == kinds[j]]
        if all(_overlap(boxes[i], boxes[j]) <= limit for j in rivals):
            kept.append(i)
    return kept


def _overlap(a: Array, b: Array) -> float:
    """Intersection over union."""
    low = np.maximum(a[:2] - a[2:] / 2, b[:2] - b[2:] / 2)
    high = np.minimum(a[:2] + a[2:] / 2, b[:2] + b[2:] / 2)
    shared = float(np.prod(np.maximum(high - low, 0)))
    union = float(np.prod(a[2:]) + np.prod(b[2:])) - shared
    return shared / union if union > 0 else 0.0
