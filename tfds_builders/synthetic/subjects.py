"""Who people are: bones, build, skin, hair and clothes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from tfds_builders.synthetic.kinematics import CANONICAL_BONES, Bones

#: Names and numbers of the laboratory's subjects, as Human3.6M's S1, 5–8 and S9, 11.
LAB_SUBJECTS = {"train": (1, 5, 6, 7, 8), "test": (9, 11)}
#: How many people the wild has.
WILD_SUBJECTS = {"train": 4000, "test": 1000}
_FIRST_TEST_SUBJECT = 100_000

#: Colours in sRGB, 0–255.
_SKINS = [
    (244, 208, 183),
    (226, 178, 146),
    (198, 143, 108),
    (160, 106, 75),
    (112, 72, 50),
    (78, 50, 36),
]
_HAIRS = [
    (28, 22, 20),
    (58, 38, 26),
    (96, 62, 38),
    (150, 110, 62),
    (205, 170, 110),
    (130, 60, 35),
    (150, 148, 145),
]
_CLOTHES = [
    (235, 235, 232), (40, 42, 48), (120, 122, 126), (170, 40, 44), (38, 66, 130), (60, 120, 72),
    (220, 180, 60), (84, 48, 110), (208, 112, 52), (90, 150, 190), (196, 130, 150), (110, 84, 60),
]  # fmt: skip
_TROUSERS = [
    (38, 40, 46), (48, 62, 96), (74, 92, 128), (130, 116, 92), (88, 88, 90), (170, 160, 140),
    (62, 70, 52), (96, 52, 44), (215, 212, 205),
]  # fmt: skip
_SHOES = [(28, 26, 26), (225, 225, 222), (110, 70, 44), (160, 44, 44), (70, 74, 84)]


class Subject(NamedTuple):
    """One person. Colours are linear light, rows: skin, hair, shirt, trousers, shoes."""

    bones: Bones
    scale: Float[Array, ""]
    torso_girth: Float[Array, ""]
    limb_girth: Float[Array, ""]
    hair_length: Float[Array, ""]
    #: How far sleeves and trouser legs reach, in limb segments: 0.5 short, 2 whole.
    sleeves: Float[Array, ""]
    legs: Float[Array, ""]
    colours: Float[Array, "5 3"]
    pattern_colours: Float[Array, "5 3"]
    shirt_pattern: Float[Array, "4"]
    trousers_pattern: Float[Array, "4"]


def _linear(colours: list[tuple[int, int, int]]) -> Float[Array, "n 3"]:
    """sRGB to linear light, with the exponent 2 that the renderer uses."""
    return jnp.asarray((np.array(colours, np.float32) / 255) ** 2)


def _pick(key: Key[Array, ""], colours: Float[Array, "n 3"]) -> Float[Array, "3"]:
    index_key, shade_key = jax.random.split(key)
    shade = jax.random.uniform(shade_key, (3,), minval=0.85, maxval=1.15)
    return colours[jax.random.randint(index_key, (), 0, len(colours))] * shade


def _pattern(key: Key[Array, ""], probability: float) -> Float[Array, "4"]:
    """Plain, or one of: upright stripes, hoops, checks, spots."""
    keys = jax.random.split(key, 3)
    kinds = jnp.array([[1, 0, 0], [0, 1, 0], [0.6, 0.6, 0], [0, 0, 1]], jnp.float32)
    kind = kinds[jax.random.randint(keys[0], (), 0, len(kinds))]
    waves = jax.random.uniform(keys[1], (), minval=6.0, maxval=16.0)
    return jnp.append(kind * jax.random.bernoulli(keys[2], probability), waves)


def sample_subject(key: Key[Array, ""], patterned: float = 0.5) -> Subject:
    """Draws a person.

    Args:
        key: decides everything about them.
        patterned: the probability that a garment has a pattern.
    """
    keys = jax.random.split(key, 17)
    scale = jax.random.uniform(keys[0], (), minval=0.91, maxval=1.08)
    vary = jax.random.uniform(keys[1], (len(CANONICAL_BONES),), minval=0.96, maxval=1.04)
    bones = Bones(*(scale * v * length for v, length in zip(vary, CANONICAL_BONES, strict=True)))
    skin = _pick(keys[2], _linear(_SKINS))
    hair = _pick(keys[3], _linear(_HAIRS))
    hair = jnp.where(jax.random.bernoulli(keys[4], 0.08), skin, hair)
    shirts = _linear(_CLOTHES)
    second = _pick(keys[5], shirts)
    colours = jnp.stack([
        skin, hair, _pick(keys[6], shirts), _pick(keys[7], _linear(_TROUSERS)),
        _pick(keys[8], _linear(_SHOES)),
    ])  # fmt: skip
    sleeve_kinds, leg_kinds = jnp.array([0.5, 0.7, 1.6, 2.0]), jnp.array([0.7, 0.9, 2.0, 2.0, 2.0])
    return Subject(
        bones=bones,
        scale=scale,
        torso_girth=jax.random.uniform(keys[9], (), minval=0.90, maxval=1.15),
        limb_girth=jax.random.uniform(keys[10], (), minval=0.92, maxval=1.18),
        hair_length=jax.random.bernoulli(keys[11], 0.4)
        * jax.random.uniform(keys[12], (), minval=0.5, maxval=1.0),
        sleeves=jax.random.choice(keys[13], sleeve_kinds),
        legs=jax.random.choice(keys[14], leg_kinds),
        colours=colours,
        pattern_colours=jnp.stack([skin, hair, second, colours[3] * 0.4, second]),
        shirt_pattern=_pattern(keys[15], patterned),
        trousers_pattern=_pattern(keys[16], 0.4 * patterned),
    )


def subject_key(seed: int, domain: str, number: Int[Array, ""]) -> Key[Array, ""]:
    """The key of one person; no number means the same person in both domains."""
    root = jax.random.key(seed, impl="threefry2x32")
    return jax.random.fold_in(jax.random.fold_in(root, {"lab": 1, "wild": 2}[domain]), number)


def subject_numbers(domain: str, split: str) -> Int[np.ndarray, " n"]:
    """The people of a split; no one is in two splits."""
    if domain == "lab":
        return np.array(LAB_SUBJECTS[split])
    first = _FIRST_TEST_SUBJECT if split == "test" else 0
    return first + np.arange(WILD_SUBJECTS[split])


def bone_length_sum(seed: int) -> float:
    """The average sum of the 14 bones over the laboratory's training subjects, mm."""
    numbers = jnp.asarray(subject_numbers("lab", "train"))
    people = jax.vmap(lambda n: sample_subject(subject_key(seed, "lab", n)))(numbers)
    return float(1000 * people.bones.total().mean())
