"""Who people are: bones, build, skin, hair and clothes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tfds_builders.synthetic.draws import Draws
from tfds_builders.synthetic.kinematics import CANONICAL_BONES, Bones

DOMAINS = ("lab", "wild", "varied")
SPLITS = ("train", "test")
#: Names and numbers of the laboratory's subjects, as Human3.6M's S1, 5–8 and S9, 11.
LAB_SUBJECTS = {"train": (1, 5, 6, 7, 8), "test": (9, 11)}
#: In the laboratory, people wear another outfit in every take; how many there are in a split.
LAB_OUTFITS = 200
_FIRST_OUTFIT = 10_000
#: How many people the wild has, and the varied configuration.
WILD_SUBJECTS = {"train": 4000, "test": 1000}
_FIRST_TEST_SUBJECT = 100_000
#: Rows of a person's colours.
SKIN, HAIR, SHIRT, TROUSERS, SHOES = range(5)
#: Random numbers that one person may use.
_POOL = 64

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
    #: Half the width of the front that shows what is under the shirt, metres: buttoned, or open.
    opening: Float[Array, ""]
    legs: Float[Array, ""]
    #: How far socks reach up a shin that nothing else covers, in its lengths; 0 is none.
    socks: Float[Array, ""]
    colours: Float[Array, "5 3"]
    pattern_colours: Float[Array, "5 3"]
    shirt_pattern: Float[Array, "4"]
    trousers_pattern: Float[Array, "4"]


def linear(colours: list[tuple[int, int, int]]) -> Float[Array, "n 3"]:
    """From sRGB, 0–255, to linear light, with the exponent 2 that the renderer uses."""
    return jnp.asarray((np.array(colours, np.float32) / 255) ** 2)


def _colour(draws: Draws, colours: Float[Array, "n 3"]) -> Float[Array, "3"]:
    return draws.pick(colours) * draws.uniform(0.85, 1.15, (3,))


def _pattern(draws: Draws, probability: float) -> Float[Array, "4"]:
    """Plain, or one of: upright stripes, hoops, checks, spots."""
    kinds = jnp.array([[1, 0, 0], [0, 1, 0], [0.6, 0.6, 0], [0, 0, 1]], jnp.float32)
    kind = draws.pick(kinds) * draws.chance(probability)
    return jnp.append(kind, draws.uniform(6.0, 16.0))


def sample_subject(seed: int, domain: str, number: Int[Array, ""]) -> Subject:
    """One person: the same number means the same person in every record of a domain."""
    key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), DOMAINS.index(domain))
    own = jax.random.fold_in(key, number)
    draws = Draws(own, _POOL)
    patterned = {"lab": 0.3, "wild": 0.6, "varied": 0.6}[domain]
    scale = draws.uniform(0.93, 1.07)
    vary = draws.uniform(0.96, 1.04, (len(CANONICAL_BONES),))
    bones = Bones(*(scale * v * length for v, length in zip(vary, CANONICAL_BONES, strict=True)))
    skin = _colour(draws, linear(_SKINS))
    hair = _colour(draws, linear(_HAIRS))
    # Hair close to the skin's colour is made darker, so that the back of a head is no face.
    hair = jnp.where(jnp.abs(hair - skin).mean() < 0.08, 0.25 * hair, hair)
    hair = jnp.where(draws.chance(0.06), skin, hair)
    shirt, second = _colour(draws, linear(_CLOTHES)), _colour(draws, linear(_CLOTHES))
    # The colour at the front differs from the shirt, or front and back would look the same.
    alike = jnp.abs(second - shirt).mean() < 0.12
    second = jnp.where(alike, jnp.where(shirt.mean() > 0.2, 0.1 * shirt, 0.85), second)
    trousers, shoes = _colour(draws, linear(_TROUSERS)), _colour(draws, linear(_SHOES))
    subject = Subject(
        bones=bones,
        scale=scale,
        torso_girth=draws.uniform(0.90, 1.15),
        limb_girth=draws.uniform(0.92, 1.18),
        hair_length=draws.chance(0.4) * draws.uniform(0.5, 1.0),
        sleeves=draws.pick(jnp.array([0.5, 0.7, 1.6, 2.0])),
        opening=draws.pick(jnp.array([0.009, 0.045, 0.07, 0.09])),
        legs=draws.pick(jnp.array([0.7, 0.85, 2.0, 2.0, 2.0])),
        socks=jnp.float32(0),
        colours=jnp.stack([skin, hair, shirt, trousers, shoes]),
        pattern_colours=jnp.stack([skin, hair, second, 0.4 * trousers, second]),
        shirt_pattern=_pattern(draws, patterned),
        trousers_pattern=_pattern(draws, 0.4 * patterned),
    )
    if domain != "varied":
        return subject
    return _for_sport(Draws(jax.random.fold_in(own, 1), _POOL), subject)


def _for_sport(draws: Draws, subject: Subject) -> Subject:
    """More kinds of build; shorts, kits, caps and bare chests as on photographs of sport."""
    skin, hair, shirt, trousers, shoes = subject.colours
    _, second_hair, second, second_trousers, second_shoes = subject.pattern_colours
    hair = jnp.where(draws.chance(0.2), _colour(draws, linear(_CLOTHES)), hair)
    kit = draws.chance(0.2)
    trousers = jnp.where(kit, shirt * draws.uniform(0.8, 1.2), trousers)
    shoes = jnp.where(draws.chance(0.1), skin, shoes)
    bare = draws.chance(0.1)
    shirt, second = (jnp.where(bare, skin, colour) for colour in (shirt, second))
    pattern_colours = [skin, second_hair, second, second_trousers, second_shoes]
    bones = subject.bones
    return subject._replace(
        bones=bones._replace(
            spine=bones.spine * draws.uniform(0.97, 1.15),
            head=bones.head * draws.uniform(0.95, 1.15),
            thigh=bones.thigh * draws.uniform(0.92, 1.04),
            hip=bones.hip * draws.uniform(0.85, 1.05),
        ),
        torso_girth=subject.torso_girth * draws.uniform(0.92, 1.2),
        limb_girth=subject.limb_girth * draws.uniform(0.88, 1.2),
        legs=draws.pick(jnp.array([0.3, 0.5, 0.7, 0.9, 1.4, 2.0, 2.0, 2.0])),
        sleeves=draws.pick(jnp.array([0.1, 0.4, 0.6, 0.8, 1.6, 2.0])),
        socks=draws.chance(0.6) * draws.uniform(0.15, 0.85),
        colours=jnp.stack([skin, hair, shirt, trousers, shoes]),
        pattern_colours=jnp.stack(pattern_colours),
        trousers_pattern=jnp.where(kit, jnp.zeros(4), subject.trousers_pattern),
    )


def change_clothes(subject: Subject, other: Subject) -> Subject:
    """The same person in another's clothes: skin, hair and build stay."""
    keep = jnp.arange(5)[:, None] < SHIRT
    return subject._replace(
        sleeves=other.sleeves,
        opening=other.opening,
        legs=other.legs,
        socks=other.socks,
        colours=jnp.where(keep, subject.colours, other.colours),
        pattern_colours=jnp.where(keep, subject.pattern_colours, other.pattern_colours),
        shirt_pattern=other.shirt_pattern,
        trousers_pattern=other.trousers_pattern,
    )


