"""The baseline: the same network and training step in plain PyTorch.

Modules take children and weights from the Flax modules; their computation is written from the
paper. The baseline uses channels-last, oneDNN or cuDNN's own choice of algorithm, `torch.compile`
where it helps, and bfloat16 autocast.
"""

from collections.abc import Callable

import numpy as np
from flax import nnx

from pose3d_jax.errors import UserError
from pose3d_jax.heatmaps import STRIDE
from pose3d_jax.models import depth, hourglass, layers, network, residual
from pose3d_jax.models.variables import Variables
from pose3d_jax.skeleton import BONE_GROUP_WEIGHTS, BONE_GROUPS

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


class Module(nn.Module):
    """A module with the children of a Flax module."""

    def __init__(self, flax: nnx.Module):
        super().__init__()
        for name, child in vars(flax).items():
            if child is None or isinstance(child, nnx.Module):
                setattr(self, name, translate(child))


class Residual(Module):
    """Three times batch norm – ReLU – convolution, plus a skip."""

    def forward(self, x):
        """Applies the module."""
        y = self.conv2(self.norm2(self.conv1(self.norm1(x))))
        return self.conv3(self.norm3(y)) + self.skip(x)


class Hourglass(Module):
    """One level; the next is its own `inner`."""

    def forward(self, x):
        """Applies the module."""
        low = self.low_out(self.inner(self.low_in(functional.max_pool2d(x, 2))))
        return self.up(x) + functional.interpolate(self.narrow(low), scale_factor=2)


class ConvStem(Module):
    """The paper's stem."""

    def forward(self, x):
        """Applies the module."""
        x = self.residual1(self.norm(self.conv(x)))
        return self.residual3(self.residual2(functional.max_pool2d(x, 2)))


class PatchStem(Module):
    """The stem for CPUs: one linear layer over patches, then a residual."""

    def __init__(self, flax: network.PatchStem):
        super().__init__(flax)
        kernel = flax.patch.kernel[...].reshape(STRIDE, STRIDE, 3, -1)
        self.patch = convolution(kernel, flax.patch.bias[...], STRIDE)

    def forward(self, x):
        """Applies the module."""
        return self.residual(self.patch(x))


class Stack(Module):
    """One hourglass with its heat-map head, and the input of the next stack."""

    def forward(self, x):
        """Heat-maps, and the input of the next stack or the depth module."""
        y = self.norm(self.linear(self.residuals(self.hourglass(x))))
        maps = self.heatmaps(y)
        return maps, x + self.merge_features(y) + self.merge_heatmaps(maps)


class DepthHead(Module):
    """Residual modules and pooling in turn, then one depth per joint."""

    def forward(self, x):
        """Applies the module."""
        for stage in self.stages:
            x = functional.max_pool2d(stage(x), 2)
        return self.output(x.permute(0, 2, 3, 1).flatten(1))  # Channels last, as in Flax.


class PoseNetwork(nn.Module):
    """The whole network."""

    def __init__(self, flax: network.PoseNetwork):
        super().__init__()
        self.stem, self.stacks, self.depth = map(translate, (flax.stem, flax.stacks, flax.depth))
        self.scale = flax.output_scale

    def forward(self, x):
        """(b, 3, s, s) → the heat-maps of every stack (b, 16, s/4, s/4), and depths (b, 16)."""
        x, heatmaps = self.stem(x), []
        for stack in self.stacks:
            maps, x = stack(x)
            heatmaps.append(maps.float() * self.scale)
        return heatmaps, self.depth(x).float() * self.scale


CLASSES = {
    residual.Residual: Residual,
    hourglass.Hourglass: Hourglass,
    network.ConvStem: ConvStem,
    network.PatchStem: PatchStem,
    network.Stack: Stack,
    depth.DepthHead: DepthHead,
}


def translate(flax: nnx.Module | None) -> nn.Module:
    """A PyTorch module with the weights of a Flax module; the identity for none."""
    match flax:
        case None:
            return nn.Identity()
        case nnx.List():
            return nn.ModuleList(map(translate, flax))
        case nnx.Sequential():
            return nn.Sequential(*map(translate, flax.layers))
        case layers.NormRelu():
            norm = flax.norm
            module = nn.BatchNorm2d(norm.num_features, norm.epsilon, 1 - norm.momentum)
            fill(module.weight, norm.scale[...])
            fill(module.bias, norm.bias[...])
            fill(module.running_mean, norm.mean[...])
            fill(module.running_var, norm.var[...])
            return nn.Sequential(module, nn.ReLU(inplace=True))
        case nnx.Conv():
            # All strides are equal, and all kernels centred on their output.
            stride = flax.strides if isinstance(flax.strides, int) else flax.strides[0]
            return convolution(flax.kernel[...], flax.bias[...], stride, flax.kernel_size[0] // 2)
        case layers.Pointwise():
            return convolution(flax.kernel[...][None, None], flax.bias[...])
        case nnx.Linear():
            module = nn.Linear(flax.in_features, flax.out_features)
            fill(module.weight, flax.kernel[...].T)
            fill(module.bias, flax.bias[...])
            return module
    return CLASSES[type(flax)](flax)


def convolution(kernel, bias, stride: int = 1, padding: int = 0) -> nn.Conv2d:
    """A convolution with a kernel in the layout of Flax (height, width, in, out)."""
    height, width, inputs, outputs = kernel.shape
    module = nn.Conv2d(inputs, outputs, (height, width), stride, padding)
    fill(module.weight, kernel.transpose(3, 2, 0, 1))
    fill(module.bias, bias)
    return module


def fill(tensor, array) -> None:
    """Copies an array into a tensor."""
    with torch.no_grad():
        tensor.copy_(torch.tensor(np.asarray(array)))


def make_network(graphdef: nnx.GraphDef, variables: Variables) -> PoseNetwork:
    """The baseline's network with the weights of a Flax network."""
    module = PoseNetwork(nnx.merge(graphdef, *variables))
    return module.to(DEVICE, memory_format=torch.channels_last)


def synchronise() -> None:
    """Waits for the device."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def make_forward(
    network: PoseNetwork, images: np.ndarray, *, bfloat16: bool, compiled: bool
) -> Callable:
    """A call that runs the network in eval mode on `images` (b, s, s, 3) and waits.

    Returns:
        The call; it returns the last heat-maps (b, s/4, s/4, 16) and the depths, as tensors.
    """
    torch.backends.cudnn.benchmark = True
    x = torch.tensor(images, device=DEVICE).permute(0, 3, 1, 2)
    network.eval()
    run = torch.compile(network, dynamic=False) if compiled else network

    def forward():
        with torch.inference_mode(), torch.autocast(DEVICE.type, torch.bfloat16, enabled=bfloat16):
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


def make_train_step(
    network: PoseNetwork, example, stage, *, bfloat16: bool, compiled: bool
) -> Callable:
    """A call that trains on one ready `Example`: forward, Eq. 4, backward, RMSprop; and waits.

    Cropping, augmentation and the rendering of targets, which the JAX step does too, are left out.
    The call returns the loss, as a tensor.
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
    run = torch.compile(network) if compiled else network
    optimizer = torch.optim.RMSprop(
        network.parameters(), lr=stage.schedule.learning_rate, alpha=0.99, eps=1e-8, foreach=True
    )

    def step():
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=bfloat16):
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
