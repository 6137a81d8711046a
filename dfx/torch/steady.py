"""The classifier that ships: what its networks say of a clip, less what they say of a real face of such texture.

A network takes blur for a trace of manipulation, in real videos too: a quarter of what its votes differ by among them
follows from how much contrast a face has at each fineness. That part is known without any fake, and is taken off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dfx.torch.clipnet import ClipNet, with_weights
from dfx.torch.mesonet import SIZE, MesoNet
from dfx.torch.texture import LEVELS, Texture
from dfx.torch.views import VIEWED, ViewedNet

SECOND = 0.44  # of its logit, in units of the first's: half as loud, by the spread of both over real videos
FRAME = 2  # of a clip, which the second network looks at: another says the same
EDGE = (VIEWED.size - SIZE) // 2  # pixels of a crop that it does not see


class SteadyNet(ViewedNet):
    """Clips uint8 [N, 4, 3, 280, 280] -> logits float [N], positive for fake.

    second: a network of another kind, whose mistakes are others; None for none.
    """

    def __init__(self, clips: ClipNet, second: MesoNet | None = None) -> None:
        super().__init__(clips)
        self.second, self.texture = second, Texture(VIEWED.size, VIEWED.around)
        self.expected = Expected(2 * LEVELS)

    def opinion(self, clips: Tensor) -> Tensor | float:
        """What the second network adds, of a clip's middle frame: float [N]."""
        if self.second is None:
            return 0.0
        inner = slice(EDGE, EDGE + SIZE)
        return SECOND * self.second(clips[:, FRAME, :, inner, inner])  # type: ignore[no-any-return]

    def textures(self, clips: Tensor) -> Tensor:
        """Means over the frames: float [N, 2 * LEVELS]."""
        frames: Tensor = self.texture(clips.flatten(0, 1))
        means: Tensor = frames.view(len(clips), -1, 2 * LEVELS).mean(dim=1)
        return means

    def forward(self, clips: Tensor) -> Tensor:
        """uint8 [N, 4, 3, 280, 280] -> float [N]."""
        pixels = clips.float()  # once, for the sake of TensorRT, as in `features`
        beyond: Tensor = super().forward(pixels) - self.expected(self.textures(pixels)).squeeze(1)
        return beyond + self.opinion(pixels)


class Expected(nn.Linear):
    """Textures float [N, F] -> what the networks say of real faces of these: float [N, 1].

    It is to be fitted (`dfx.torch.expectation`), and begins with 0 everywhere. A texture beyond those of the real
    videos that it was fitted to counts as the last of theirs: a line says nothing of what lies past its points.
    """

    lowest: Tensor
    highest: Tensor

    def __init__(self, textures: int) -> None:
        super().__init__(textures, 1)
        self.register_buffer("lowest", torch.full((textures,), -torch.inf))
        self.register_buffer("highest", torch.full((textures,), torch.inf))

    def reset_parameters(self) -> None:
        """Begins with 0."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, textures: Tensor) -> Tensor:
        """float [N, F] -> float [N, 1]."""
        return super().forward(textures.maximum(self.lowest).minimum(self.highest))


def classifier_of(state: Mapping[str, Any]) -> ClipNet | ViewedNet:
    """The network of a classifier.pt, as it was calibrated; raises as `with_weights`."""
    weights = state["net"]
    if "expected.weight" in weights:
        return _steady(weights)
    clips = with_weights(ClipNet, weights)
    return ViewedNet(clips) if state.get("views") else clips


def clips_of(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a network's weights have of a ClipNet's, by their names there: training goes on with these alone."""
    return {name: weight for name, weight in weights.items() if name.startswith(("backbone.", "head."))}


def _steady(weights: Mapping[str, Tensor]) -> SteadyNet:
    second = {name.removeprefix("second."): weight for name, weight in weights.items() if name.startswith("second.")}
    net = SteadyNet(with_weights(ClipNet, clips_of(weights)), MesoNet.of(second) if second else None)
    net.load_state_dict(weights)
    return net