def draw_outfit(draws: Draws, split: Int[Array, ""]) -> Int[Array, ""]:
    """Whose clothes a laboratory's subject wears: a number of no subject, in one split only."""
    return _FIRST_OUTFIT + LAB_OUTFITS * split + draws.index(LAB_OUTFITS)


def subject_numbers(domain: str, split: str) -> Int[np.ndarray, " n"]:
    """The people of a split; no one is in two splits."""
    if domain == "lab":
        return np.array(LAB_SUBJECTS[split], np.int32)
    first = _FIRST_TEST_SUBJECT if split == "test" else 0
    return np.arange(first, first + WILD_SUBJECTS[split], dtype=np.int32)


def draw_number(draws: Draws, domain: str, split: Int[Array, ""]) -> Int[Array, ""]:
    """One of the people of a split; `split` counts `SPLITS`."""
    people = [subject_numbers(domain, name) for name in SPLITS]
    chosen = draws.index(jnp.array([len(p) for p in people])[split])
    longest = max(map(len, people))
    return jnp.array([np.resize(p, longest) for p in people])[split, chosen]


def bone_length_sum(seed: int, domain: str = "lab") -> float:
    """The average sum of the 14 bones over the training subjects of a domain, mm."""
    numbers = jnp.asarray(subject_numbers(domain, "train"))
    people = jax.jit(jax.vmap(lambda n: sample_subject(seed, domain, n).bones.total()))(numbers)
    return float(1000 * people.mean())
