"""Every frame of a clip is seen in a view of its own, nearer or wider, larger or smaller, as the classifier that ships
sees them.

How large a face is shown, and how much of what is around it, moves the score of a network more than which frame it is;
the mean over four views is nearer to the truth than over four frames in one (CLASSIFIER_CARD.md). Nothing is trained
for it, and it costs half as much again as four frames in the view that training knows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dfx.torch.clipnet import CLIP_LENGTH, CLIP_STRIDE, TIGHT, Backbone, ClipNet, Cut

VIEWED = Cut(280, 1.25, CLIP_LENGTH, CLIP_STRIDE)  # its middle of 224 pixels is a tight crop


class View(NamedTuple):
    """The middle of a crop, so many pixels a side, brought to `size` pixels."""

    middle: int
    size: int


VIEWS = (View(224, 224), View(280, 160), View(224, 160), View(280, 192))
"""One a frame. The third is what training shows, so that a clip's middle frame alone is the single-frame baseline."""


class Look(nn.Module):
    """One view: uint8 or float [N, 3, 280, 280] -> float [N, 3, size, size], 0 to 255. It has nothing to be stored."""

    matrix: Tensor | None

    def __init__(self, view: View) -> None:
        super().__init__()
        edge = (VIEWED.size - view.middle) // 2
        self._middle = slice(edge, edge + view.middle)
        self.register_buffer("matrix", None if view.middle == view.size else resampling(*view), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """The middle of the crops, brought to the view's size."""
        middle = frames[:, :, self._middle, self._middle].float()
        return middle if self.matrix is None else self.matrix @ middle @ self.matrix.T


class ViewedNet(nn.Module):
    """Clips uint8 [N, 4, 3, 280, 280] -> logits float [N], positive for fake. Its weights are those of a ClipNet.

    Raises:
        ValueError: a ClipNet that is not for tight crops.
    """

    cut = VIEWED

    def __init__(self, clips: ClipNet) -> None:
        super().__init__()
        if clips.cut != TIGHT:
            raise ValueError(f"views are of a network for crops of {TIGHT.size} pixels; this one has {clips.cut.size}")
        self.backbone, self.head = clips.backbone, clips.head
        self.looks = nn.ModuleList(map(Look, VIEWS))

    def features(self, clips: Tensor) -> Tensor:
        """The backbone's features of every frame: float [N, 4, F]. Views of one size go through it together."""
        pixels = clips.float()  # at once: TensorRT takes uint8 into one Cast, and no further
        seen = [look(pixels[:, place]) for place, look in enumerate(self.looks)]
        found: dict[int, Tensor] = {}
        for size in sorted({view.size for view in VIEWS}):
            places = [place for place, view in enumerate(VIEWS) if view.size == size]
            frames = torch.stack([seen[place] for place in places], dim=1)
            features = self.backbone(frames.flatten(0, 1)).view(-1, len(places), Backbone.features)
            found |= {place: features[:, row] for row, place in enumerate(places)}
        return torch.stack([found[place] for place in range(len(VIEWS))], dim=1)

    def forward(self, clips: Tensor) -> Tensor:
        """uint8 [N, 4, 3, 280, 280] -> float [N]."""
        return self.head(self.features(clips))  # type: ignore[no-any-return]


def resampling(before: int, after: int) -> Tensor:
    """What brings `before` samples to `after`, no more, by antialiased linear interpolation (a triangle as wide as two
    of the wider steps, centres at halves): float [after, before], rows that sum to 1.

    As a product of matrices it is the same on every backend, TensorRT among them, which has no antialiased Resize.
    """
    step = before / after
    centres = (torch.arange(after) + 0.5) * step - 0.5
    weights = (1 - (torch.arange(before) - centres[:, None]).abs() / step).clamp(min=0)
    return weights / weights.sum(dim=1, keepdim=True)
