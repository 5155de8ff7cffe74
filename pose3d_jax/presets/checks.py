"""Which values a config may have: the type of the preset `paper`'s, in a range or a list."""

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pose3d_jax.presets.official import paper

#: Sections without which a file is not a config.
SECTIONS = ("model", "data", "stages")
#: The largest number that float32 holds, about.
_LARGEST = 3e38
_FROM_1 = (
    "stacks modules levels features depth_levels depth_modules level_features level_modules "
    "depth_features lifter_features batch_size log_every save_every evaluate_every "
    "evaluate_images keep_checkpoints reading_threads"
)
_SHARES = "rotation_probability mirror_probability cut_probability empty_probability "
_SHARES += "clutter_probability blur_probability grey_probability momentum decay"
#: Lowest and highest number by the last part of a name; from 0 up where it is not listed.
RANGES = {
    "seed": (0, 2**32 - 1),
    "last_stage": (1, 3),
    "input_side": (1, 4096),
    "sigma": (1e-3, _LARGEST),
    **dict.fromkeys(_FROM_1.split(), (1, _LARGEST)),
    **dict.fromkeys(_SHARES.split(), (0, 1)),
    **dict.fromkeys(("peak", "person", "bias"), (-1e4, 1e4)),
    "scales": (0.25, 4),
}
#: Sections of networks with calibrated confidences (`prediction.calibration`), or whose predictions
#: are averages (`loading.passes`); configs of trainings have none.
OF_NETWORKS = {
    "calibration": {"peak": 0.0, "person": 0.0, "bias": (0.0,)},
    "passes": {"flip": False, "scales": (1.0,)},
}
#: Possible values by the last part of a name; the code that uses another name checks it.
CHOICES = {
    "compute": ("auto", "float32", "bfloat16"),
    "unlabelled_joints": ("empty", "ignored"),
    "lab_joints": ("projection", "weak_perspective"),
    "domains": ("lab", "wild"),
}
#: Elements of lists; whole numbers where a list is not here.
ELEMENTS = {"domains": "", "train": "", "colour_range": 0.0, "bias": 0.0, "scales": 0.0}
NOT_EMPTY = ("domains", "train", "scales")


def check_values(tree: Any) -> None:
    """Checks each value of a config by itself. Unknown keys in known sections are ignored.

    The config is nested dictionaries, sequences and plain values; keys may be missing, as in the
    configs of older versions.

    Raises:
        ValueError: a value is impossible; the message names it.
    """
    if not isinstance(tree, Mapping):
        raise ValueError(f"it holds {type(tree).__name__}, not a config")
    for name in SECTIONS:
        if not isinstance(tree.get(name), Mapping):
            raise ValueError(f"the config has no section {name}")
    # A corrupted name of the checksum would leave a config unchecked.
    reference = _reference() | OF_NETWORKS
    if unknown := tree.keys() - reference.keys():
        raise ValueError(f"the config has an unknown section {min(unknown)}")
    for name, value, like in _values(tree, reference):
        if mistake := _mistake(name.rpartition(".")[2], value, like):
            shown = "not a number" if value != value else repr(value)[:50]
            raise ValueError(f"{name} is {shown}, and must be {mistake}")


def complete(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A config of an older version with the keys that it lacks.

    Their values are those of `paper`, in which everything that the paper does not have is off.
    """
    reference = _reference()
    stage = reference["stages"]["stage1"] | {"steps": 0}
    return _merged(reference | {"stages": dict.fromkeys(tree["stages"], stage)}, tree)


@functools.cache
def _reference() -> dict[str, Any]:
    return paper().to_dict() | {"preset": "", "last_stage": 3}


def _merged(defaults: Any, tree: Any) -> Any:
    if not (isinstance(defaults, Mapping) and isinstance(tree, Mapping)):
        return tree
    missing = {name: value for name, value in defaults.items() if name not in tree}
    return missing | {name: _merged(defaults.get(name), value) for name, value in tree.items()}


def _values(tree: Any, like: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Name, value and reference value of each known key."""
    if not (isinstance(tree, Mapping) and isinstance(like, Mapping)):
        yield name, tree, like
        return
    for key, value in tree.items():
        known = "stage1" if re.fullmatch(r"stage\d+", str(key)) else key
        if known in like:
            yield from _values(value, like[known], f"{name}.{key}" if name else str(key))


def _mistake(name: str, value: Any, like: Any) -> str:
    """What a value must be; empty if it is."""
    if isinstance(like, Mapping):
        return "a section"
    if isinstance(like, tuple) or (name == "train" and not isinstance(value, str)):
        element = ELEMENTS.get(name, 1)
        each = _mistake_of_scalar(name, None, element)
        if not isinstance(value, list | tuple) or any(
            _mistake_of_scalar(name, item, element) for item in value
        ):
            return f"a list, each {each}"
        if name in NOT_EMPTY and not value:
            return "a list that is not empty"
        if name == "colour_range" and (len(value) != 2 or not value[0] <= value[1]):
            return "two numbers from 0 up, the lower first"
        return ""
    return _mistake_of_scalar(name, value, like)


def _mistake_of_scalar(name: str, value: Any, like: Any) -> str:
    if isinstance(like, bool):
        return "" if isinstance(value, bool) else "true or false"
    if choices := CHOICES.get(name):
        return "" if value in choices else " or ".join(map(repr, choices))
    if isinstance(like, str):
        return "" if isinstance(value, str) else "a text"
    low, high = RANGES.get(name, (0, _LARGEST))
    types = int if isinstance(like, int) else int | float
    # A comparison with NaN is false.
    fits = isinstance(value, types) and not isinstance(value, bool) and low <= value <= high
    kind = "a whole number" if types is int else "a number"
    return "" if fits else f"{kind} from {low} {f'to {high}' if high < _LARGEST else 'up'}"
