"""Prediction and training step in PyTorch: what ours are measured against.

The baseline is to be at its best: channels-last, oneDNN or cuDNN's own choice of algorithm,
`torch.compile` where it helps, bfloat16 autocast.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from benchmarks.torch_network import DEVICE, PoseNetwork, functional, torch
from pose3d_jax.skeleton import BONE_GROUP_WEIGHTS, BONE_GROUPS


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the baseline runs.

    Attributes:
        bfloat16: autocast to bfloat16.
        compiled: through `torch.compile`.
    """

    bfloat16: bool
    compiled: bool

    def autocast(self):
        """The context of a forward pass."""
        return torch.autocast(DEVICE.type, torch.bfloat16, enabled=self.bfloat16)


def synchronise() -> None:
    """Waits for the device."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def make_forward(network: PoseNetwork, images: np.ndarray, settings: Settings) -> Callable:
    """A call that runs the network in eval mode on `images` (b, s, s, 3) and waits.

    Returns:
        The call; it returns the last heat-maps (b, s/4, s/4, 16) and the depths, as tensors.
    """
    torch.backends.cudnn.benchmark = True
    x = torch.tensor(images, device=DEVICE).permute(0, 3, 1, 2)
    network.eval()
    run = torch.compile(network, dynamic=False) if settings.compiled else network

    def forward():
        with torch.inference_mode(), settings.autocast():
            heatmaps, depth = run(x)
        synchronise()
        return heatmaps[-1].permute(0, 2, 3, 1), depth

    return forward


def geometric_loss(xy, depth):
    """Eq. 3 with every joint labelled, per image."""
    pose = torch.cat([xy, depth[..., None]], -1)
    total = 0.0
    for name, bones in BONE_GROUPS.items():
        start, end = torch.tensor(bones, device=pose.device).T
        weights = torch.tensor(BONE_GROUP_WEIGHTS[name], device=pose.device, dtype=pose.dtype)
        lengths = (pose[:, start] - pose[:, end]).norm(dim=-1) * weights
        total = total + lengths.var(-1, correction=0)
    return total


def make_train_step(network: PoseNetwork, example, stage, settings: Settings) -> Callable:
    """A call that trains on one ready batch: forward, Eq. 4, backward, RMSprop; and waits.

    Cropping, augmentation and the rendering of targets, which our step does too, are left out.

    Args:
        network: from `torch_network.make_network`.
        example: a `pose3d_jax.data.examples.Example`.
        stage: a `pose3d_jax.stages.Stage`.
        settings: how to run.

    Returns:
        The call; it returns the loss, as a tensor.
    """
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    images, maps, xy, target, has_3d = (
        torch.tensor(np.asarray(array), device=DEVICE)
        for array in (example.images, example.heatmaps, example.joints, example.depth,
                      example.has_3d)
    )  # fmt: skip
    images, maps = images.permute(0, 3, 1, 2), maps.permute(0, 3, 1, 2)
    network.train()
    run = torch.compile(network) if settings.compiled else network
    optimizer = torch.optim.RMSprop(
        network.parameters(), lr=stage.schedule.learning_rate, alpha=0.99, eps=1e-8, foreach=True
    )

    def step():
        with settings.autocast():
            heatmaps, depth = run(images)
        loss = sum(functional.mse_loss(predicted, maps) for predicted in heatmaps)
        if stage.with_depth:
            regression = stage.lambda_reg * ((depth - target) ** 2).mean(-1)
            geometric = stage.lambda_geo * geometric_loss(xy, depth)
            loss = loss + torch.where(has_3d, regression, geometric).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        synchronise()
        return loss.detach()

    return step
