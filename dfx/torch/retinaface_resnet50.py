"""RetinaFace (Deng et al., CVPR 2020) on ResNet-50 (He et al., CVPR 2016), for weights that others have published.

Parameters bear the names, capitals among them, that they have in the files of biubug6/Pytorch_Retinaface and
ternaus/retinaface (both MIT), so that these load with none missing and none left over. Anchors are those of dfx's own
RetinaFace.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfx.torch.retinaface import PER_CELL, STRIDES, conv

WIDTH = 256  # channels of the feature pyramid
EXPANSION = 4  # channels that a bottleneck gives for each of its own
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # width, blocks, stride


@dataclass(frozen=True, slots=True)
class PixelForm:
    """What a network was trained on: (levels - mean) / deviation; both of R, G and B, the channels in RGB or BGR."""

    order: str
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; the stride is in the 3x3, as in torchvision."""

    def __init__(self, inputs: int, width: int, stride: int = 1) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = conv(inputs, outputs, 1, stride)[:2] if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """float [N, inputs, h, w] -> [N, 4 width, h / stride, w / stride]."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        return functional.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNet50(nn.Module):
    """ResNet-50 without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        inputs = (64, *(EXPANSION * width for width, _, _ in STAGES))
        self.layer1, self.layer2, self.layer3, self.layer4 = map(_stage, inputs, STAGES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """float [N, 3, H, W] -> features of 512, 1024 and 2048 channels at strides 8, 16, 32."""
        stem = functional.relu(self.bn1(self.conv1(x)))
        eighth = self.layer2(self.layer1(functional.max_pool2d(stem, 3, 2, 1)))
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class Pyramid(nn.Module):
    """Feature pyramid (Lin et al., CVPR 2017): three levels of equal width, the coarser added to the finer."""

    def __init__(self) -> None:
        super().__init__()
        self.output1, self.output2, self.output3 = (_relu(EXPANSION * width, WIDTH, 1) for width, _, _ in STAGES[1:])
        self.merge1, self.merge2 = (_relu(WIDTH, WIDTH) for _ in range(2))

    def forward(self, eighth: Tensor, sixteenth: Tensor, last: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features at strides 8, 16, 32 -> float [N, 256, h, w] at each."""
        p5 = self.output3(last)
        p4 = self.merge2(self.output2(sixteenth) + functional.interpolate(p5, scale_factor=2.0, mode="nearest"))
        p3 = self.merge1(self.output1(eighth) + functional.interpolate(p4, scale_factor=2.0, mode="nearest"))
        return p3, p4, p5


class Context(nn.Module):
    """The context module of SSH (Najibi et al., ICCV 2017): fields of view of 3, 5 and 7 cells, side by side."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter = WIDTH // 2, WIDTH // 4
        self.conv3X3 = conv(WIDTH, half)[:2]
        self.conv5X5_1, self.conv5X5_2 = _relu(WIDTH, quarter), conv(quarter, quarter)[:2]
        self.conv7X7_2, self.conv7x7_3 = _relu(quarter, quarter), conv(quarter, quarter)[:2]

    def forward(self, x: Tensor) -> Tensor:
        """float [N, 256, h, w] -> the same shape."""
        shared = self.conv5X5_1(x)
        fields = [self.conv3X3(x), self.conv5X5_2(shared), self.conv7x7_3(self.conv7X7_2(shared))]
        return functional.relu(torch.cat(fields, dim=1))


class RetinaFaceResNet50(nn.Module):
    """RGB pictures, H and W multiples of 32 -> logits, box and landmark deltas of every anchor."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3, 1, 1), persistent=False)
        self.body, self.fpn = ResNet50(), Pyramid()
        self.ssh1, self.ssh2, self.ssh3 = (Context() for _ in STRIDES)
        self.ClassHead, self.BboxHead, self.LandmarkHead = (_heads(numbers) for numbers in (2, 4, 10))

    def load_published(self, state: Mapping[str, Tensor], form: PixelForm) -> None:
        """Takes published weights, with the order of channels and the scale folded into the first convolution.

        Raises:
            RuntimeError: a name that is missing or left over, or another shape.
        """
        self.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
        first = self.body.conv1.weight.detach()
        given = first.flip(1) if form.order == "BGR" else first
        self.body.conv1.weight = nn.Parameter(given / torch.tensor(form.deviation).view(1, 3, 1, 1))
        self.mean = torch.tensor(form.mean).view(3, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """uint8 [N, 3, H, W] -> logits [N, A], boxes [N, A, 4], landmarks [N, A, 10]."""
        levels = self.fpn(*self.body(x.float() - self.mean))
        fields = [ssh(level) for ssh, level in zip((self.ssh1, self.ssh2, self.ssh3), levels, strict=True)]
        classes, boxes, marks = (_cells(heads, fields) for heads in (self.ClassHead, self.BboxHead, self.LandmarkHead))
        return classes[..., 1] - classes[..., 0], boxes, marks  # softmax of two is the sigmoid of their difference


def _stage(inputs: int, shape: tuple[int, int, int]) -> nn.Sequential:
    width, blocks, stride = shape
    rest = (Bottleneck(EXPANSION * width, width) for _ in range(blocks - 1))
    return nn.Sequential(Bottleneck(inputs, width, stride), *rest)


def _relu(inputs: int, outputs: int, size: int = 3) -> nn.Sequential:
    return nn.Sequential(*list(conv(inputs, outputs, size))[:2], nn.ReLU(inplace=True))


def _heads(numbers: int) -> nn.ModuleList:
    """For each level a 1x1 convolution that gives `numbers` for each anchor."""
    layers = (nn.Conv2d(WIDTH, PER_CELL * numbers, 1) for _ in STRIDES)
    return nn.ModuleList(nn.Sequential(OrderedDict(conv1x1=layer)) for layer in layers)


def _cells(heads: nn.ModuleList, fields: list[Tensor]) -> Tensor:
    """float [N, A, numbers]: levels, then rows, columns, anchors of a cell."""
    maps = [head(field).permute(0, 2, 3, 1) for head, field in zip(heads, fields, strict=True)]
    return torch.cat([each.reshape(each.shape[0], -1, each.shape[-1] // PER_CELL) for each in maps], dim=1)
