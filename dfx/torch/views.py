"""The classifier that ships: every frame of a clip is seen in a view of its own, nearer or wider, larger or smaller.

How large a face is shown, and how much of what is around it, moves the score of a network more than which frame it is;
the mean over four views is nearer to the truth than over four frames in one (CLASSIFIER_CARD.md). Nothing is trained
for it, and it costs a third more than four frames in the view that training knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dfx.torch.clipnet import CLIP_LENGTH, CLIP_STRIDE, TIGHT, Backbone, ClipNet, Cut, with_weights

VIEWED = Cut(280, 1.25, CLIP_LENGTH, CLIP_STRIDE)  # its middle of 224 pixels is a tight crop


class View(NamedTuple):
    """The middle of a crop, so many pixels a side, brought to `size` pixels."""

    middle: int
    size: int


VIEWS = (View(224, 224), View(280, 160), View(224, 160), View(280, 192))
"""One a frame. The third is what training shows, so that a clip's middle frame alone is the single-frame baseline."""


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
        for view in VIEWS:
            if view.middle != view.size:
                self.register_buffer(_name(view), resampling(*view), persistent=False)

    def features(self, clips: Tensor) -> Tensor:
        """The backbone's features of every frame: float [N, 4, F]. Views of one size go through it together."""
        found, pixels = (
            dict[View, Tensor](),
            clips.float(),
        )  # at once: TensorRT takes uint8 into one Cast, and no further
        for size in sorted({view.size for view in VIEWS}):
            views = [view for view in VIEWS if view.size == size]
            frames = torch.stack([self._seen(pixels[:, VIEWS.index(view)], view) for view in views], dim=1)
            features = self.backbone(frames.flatten(0, 1)).view(-1, len(views), Backbone.features)
            found |= {view: features[:, place] for place, view in enumerate(views)}
        return torch.stack([found[view] for view in VIEWS], dim=1)

    def forward(self, clips: Tensor) -> Tensor:
        """uint8 [N, 4, 3, 280, 280] -> float [N]."""
        return self.head(self.features(clips))  # type: ignore[no-any-return]

    def _seen(self, frames: Tensor, view: View) -> Tensor:
        return seen_in(frames, view, None if view.middle == view.size else getattr(self, _name(view)))


def seen_in(frames: Tensor, view: View, matrix: Tensor | None = None) -> Tensor:
    """uint8 or float [N, 3, 280, 280] -> float [N, 3, size, size], 0 to 255. matrix: the view's own, if at hand."""
    edge = (VIEWED.size - view.middle) // 2
    middle = frames[:, :, edge : edge + view.middle, edge : edge + view.middle].float()
    if view.middle == view.size:
        return middle
    matrix = resampling(*view) if matrix is None else matrix
    return matrix @ middle @ matrix.T


def _name(view: View) -> str:
    return f"from_{view.middle}_to_{view.size}"


def resampling(before: int, after: int) -> Tensor:
    """What brings `before` samples to `after`, no more, by antialiased linear interpolation (a triangle as wide as two
    of the wider steps, centres at halves): float [after, before], rows that sum to 1.

    As a product of matrices it is the same on every backend, TensorRT among them, which has no antialiased Resize.
    """
    step = before / after
    centres = (torch.arange(after) + 0.5) * step - 0.5
    weights = (1 - (torch.arange(before) - centres[:, None]).abs() / step).clamp(min=0)
    return weights / weights.sum(dim=1, keepdim=True)


def classifier_of(state: Mapping[str, Any]) -> ClipNet | ViewedNet:
    """The network of a classifier.pt, with views where it was calibrated with them; raises as `with_weights`."""
    clips = with_weights(ClipNet, state["net"])
    return ViewedNet(clips) if state.get("views") else clips
