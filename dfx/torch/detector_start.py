"""The detector of an ONNX file as a network that can be trained further: what `export_detector` folded, unfolded."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from dfx.errors import ModelError
from dfx.torch.retinaface import RetinaFace
from dfx.torch.start import stored_in


@torch.no_grad()
def unfold(net: RetinaFace, path: Path, images: Tensor) -> None:
    """Gives a network the weights of a file that `export_detector` wrote, so that it says what the file says.

    The file has no batch normalisation any more. Each gets the statistics of what comes before it on these pictures,
    uint8 [N, 3, H, W], and the scale and shift that leave this as it is; training on such pictures begins where the
    file ends.

    Raises:
        ModelError: the file holds another network.
    """
    try:
        _fill(net, stored_in(path))
    except (KeyError, RuntimeError) as error:
        raise ModelError(f"{path}: not a detector that dfx trains ({error}); give a file of export_detector") from error
    hooks = [norm.register_forward_pre_hook(_keep) for norm in net.modules() if isinstance(norm, nn.BatchNorm2d)]
    net.eval()(images)
    for hook in hooks:
        hook.remove()


def _fill(net: RetinaFace, stored: dict[str, Tensor]) -> None:
    state = net.state_dict()
    for name in dict(net.named_parameters()):
        layer = name.rpartition(".")[0]
        if f"net.{name}" in stored:
            state[name] = stored[f"net.{name}"]
        elif name.endswith(".bias"):  # of the normalisation that follows a convolution
            state[name] = stored[f"net.{_before(layer)}.weight_bias"]
    net.load_state_dict(state)


def _before(layer: str) -> str:
    stem, _, number = layer.rpartition(".")
    return f"{stem}.{int(number) - 1}"


def _keep(norm: nn.Module, inputs: tuple[Tensor]) -> None:
    """Sets a normalisation, whose bias is that of the folded convolution, to add this bias and nothing else."""
    assert isinstance(norm, nn.BatchNorm2d)
    variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
    norm.load_state_dict(
        {
            "running_mean": mean,
            "running_var": variance,
            "weight": (variance + norm.eps).sqrt(),
            "bias": norm.bias + mean,
            "num_batches_tracked": torch.tensor(0),
        }
    )
