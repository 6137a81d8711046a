"""The detector's losses: which anchor answers for which face, of a whole batch at once, on its device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dfx.torch.retinaface import RetinaFace, anchors, encode, inside, match

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def step_loss(net: RetinaFace, batch: Batch) -> Tensor:
    """Losses of faces, boxes and landmarks, float [3], weighted as in RetinaFace (2 for boxes).

    batch: as `dfx.torch.detector_scenes.batches` has it, on the network's device.
    """
    pixels, faces, points, target = batch
    planes = pixels.permute(0, 3, 1, 2).contiguous()  # the network's layout is then what its weights have
    logits, boxes, marks = (part.float() for part in net(planes))
    priors = anchors(*pixels.shape[1:3]).to(pixels.device)
    wanted, boxes_wanted, marks_wanted = targets(priors, faces, points, target)
    positive = (wanted > 0)[..., None]
    known = positive & ~marks_wanted.isnan()
    count = positive.sum().clamp(min=1)
    box_loss = _distance(boxes, boxes_wanted, positive) / count
    mark_loss = _distance(marks, marks_wanted, known) / known.sum().clamp(min=1) * 4
    return torch.stack([_focal(logits, wanted) / count, 2 * box_loss, mark_loss])


def targets(priors: Tensor, boxes: Tensor, marks: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What each anchor is to say: score [N, A] (NaN: no loss), box deltas [N, A, 4], landmark deltas [N, A, 10].

    boxes [N, K, 4], marks [N, K, 5, 2], target [N, K]: NaN for what may be a face, below 0 for what is none.
    """
    owner = match(boxes, target >= 0, priors)
    row = torch.arange(len(boxes), device=boxes.device)[:, None]
    face = owner.clamp(min=0)
    wanted = torch.where(owner >= 0, target[row, face], torch.where(owner == -2, torch.nan, 0.0))
    wanted[(owner < 0) & inside(boxes, target.isnan(), priors)] = torch.nan
    return wanted, *encode(boxes[row, face], marks[row, face], priors)


def _distance(found: Tensor, wanted: Tensor, counted: Tensor) -> Tensor:
    """The smooth L1 distance where it counts, summed."""
    found, wanted = torch.where(counted, found, 0.0), torch.where(counted, wanted, 0.0)
    return functional.smooth_l1_loss(found, wanted, reduction="sum")


def _focal(logits: Tensor, wanted: Tensor) -> Tensor:
    """Quality focal loss (Li et al., NeurIPS 2020), summed; anchors whose wanted score is NaN are left out."""
    known = ~wanted.isnan()
    wanted = torch.where(known, wanted, 0.0)
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return ((wanted - logits.sigmoid()).square() * entropy * known).sum()
