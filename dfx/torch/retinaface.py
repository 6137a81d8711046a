"""RetinaFace (Deng et al., CVPR 2020) on MobileNetV1 x0.25: the network, its anchors, and what they are to say."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES = (8, 16, 32)
MIN_SIZES = ((16, 32), (64, 128), (256, 512))
VARIANCES = (0.1, 0.2)
PER_CELL = 2
VOTES = 3  # anchors whose mean is a face's score
WIDTH = 64  # channels of the feature pyramid


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, leaky ReLU."""
    layer = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1, inplace=True))


def separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """A depthwise 3x3 and a pointwise convolution (Howard et al., MobileNets, 2017)."""
    return nn.Sequential(*conv(inputs, inputs, 3, stride, groups=inputs), *conv(inputs, outputs, 1))


class MobileNet(nn.Module):
    """MobileNetV1 x0.25 up to stride 32: 64, 128 and 256 channels at strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        steps = [(8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
        self.stage1 = nn.Sequential(conv(3, 8, 3, 2), *(separable(*step) for step in steps))
        self.stage2 = nn.Sequential(separable(64, 128, 2), *(separable(128, 128, 1) for _ in range(5)))
        self.stage3 = nn.Sequential(separable(128, 256, 2), separable(256, 256, 1))

    def load_imagenet(self, path: Path) -> None:
        """Takes the convolutions of an ImageNet classifier of the same shape (a checkpoint with a `state_dict`)."""
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        ours = self.state_dict()
        theirs = {key.removeprefix("module."): value for key, value in state.items()}
        self.load_state_dict({key: theirs[key] for key in ours})

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """float [N, 3, H, W] -> features at strides 8, 16, 32."""
        eighth = self.stage1(x)
        sixteenth = self.stage2(eighth)
        return eighth, sixteenth, self.stage3(sixteenth)


class Context(nn.Module):
    """The context module of SSH (Najibi et al., ICCV 2017): fields of view of 3, 5 and 7 cells, side by side."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter = WIDTH // 2, WIDTH // 4
        self.three = conv(WIDTH, half)
        self.shared = conv(WIDTH, quarter)
        self.five = conv(quarter, quarter)
        self.seven = nn.Sequential(conv(quarter, quarter), conv(quarter, quarter))

    def forward(self, x: Tensor) -> Tensor:
        """float [N, 64, h, w] -> the same shape."""
        shared = self.shared(x)
        return torch.cat([self.three(x), self.five(shared), self.seven(shared)], dim=1)


class RetinaFace(nn.Module):
    """RGB pictures, H and W multiples of 32 -> logits, box and landmark deltas of every anchor."""

    def __init__(self) -> None:
        super().__init__()
        self.body = MobileNet()
        self.lateral = nn.ModuleList(conv(channels, WIDTH, 1) for channels in (64, 128, 256))
        self.merge = nn.ModuleList(conv(WIDTH, WIDTH) for _ in range(2))
        self.context = nn.ModuleList(Context() for _ in STRIDES)
        self.heads = nn.ModuleList(nn.Conv2d(WIDTH, PER_CELL * (1 + 4 + 10), 1) for _ in STRIDES)
        for head in self.heads:
            nn.init.normal_(head.weight, std=0.01)  # type: ignore[arg-type]
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]
            nn.init.constant_(head.bias[:PER_CELL], -4.0)  # type: ignore[index]  # one anchor in 55 is a face

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """uint8 [N, 3, H, W] -> logits [N, A], boxes [N, A, 4], landmarks [N, A, 10]."""
        centred = (x.float() - 127.5) / 58.0
        p3, p4, p5 = (layer(level) for layer, level in zip(self.lateral, self.body(centred), strict=True))
        p4 = self.merge[1](p4 + functional.interpolate(p5, scale_factor=2.0, mode="nearest"))
        p3 = self.merge[0](p3 + functional.interpolate(p4, scale_factor=2.0, mode="nearest"))
        levels = (head(ctx(p)) for head, ctx, p in zip(self.heads, self.context, (p3, p4, p5), strict=True))
        logits, boxes, marks = zip(*(_split(level) for level in levels), strict=True)
        return torch.cat(logits, 1), torch.cat(boxes, 1), torch.cat(marks, 1)


