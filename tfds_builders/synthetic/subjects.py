"""Subjects: bones, build, skin, hair and clothes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tfds_builders.synthetic.kinematics import CANONICAL_BONES, Bones
from tfds_builders.synthetic.random_stream import RandomStream

DOMAINS = ("lab", "wild", "varied")
SPLITS = ("train", "test")
#: Numbers of the laboratory's subjects, as in Human3.6M.
LAB_SUBJECTS = {"train": (1, 5, 6, 7, 8), "test": (9, 11)}
#: Number of outfits in each split of the laboratory, where outfits change with every record.
LAB_OUTFITS = 200
_FIRST_OUTFIT = 10_000
#: Number of people in the domains "wild" and "varied".
WILD_SUBJECTS = {"train": 4000, "test": 1000}
_FIRST_TEST_SUBJECT = 100_000
#: Rows of a subject's colours.
SKIN, HAIR, SHIRT, TROUSERS, SHOES = range(5)
#: Random numbers per subject.
_POOL = 64

#: Colours in sRGB.
_SKINS = "f4d0b7 e2b292 c68f6c a06a4b 704832 4e3224"
_HAIRS = "1c1614 3a261a 603e26 966e3e cdaa6e 823c23 969491"
_CLOTHES = "ebebe8 282a30 787a7e aa282c 264282 3c7848 dcb43c 54306e d07034 5a96be c48296 6e543c"
_TROUSERS = "26282e 303e60 4a5c80 82745c 58585a aaa08c 3e4634 60342c d7d4cd"
_SHOES = "1c1a1a e1e1de 6e462c a02c2c 464a54"


class Subject(NamedTuple):
    """One person. Colours are linear RGB; rows are skin, hair, shirt, trousers, shoes."""

    bones: Bones
    scale: Float[Array, ""]
    torso_girth: Float[Array, ""]
    limb_girth: Float[Array, ""]
    hair_length: Float[Array, ""]
    #: Lengths of sleeves and trouser legs in limb segments: 0.5 is short, 2 full length.
    sleeves: Float[Array, ""]
    #: Half the width of the open front of the shirt, metres.
    opening: Float[Array, ""]
    legs: Float[Array, ""]
    #: Length of socks in shin lengths; 0 is none.
    socks: Float[Array, ""]
    colours: Float[Array, "5 3"]
    pattern_colours: Float[Array, "5 3"]
    shirt_pattern: Float[Array, "4"]
    trousers_pattern: Float[Array, "4"]


def linear(colours: str) -> Float[Array, "n 3"]:
    """Converts sRGB, as hexadecimal numbers, to linear RGB, with the renderer's exponent of 2."""
    values = np.frombuffer(bytes.fromhex(colours), np.uint8).reshape(-1, 3)
    return jnp.asarray((values.astype(np.float32) / 255) ** 2)


def _colour(rng: RandomStream, colours: str) -> Float[Array, "3"]:
    return rng.pick(linear(colours)) * rng.uniform(0.85, 1.15, (3,))


def _pattern(rng: RandomStream, probability: float) -> Float[Array, "4"]:
    """Plain, or vertical stripes, horizontal stripes, checks or spots."""
    kinds = jnp.array([[1, 0, 0], [0, 1, 0], [0.6, 0.6, 0], [0, 0, 1]], jnp.float32)
    kind = rng.pick(kinds) * rng.chance(probability)
    return jnp.append(kind, rng.uniform(6.0, 16.0))


def sample_subject(seed: int, domain: str, number: Int[Array, ""]) -> Subject:
    """Samples a person; the same number gives the same person in every record of a domain."""
    key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), DOMAINS.index(domain))
    own = jax.random.fold_in(key, number)
    rng = RandomStream(own, _POOL)
    patterned = {"lab": 0.3, "wild": 0.6, "varied": 0.6}[domain]
    scale = rng.uniform(0.93, 1.07)
    vary = rng.uniform(0.96, 1.04, (len(CANONICAL_BONES),))
    bones = Bones(*(scale * v * length for v, length in zip(vary, CANONICAL_BONES, strict=True)))
    skin = _colour(rng, _SKINS)
    hair = _colour(rng, _HAIRS)
    # Hair is darker than skin, so that the back of a head does not look like a face.
    hair = jnp.where(jnp.abs(hair - skin).mean() < 0.08, 0.25 * hair, hair)
    hair = jnp.where(rng.chance(0.06), skin, hair)
    shirt, second = _colour(rng, _CLOTHES), _colour(rng, _CLOTHES)
    # The open front differs from the shirt, so that front and back look different.
    alike = jnp.abs(second - shirt).mean() < 0.12
    second = jnp.where(alike, jnp.where(shirt.mean() > 0.2, 0.1 * shirt, 0.85), second)
    trousers, shoes = _colour(rng, _TROUSERS), _colour(rng, _SHOES)
    subject = Subject(
        bones=bones,
        scale=scale,
        torso_girth=rng.uniform(0.90, 1.15),
        limb_girth=rng.uniform(0.92, 1.18),
        hair_length=rng.chance(0.4) * rng.uniform(0.5, 1.0),
        sleeves=rng.pick(jnp.array([0.5, 0.7, 1.6, 2.0])),
        opening=rng.pick(jnp.array([0.009, 0.045, 0.07, 0.09])),
        legs=rng.pick(jnp.array([0.7, 0.85, 2.0, 2.0, 2.0])),
        socks=jnp.float32(0),
        colours=jnp.stack([skin, hair, shirt, trousers, shoes]),
        pattern_colours=jnp.stack([skin, hair, second, 0.4 * trousers, second]),
        shirt_pattern=_pattern(rng, patterned),
        trousers_pattern=_pattern(rng, 0.4 * patterned),
    )
    if domain != "varied":
        return subject
    return _for_sport(RandomStream(jax.random.fold_in(own, 1), _POOL), subject)


