"""The same network and training step, plainly in PyTorch: what ours are measured against.

Written from the paper and its numbers; layers carry the names of the authors' released weights, so
that `pose3d_jax.convert` knows them. The baseline is to be at its best: channels-last, oneDNN or
cuDNN's own choice of algorithm, `torch.compile` where it helps, bfloat16 autocast.
"""

import dataclasses
from collections.abc import Callable

import ml_collections
import numpy as np

from pose3d_jax.errors import UserError
from pose3d_jax.interop.release import Layer, layers
from pose3d_jax.models.variables import Network, flatten
from pose3d_jax.skeleton import BONE_GROUP_WEIGHTS, BONE_GROUPS, NUM_JOINTS

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError as error:
    raise UserError(
        "The PyTorch baseline needs PyTorch: pip install 'pose3d_jax[benchmark]', or measure "
        "without it: --baseline none."
    ) from error

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Residual(nn.Module):
    """Three times batch norm – ReLU – convolution, plus a skip."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        middle = outputs // 2
        self.bn = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, middle, 1)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, outputs, 1)
        self.conv4 = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x):
        """Applies the module."""
        y = self.conv1(functional.relu(self.bn(x), inplace=True))
        y = self.conv2(functional.relu(self.bn1(y), inplace=True))
        y = self.conv3(functional.relu(self.bn2(y), inplace=True))
        return y + self.conv4(x)


def residuals(count: int, features: int) -> nn.Sequential:
    """Residual modules in a row."""
    return nn.Sequential(*(Residual(features, features) for _ in range(count)))


class Hourglass(nn.Module):
    """One level; the next is its own `low2`."""

    def __init__(self, levels: int, modules: int, features: int):
        super().__init__()
        self.up1_ = residuals(modules, features)
        self.low1_ = residuals(modules, features)
        if levels > 1:
            self.low2 = Hourglass(levels - 1, modules, features)
        else:
            self.low2_ = residuals(modules, features)
        self.low3_ = residuals(modules, features)

    def forward(self, x):
        """Applies the module."""
        low = self.low1_(functional.max_pool2d(x, 2))
        low = self.low2(low) if hasattr(self, "low2") else self.low2_(low)
        return self.up1_(x) + functional.interpolate(self.low3_(low), scale_factor=2)


class PoseNetwork(nn.Module):
    """The paper's network at the sizes of a config's `model` section."""

    def __init__(self, model: ml_collections.ConfigDict):
        super().__init__()
        features, first, modules = model.features, model.features // 4, model.modules
        self.stacks, self.modules_per_stack, self.depth_modules = (
            model.stacks, modules, model.depth_modules,
        )  # fmt: skip
        self.scale = model.output_scale
        self.conv1_ = nn.Conv2d(3, first, 7, stride=2, padding=3)
        self.bn1 = nn.BatchNorm2d(first)
        self.r1 = Residual(first, 2 * first)
        self.r4 = Residual(2 * first, 2 * first)
        self.r5 = Residual(2 * first, features)

        def per_stack(make):
            return nn.ModuleList(make() for _ in range(model.stacks))

        self.hourglass = per_stack(lambda: Hourglass(model.levels, modules, features))
        self.Residual = residuals(model.stacks * modules, features)
        self.lin_ = per_stack(
            lambda: nn.Sequential(nn.Conv2d(features, features, 1), nn.BatchNorm2d(features))
        )
        self.tmpOut = per_stack(lambda: nn.Conv2d(features, NUM_JOINTS, 1))
        self.ll_ = per_stack(lambda: nn.Conv2d(features, features, 1))
        self.tmpOut_ = per_stack(lambda: nn.Conv2d(NUM_JOINTS, features, 1))
        self.reg_ = residuals(model.depth_levels * model.depth_modules, features)
        pixels = (model.input_side // 4 // 2**model.depth_levels) ** 2
        self.reg = nn.Linear(features * pixels, NUM_JOINTS)

    def forward(self, x):
        """(b, 3, s, s) → the heat-maps of every stack (b, 16, s/4, s/4), and depths (b, 16)."""
        x = self.r1(functional.relu(self.bn1(self.conv1_(x)), inplace=True))
        x = self.r5(self.r4(functional.max_pool2d(x, 2)))
        heatmaps, chain = [], self.modules_per_stack
        for i in range(self.stacks):
            y = self.Residual[i * chain : (i + 1) * chain](self.hourglass[i](x))
            y = functional.relu(self.lin_[i](y), inplace=True)
            heatmaps.append(self.tmpOut[i](y))
            x = x + self.ll_[i](y) + self.tmpOut_[i](heatmaps[-1])
        for i in range(0, len(self.reg_), self.depth_modules):
            x = functional.max_pool2d(self.reg_[i : i + self.depth_modules](x), 2)
        depth = self.reg(x.flatten(1)).float()
        return [maps.float() * self.scale for maps in heatmaps], depth * self.scale


def make_network(network: Network, model: ml_collections.ConfigDict) -> PoseNetwork:
    """The baseline's network with the weights of ours.

    Raises:
        UserError: ours is not the paper's kind: only the convolutional stem has a counterpart.
    """
    if model.stem != "conv":
        raise UserError("The PyTorch baseline has the paper's stem only: --baseline none.")
    ours = {
        name.removesuffix("/value"): np.asarray(array)
        for name, array in flatten({"params": network.params, "stats": network.stats}).items()
    }
    tensors = {}
    for layer in layers(model):
        own = _tensors(layer, ours, model.features)
        tensors |= {f"{layer.theirs}.{part}": torch.tensor(array) for part, array in own.items()}
    theirs = PoseNetwork(model)
    missing, unexpected = theirs.load_state_dict(tensors, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    return theirs.to(DEVICE, memory_format=torch.channels_last)


def _tensors(layer: Layer, ours: dict, features: int) -> dict[str, np.ndarray]:
    params = f"params/{layer.ours}"
    if layer.kind == "norm":
        stats = f"stats/{layer.ours}/norm"
        return {
            "weight": ours[f"{params}/norm/scale"],
            "bias": ours[f"{params}/norm/bias"],
            "running_mean": ours[f"{stats}/mean"],
            "running_var": ours[f"{stats}/var"],
        }
    kernel = ours[f"{params}/kernel"]
    if layer.kind == "flat":
        # We flatten (height, width, channels), they (channels, height, width).
        pixels = kernel.reshape(-1, features, kernel.shape[-1])
        kernel = pixels.transpose(2, 1, 0).reshape(kernel.shape[-1], -1)
    else:
        kernel = kernel[None, None] if layer.kind == "linear" else kernel
        kernel = kernel.transpose(3, 2, 0, 1)
    return {"weight": kernel, "bias": ours[f"{params}/bias"]}


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
    run = torch.compile(network) if settings.compiled else network

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
        network: from `make_network`.
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
        network.parameters(), lr=stage.learning_rate(0), alpha=0.99, eps=1e-8, foreach=True
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