def _split(level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    cells = level.permute(0, 2, 3, 1).flatten(1, 2)
    logits, boxes, marks = cells.split([PER_CELL, PER_CELL * 4, PER_CELL * 10], dim=2)
    count = level.shape[0]
    return logits.reshape(count, -1), boxes.reshape(count, -1, 4), marks.reshape(count, -1, 10)


@lru_cache(maxsize=16)
def anchors(height: int, width: int) -> Tensor:
    """Square anchors, float32 [A, 3]: centre x, centre y, side; pixels; levels, then rows, columns, sizes."""
    parts = []
    for stride, sides in zip(STRIDES, MIN_SIZES, strict=True):
        y, x, side = torch.meshgrid(
            (torch.arange(height // stride) + 0.5) * stride,
            (torch.arange(width // stride) + 0.5) * stride,
            torch.tensor(sides, dtype=torch.float32),
            indexing="ij",
        )
        parts.append(torch.stack([x, y, side], dim=-1).reshape(-1, 3))
    return torch.cat(parts)


def encode(boxes: Tensor, marks: Tensor, priors: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes xyxy [..., K, 4] and landmarks [..., K, 5, 2] as deltas [..., K, 4] and [..., K, 10] of anchors [K, 3]
    (Liu et al., SSD, 2016)."""
    centre, side = priors[:, :2], priors[:, 2:]
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    shift = (middle - centre) / (VARIANCES[0] * side)
    size = torch.log((boxes[..., 2:] - boxes[..., :2]).clamp(min=1) / side) / VARIANCES[1]
    points = (marks - centre[:, None]) / (VARIANCES[0] * side[:, None])
    return torch.cat([shift, size], dim=-1), points.flatten(-2)


def match(boxes: Tensor, known: Tensor, priors: Tensor, threshold: float = 0.35) -> Tensor:
    """The box that each anchor answers for, of the known ones of its picture: [N, K, 4], bool [N, K] -> int64 [N, A].

    -1 for background, -2 for in between (no loss). An anchor takes the box it overlaps most, from an IoU of `threshold`
    on; every box keeps its best anchor.
    """
    if not boxes.shape[1]:
        return torch.full((len(boxes), len(priors)), -1, device=boxes.device)
    overlap = iou(_corners(priors), boxes).masked_fill(~known[:, None], -1.0)
    best, owner = overlap.max(dim=2)
    owner[best < threshold] = -2
    owner[best < threshold - 0.1] = -1
    order = torch.where(known, torch.arange(boxes.shape[1], device=boxes.device), -1)
    kept = torch.full_like(owner, -1).scatter_reduce(1, overlap.argmax(dim=1), order, "amax")
    return torch.where(kept >= 0, kept, owner)


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of xyxy boxes: [A, 4], [N, B, 4] -> [N, A, B]."""
    low = torch.maximum(first[:, None, :2], second[:, None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[:, None, :, 2:])
    shared = (high - low).clamp(min=0).prod(dim=-1)
    return shared / (_area(first)[:, None] + _area(second)[:, None] - shared).clamp(min=1e-6)


def _corners(priors: Tensor) -> Tensor:
    half = priors[:, 2:] / 2
    return torch.cat([priors[:, :2] - half, priors[:, :2] + half], dim=1)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1)


def inside(boxes: Tensor, which: Tensor, priors: Tensor) -> Tensor:
    """Whether the centre of each anchor [A, 3] lies in any of those boxes: [N, K, 4], bool [N, K] -> bool [N, A]."""
    centre = priors[:, None, :2]
    within = ((centre >= boxes[:, None, :, :2]) & (centre <= boxes[:, None, :, 2:])).all(dim=-1)
    return (within & which[:, None]).any(dim=-1)