def _for_sport(rng: RandomStream, subject: Subject) -> Subject:
    """Adds what photographs of sport show: more builds, shorts, kits, caps, bare chests."""
    skin, hair, shirt, trousers, shoes = subject.colours
    _, second_hair, second, second_trousers, second_shoes = subject.pattern_colours
    hair = jnp.where(rng.chance(0.2), _colour(rng, _CLOTHES), hair)
    kit = rng.chance(0.2)
    trousers = jnp.where(kit, shirt * rng.uniform(0.8, 1.2), trousers)
    shoes = jnp.where(rng.chance(0.1), skin, shoes)
    bare = rng.chance(0.1)
    shirt, second = (jnp.where(bare, skin, colour) for colour in (shirt, second))
    pattern_colours = [skin, second_hair, second, second_trousers, second_shoes]
    bones = subject.bones
    return subject._replace(
        bones=bones._replace(
            spine=bones.spine * rng.uniform(0.97, 1.15),
            head=bones.head * rng.uniform(0.95, 1.15),
            thigh=bones.thigh * rng.uniform(0.92, 1.04),
            hip=bones.hip * rng.uniform(0.85, 1.05),
        ),
        torso_girth=subject.torso_girth * rng.uniform(0.92, 1.2),
        limb_girth=subject.limb_girth * rng.uniform(0.88, 1.2),
        legs=rng.pick(jnp.array([0.3, 0.5, 0.7, 0.9, 1.4, 2.0, 2.0, 2.0])),
        sleeves=rng.pick(jnp.array([0.1, 0.4, 0.6, 0.8, 1.6, 2.0])),
        socks=rng.chance(0.6) * rng.uniform(0.15, 0.85),
        colours=jnp.stack([skin, hair, shirt, trousers, shoes]),
        pattern_colours=jnp.stack(pattern_colours),
        trousers_pattern=jnp.where(kit, jnp.zeros(4), subject.trousers_pattern),
    )


def change_clothes(subject: Subject, other: Subject) -> Subject:
    """The same person (skin, hair, build) in the clothes of another."""
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


def sample_outfit(rng: RandomStream, split: Int[Array, ""]) -> Int[Array, ""]:
    """Samples the number of an outfit of the split; no subject has this number."""
    return _FIRST_OUTFIT + LAB_OUTFITS * split + rng.index(LAB_OUTFITS)


def subject_numbers(domain: str, split: str) -> Int[np.ndarray, " n"]:
    """Numbers of the people of a split; splits are disjoint."""
    if domain == "lab":
        return np.array(LAB_SUBJECTS[split], np.int32)
    first = _FIRST_TEST_SUBJECT if split == "test" else 0
    return np.arange(first, first + WILD_SUBJECTS[split], dtype=np.int32)


def sample_subject_number(rng: RandomStream, domain: str, split: Int[Array, ""]) -> Int[Array, ""]:
    """Samples the number of a person of a split, an index of `SPLITS`."""
    people = [subject_numbers(domain, name) for name in SPLITS]
    chosen = rng.index(jnp.array([len(p) for p in people])[split])
    longest = max(map(len, people))
    return jnp.array([np.resize(p, longest) for p in people])[split, chosen]


def bone_length_sum(seed: int, domain: str = "lab") -> float:
    """Average sum of the 14 bones over the training subjects of a domain (AvgSumLen), mm."""
    numbers = jnp.asarray(subject_numbers(domain, "train"))
    people = jax.jit(jax.vmap(lambda n: sample_subject(seed, domain, n).bones.total()))(numbers)
    return float(1000 * people.mean())
