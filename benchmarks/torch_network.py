"""The same network, plainly in PyTorch: what ours is measured against (`torch_baseline`).

Written from the paper and its numbers, with the options that this project's other networks have.
Modules carry the names of ours, so that weights need no table.
"""

import itertools
from collections.abc import Sequence

import ml_collections
import numpy as np

from pose3d_jax.errors import UserError
from pose3d_jax.heatmaps import STRIDE
from pose3d_jax.models.variables import Variables, flatten
from pose3d_jax.skeleton import NUM_JOINTS

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
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, middle, 1)
        self.norm2 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, padding=1)
        self.norm3 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, outputs, 1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x):
        """Applies the module."""
        y = self.conv1(functional.relu(self.norm1(x), inplace=True))
        y = self.conv2(functional.relu(self.norm2(y), inplace=True))
        y = self.conv3(functional.relu(self.norm3(y), inplace=True))
        return y + self.skip(x)


def residuals(count: int, inputs: int, outputs: int) -> nn.Sequential:
    """Residual modules in a row; the first changes the number of channels."""
    return nn.Sequential(*(Residual(outputs if i else inputs, outputs) for i in range(count)))


class Hourglass(nn.Module):
    """One level; the next is its own `inner`. Modules and features are those of each resolution."""

    def __init__(self, modules: Sequence[int], features: Sequence[int]):
        super().__init__()
        (here, below, *_), (outer, inner, *_) = modules, features
        self.up = residuals(here, outer, outer)
        self.low_in = residuals(below, outer, inner)
        if len(features) > 2:
            self.inner = Hourglass(modules[1:], features[1:])
        else:
            self.inner = residuals(below, inner, inner)
        self.low_out = residuals(below, inner, inner)
        self.narrow = nn.Conv2d(inner, outer, 1) if inner != outer else nn.Identity()

    def forward(self, x):
        """Applies the module."""
        low = self.low_out(self.inner(self.low_in(functional.max_pool2d(x, 2))))
        return self.up(x) + functional.interpolate(self.narrow(low), scale_factor=2)


class ConvStem(nn.Module):
    """The paper's stem."""

    def __init__(self, features: int, first: int):
        super().__init__()
        self.conv = nn.Conv2d(3, first, 7, stride=2, padding=3)
        self.norm = nn.BatchNorm2d(first)
        self.residual1 = Residual(first, 2 * first)
        self.residual2 = Residual(2 * first, 2 * first)
        self.residual3 = Residual(2 * first, features)

    def forward(self, x):
        """Applies the module."""
        x = self.residual1(functional.relu(self.norm(self.conv(x)), inplace=True))
        return self.residual3(self.residual2(functional.max_pool2d(x, 2)))


class PatchStem(nn.Module):
    """The stem for CPUs: one linear layer over patches, then a residual."""

    def __init__(self, features: int):
        super().__init__()
        self.patch = nn.Conv2d(3, features, STRIDE, stride=STRIDE)
        self.residual = Residual(features, features)

    def forward(self, x):
        """Applies the module."""
        return self.residual(self.patch(x))


class Stack(nn.Module):
    """One hourglass with its heat-map head, and the merge that feeds what comes after."""

    def __init__(self, modules: Sequence[int], features: Sequence[int]):
        super().__init__()
        self.hourglass = Hourglass(modules, features)
        modules, features = modules[0], features[0]
        self.residuals = residuals(modules, features, features)
        self.linear = nn.Conv2d(features, features, 1)
        self.norm = nn.BatchNorm2d(features)
        self.heatmaps = nn.Conv2d(features, NUM_JOINTS, 1)
        self.merge_features = nn.Conv2d(features, features, 1)
        self.merge_heatmaps = nn.Conv2d(NUM_JOINTS, features, 1)

    def forward(self, x):
        """Heat-maps, and the input of what comes after."""
        y = self.linear(self.residuals(self.hourglass(x)))
        y = functional.relu(self.norm(y), inplace=True)
        maps = self.heatmaps(y)
        return maps, x + self.merge_features(y) + self.merge_heatmaps(maps)


class DepthHead(nn.Module):
    """Residual modules and pooling in turn, then one depth per joint."""

    def __init__(self, modules: int, inputs: int, features: Sequence[int], side: int):
        super().__init__()
        self.stages = nn.ModuleList(
            residuals(modules, *sizes) for sizes in itertools.pairwise((inputs, *features))
        )
        self.output = nn.Linear((side // 2 ** len(features)) ** 2 * features[-1], NUM_JOINTS)

    def forward(self, x):
        """Applies the module."""
        for stage in self.stages:
            x = functional.max_pool2d(stage(x), 2)
        return self.output(x.permute(0, 2, 3, 1).flatten(1))  # Channels last, as they lie.


class PoseNetwork(nn.Module):
    """The network of a config's `model` section."""

    def __init__(self, model: ml_collections.ConfigDict):
        super().__init__()
        width, levels = model.features, model.levels
        features = model.get("level_features") or (width,) * (levels + 1)
        modules = model.get("level_modules") or (model.modules,) * (levels + 1)
        depth_features = model.get("depth_features") or (width,) * model.depth_levels
        self.scale = model.output_scale
        if model.stem == "conv":
            self.stem = ConvStem(width, model.get("stem_features") or width // 4)
        else:
            self.stem = PatchStem(width)
        self.stacks = nn.ModuleList(Stack(modules, features) for _ in range(model.stacks))
        side = model.input_side // STRIDE
        self.depth = DepthHead(model.depth_modules, width, depth_features, side)

    def forward(self, x):
        """(b, 3, s, s) → the heat-maps of every stack (b, 16, s/4, s/4), and depths (b, 16)."""
        x, heatmaps = self.stem(x), []
        for stack in self.stacks:
            maps, x = stack(x)
            heatmaps.append(maps.float() * self.scale)
        return heatmaps, self.depth(x).float() * self.scale


def make_network(variables: Variables, model: ml_collections.ConfigDict) -> PoseNetwork:
    """The baseline's network with the weights of ours."""
    theirs = PoseNetwork(model)
    shapes = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    tensors = {}
    for path, array in flatten(variables).items():
        name = _their_name(path)
        tensors[name] = torch.tensor(_their_layout(array, shapes[name]))
    missing, _ = theirs.load_state_dict(tensors, strict=False)
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return theirs.to(DEVICE, memory_format=torch.channels_last)


#: Ends of names, ours and theirs; the first that fits.
_PARTS = {
    "norm/scale": "weight",
    "norm/bias": "bias",
    "norm/mean": "running_mean",
    "norm/var": "running_var",
    "kernel": "weight",
    "bias": "bias",
}


def _their_name(path: str) -> str:
    """The name of a PyTorch tensor for ours, such as "params/stem/norm/norm/scale/value"."""
    path = path.partition("/")[2].removesuffix("/value").replace("/layers/", "/")
    end = next(end for end in _PARTS if path.endswith(f"/{end}"))
    return f"{path.removesuffix(end)}{_PARTS[end]}".replace("/", ".")


def _their_layout(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A kernel (…, in, out) as PyTorch's (out, in, …); anything else as it is."""
    if array.ndim == 1:
        return array
    if len(shape) == 2:
        return array.T
    outputs, inputs, height, width = shape
    return array.reshape(height, width, inputs, outputs).transpose(3, 2, 0, 1)
