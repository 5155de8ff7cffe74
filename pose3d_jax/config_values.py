"""Which values a config may have, by name: what a file or a command line says is checked first."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """What a value must be, in words and as a test."""

    text: str
    holds: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    # The largest that a float32 holds; comparing with NaN is false.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 3e38


def _is_whole(value: Any) -> bool:
    return _is_number(value) and isinstance(value, int)


def _each(rule: Rule) -> Rule:
    return Rule(
        f"a list, each {rule.text}",
        lambda value: isinstance(value, list | tuple) and all(map(rule.holds, value)),
    )


def _some(rule: Rule) -> Rule:
    each = _each(rule)
    return Rule(f"{each.text}, and not empty", lambda value: each.holds(value) and len(value) > 0)


def _one_of(*values: str) -> Rule:
    return Rule(" or ".join(map(repr, values)), lambda value: value in values)


COUNT = Rule("a whole number from 1 up", lambda value: _is_whole(value) and value >= 1)
SIDE = Rule("a whole number from 1 to 4096", lambda value: _is_whole(value) and 1 <= value <= 4096)
WHOLE = Rule("a whole number from 0 up", lambda value: _is_whole(value) and value >= 0)
NUMBER = Rule("a finite number from 0 up", lambda value: _is_number(value) and value >= 0)
POSITIVE = Rule("a finite number above 0", lambda value: _is_number(value) and value > 0)
SHARE = Rule("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
SWITCH = Rule("true or false", lambda value: isinstance(value, bool))
RANGE = Rule(
    "two numbers from 0 up, the lower first",
    lambda value: _each(NUMBER).holds(value) and len(value) == 2 and value[0] <= value[1],
)
TEXT = Rule("a text", lambda value: isinstance(value, str))

#: Of the values; a stage's number and a domain's name are `*` here.
RULES = {
    "seed": WHOLE,
    "method": TEXT,
    "initial_network": TEXT,
    "preset": TEXT,
    "last_stage": Rule("1, 2 or 3", lambda value: _is_whole(value) and value in (1, 2, 3)),
    **{
        f"model.{name}": COUNT
        for name in (
            "stacks", "modules", "levels", "features", "depth_levels", "depth_modules"
        )
    },
    "model.input_side": SIDE,
    **{f"model.{name}": _each(COUNT) for name in (
        "level_features", "level_modules", "depth_features"
    )},
    "model.stem": TEXT,
    "model.stem_features": WHOLE,
    "model.depth_head": TEXT,
    "model.decoding": TEXT,
    "model.init": TEXT,
    "model.zero_init_outputs": SWITCH,
    "model.output_scale": NUMBER,
    "precision.compute": _one_of("auto", "float32", "bfloat16"),
    "data.*.name": TEXT,
    "data.*.train": Rule(
        "a text, or a list of texts", lambda value: TEXT.holds(value) or _some(TEXT).holds(value)
    ),
    "data.*.test": TEXT,
    "data.batch_size": COUNT,
    "data.bone_length_sum": NUMBER,
    "augmentation.lab": SWITCH,
    **{
        f"augmentation.{name}": NUMBER
        for name in (
            "scale_sigma", "scale_limit", "rotation_sigma", "rotation_limit", "shift_limit"
        )
    },
    "augmentation.rotation_probability": SHARE,
    "augmentation.mirror_probability": SHARE,
    "augmentation.cut_probability": SHARE,
    "augmentation.empty_probability": SHARE,
    "augmentation.colour_range": RANGE,
    "loss.unlabelled_joints": _one_of("empty", "ignored"),
    "targets.sigma": POSITIVE,
    "targets.lab_joints": TEXT,
    "optimizer.name": TEXT,
    "optimizer.momentum": SHARE,
    "optimizer.decay": SHARE,
    "optimizer.epsilon": NUMBER,
    "optimizer.sync_batch_norm": SWITCH,
    "stages.*.domains": _some(_one_of("lab", "wild")),
    **{f"stages.*.{name}": WHOLE for name in (
        "steps", "warmup_steps", "drop_at", "decay_steps"
    )},
    **{f"stages.*.{name}": NUMBER for name in ("learning_rate", "lambda_reg", "lambda_geo")},
    "stages.*.cosine": SWITCH,
    "run.log_every": COUNT,
    "run.save_every": COUNT,
    "run.evaluate_every": COUNT,
    "run.evaluate_images": COUNT,
    "run.keep_checkpoints": COUNT,
    "run.keep_every": WHOLE,
    "run.reading_threads": COUNT,
}  # fmt: skip
#: Sections without which a file is no config.
SECTIONS = ("model", "data", "stages")


def check(config: Any) -> None:
    """Makes sure that a config's values are possible, each by itself.

    Names without a rule are left to whoever uses them; a config of an older version lacks some.

    Args:
        config: a tree of dictionaries, lists and plain values.

    Raises:
        ValueError: one is not; the message names it.
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"it holds {type(config).__name__}, not a config")
    for name in SECTIONS:
        if not isinstance(config.get(name), Mapping):
            raise ValueError(f"the config has no section {name}")
    # A changed name of the checksum would leave a config unchecked.
    if unknown := config.keys() - {name.partition(".")[0] for name in RULES}:
        raise ValueError(f"the config has an unknown section {min(unknown)}")
    for name, value in _leaves(config):
        rule = _rule(name)
        if rule and not rule.holds(value):
            shown = "not a number" if value != value else repr(value)
            raise ValueError(f"{name} is {shown[:50]}, and must be {rule.text}")


def _rule(name: str) -> Rule | None:
    return RULES.get(re.sub(r"^(data\.)(?:lab|wild)\b|^(stages\.)stage\d+", r"\1\2*", name))


def _leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if _rule(name) or not isinstance(tree, Mapping):  # There may be a section instead of a value.
        yield name, tree
        return
    for key, value in tree.items():
        yield from _leaves(value, f"{name}.{key}" if name else str(key))
