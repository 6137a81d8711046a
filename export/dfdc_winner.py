"""The network of the DFDC challenge's winner (selimsef/dfdc_deepfake_challenge, MIT), for `export/from_frames.py`.

EfficientNet-B7, trained by its author on face boxes with a margin of 30 % at 380 x 380. The weights are the author's
release 0.0.1, seven files of 267 MB that you download; needs `pip install ".[cpu,export,timm]"`.
"""

from __future__ import annotations

from torch import Tensor, nn


class Winner(nn.Module):
    """EfficientNet-B7, mean over the picture, one logit. Names of parameters are those of the published files."""

    def __init__(self, encoder: nn.Module, features: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.fc = nn.Linear(features, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """float [N, 3, 380, 380], normalised as ImageNet's -> logits [N, 1], positive for fake."""
        features: Tensor = self.encoder.forward_features(pictures)  # type: ignore[operator]  # timm's
        return self.fc(features.mean(dim=(2, 3)))  # type: ignore[no-any-return]


def network() -> nn.Module:
    """The network, without weights."""
    import timm

    encoder = timm.create_model("tf_efficientnet_b7", pretrained=False)  # its classifier is in the files, though unused
    return Winner(encoder, encoder.num_features)
