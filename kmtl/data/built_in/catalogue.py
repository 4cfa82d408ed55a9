"""The sets that `kmtl.data.load` knows; a new one is a row of the table."""

from collections.abc import Sequence

from kmtl._checks import Refusals, near, require
from kmtl.data.built_in.rows import SLICED, Label, Row, box, boxes, category, flag, flags, mask, number, vector
from kmtl.tasks import Task

_ATTRIBUTES = (
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair "
    "Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male "
    "Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks "
    "Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace "
    "Wearing_Necktie Young"
)
_LANDMARKS = tuple(
    f"{point}_{axis}" for point in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth") for axis in "xy"
)
_BREEDS = (
    "Abyssinian american_bulldog american_pit_bull_terrier basset_hound beagle Bengal Birman Bombay boxer "
    "British_Shorthair chihuahua Egyptian_Mau english_cocker_spaniel english_setter german_shorthaired great_pyrenees "
    "havanese japanese_chin keeshond leonberger Maine_Coon miniature_pinscher newfoundland Persian pomeranian pug "
    "Ragdoll Russian_Blue saint_bernard samoyed scottish_terrier shiba_inu Siamese Sphynx staffordshire_bull_terrier "
    "wheaten_terrier yorkshire_terrier"
)


def _celeb_a_labels() -> dict[str, Label]:
    """Forty attributes, in lower case and with the number of one spelled out, since a name starts with a letter."""
    names = {key: key.replace("5_o", "five_o").lower() for key in _ATTRIBUTES.split()}
    attributes = {name: flag(key, "attributes") for key, name in names.items()}
    return {**attributes, "landmarks": vector(_LANDMARKS, unit="px", inside="landmarks")}


_TABLE = (
    Row(
        "digit_poses",
        labels={
            "digit": category("digit", 10),
            "angle": number("angle", unit="deg"),
            "position": number("position", unit="px", shape=(2,)),
            "scale": number("scale"),
        },
        default=("digit", "angle", "position"),
        redraws=True,
    ),
    Row(
        "multi_digits",
        labels={"left": category("left", 10), "right": category("right", 10), "sum": number("sum")},
        default=("left", "right", "sum"),
    ),
    Row(
        "digit_scenes",
        labels={
            "count": category("count", 6),
            "digits": flags("digits", 10),
            "boxes": boxes("boxes", [str(digit) for digit in range(10)], grid=8),
            "mask": mask("mask", ("paper", *map(str, range(10))), (64, 64)),
        },
        default=("count", "digits", "boxes", "mask"),
    ),
    Row(
        "shapes3d",
        labels={
            "shape": category("label_shape", 4),
            "scale": number("value_scale"),
            "orientation": number("value_orientation", unit="deg"),
            "floor_hue": category("label_floor_hue", 10),
            "wall_hue": category("label_wall_hue", 10),
            "object_hue": category("label_object_hue", 10),
        },
        default=("shape", "scale", "orientation", "floor_hue", "wall_hue", "object_hue"),
        splits=SLICED,
    ),
    Row(
        "dsprites",
        labels={
            "shape": category("label_shape", 3, ("square", "ellipse", "heart")),
            "scale": number("value_scale"),
            "position": vector(("value_x_position", "value_y_position")),
            # A class, as a square turned by a quarter is the same picture: no regression can hit it.
            "orientation": category("label_orientation", 40),
        },
        default=("shape", "scale", "position"),
        splits=SLICED,
        white=1,
    ),
    Row(
        "celeb_a",
        labels=_celeb_a_labels(),
        default=tuple(_celeb_a_labels()),
    ),
    Row(
        "oxford_iiit_pet",
        labels={
            "breed": category("label", 37, _BREEDS.split()),
            "species": category("species", 2, ("Cat", "Dog")),
            "head_box": box("head_bbox"),
        },
        default=("breed", "species", "head_box"),
        # The official test split has no box at all, so that all three come from the official training split.
        splits=SLICED,
        image_size=(160, 160),
    ),
)
_ROWS = {row.name: row for row in _TABLE}


def names() -> list[str]:
    """Lists the sets that `load` knows.

    >>> names()
    ['digit_poses', 'multi_digits', 'digit_scenes', 'shapes3d', 'dsprites', 'celeb_a', 'oxford_iiit_pet']
    """
    return list(_ROWS)


def find(name: str, owner: str) -> Row:
    """Finds a set, or refuses the name with the near match."""
    fix = near(str(name), names())
    require(name in names(), owner, "name", "must be a dataset of kmtl.data.names()", name, fix)
    return _ROWS[name]


def choose_labels(row: Row, labels: Sequence[str] | None, owner: str) -> list[str]:
    """Returns the labels asked for, or the usual ones, or refuses what the set does not have."""
    if labels is None:
        return list(row.default)
    with Refusals(owner) as refusals:
        if isinstance(labels, str) or not labels:
            refusals.add("labels", "must be a list of labels", labels, f"Known: {', '.join(row.labels)}.")
            return []
        for name in labels:
            if name not in row.labels:
                refusals.add("labels", f"must be labels of {row.name!r}", name, near(str(name), row.labels))
        if len(set(labels)) < len(labels):
            refusals.add("labels", "must name each label once", list(labels))
    return list(labels)


def tasks(name: str, *, labels: Sequence[str] | None = None) -> list[Task]:
    """Makes the tasks that fit the labels of a set.

    Args:
        name: A set of `kmtl.data.names()`.
        labels: Which labels, in which order; None takes the set's usual ones.

    Returns:
        One task a label, named like the label.

    Raises:
        ValueError: If the set or a label is unknown.

    >>> tasks("digit_poses")
    [Classification('digit'), Regression('angle'), Regression('position')]
    >>> tasks("digit_poses", labels=["scale"])
    [Regression('scale')]
    """
    row = find(name, "tasks")
    return row.tasks(choose_labels(row, labels, "tasks"))
