"""The one table of published data sets: to add one, add its value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fnnet.checks import flag, instance_of, items_of, path_text, whole_number
from fnnet.data.download import RemoteFile

_MOST = 2**32 - 1  # that the header of a file can say
Files = tuple[RemoteFile, RemoteFile, RemoteFile, RemoteFile]


@dataclass(frozen=True, slots=True, repr=False)
class Source:
    """A data set of four IDX files: where it is published, and what must come from there.

    Attributes
    ----------
    name : as `load_dataset` takes it, and its folder in the cache is called
    title : as people write it
    mirrors : URLs of folders that hold the files; none if they come in an archive, say: then the
        user puts them into a folder
    files : training images, training labels, test images, test labels
    classes : what each class is called, in the order of the labels
    counts : how many images there are to train and to test
    image_shape : of an image as it is loaded, height first
    first_label : what the files call the first class, which is loaded as 0
    transposed : whether the files hold the images column by column
    licence, citation : what a user must know
    """

    name: str
    title: str
    mirrors: tuple[str, ...]
    files: Files
    classes: tuple[str, ...]
    counts: tuple[int, int] = (60_000, 10_000)
    image_shape: tuple[int, ...] = (28, 28)
    first_label: int = 0
    transposed: bool = False
    licence: str = ""
    citation: str = ""

    def __post_init__(self) -> None:
        for name in ("name", "title", "licence", "citation"):
            instance_of(str, name, getattr(self, name))
        path_text("name", self.name)
        for name in ("mirrors", "files", "classes", "counts", "image_shape"):
            object.__setattr__(self, name, items_of(name, getattr(self, name), "values"))
        for name, kind in (("mirrors", str), ("files", RemoteFile), ("classes", str)):
            for item in getattr(self, name):
                instance_of(kind, f"each of {name}", item)
        if (len(self.files), len(self.counts)) != (4, 2):
            found = f"{len(self.files)} and {len(self.counts)}"
            raise ValueError(f"files must be four and counts two, got {found}")
        if not (self.classes and self.image_shape):
            raise ValueError("classes and image_shape must not be empty, got one that is")
        for name, least in (("counts", 0), ("image_shape", 1)):
            for number in getattr(self, name):
                whole_number(name, number, least, _MOST)
        whole_number("first_label", self.first_label, 0, 255)
        if flag("transposed", self.transposed) and len(self.image_shape) < 2:
            raise ValueError(
                f"image_shape must have two sides to be transposed: {self.image_shape}"
            )

    def __repr__(self) -> str:
        sizes = "x".join(map(str, self.image_shape))
        counts = " + ".join(f"{count:,}" for count in self.counts)
        return f"Source({self.name}, {counts} images {sizes}, {len(self.classes)} classes)"


def _as_mnist(
    algorithm: str,
    sizes: tuple[int, int, int, int],
    digests: tuple[str, str, str, str],
    contents: tuple[str | None, str | None, str | None, str | None] = (None, None, None, None),
) -> Files:
    """Four files under the names that MNIST's have."""

    def file(i: int, name: str) -> RemoteFile:
        return RemoteFile(f"{name}-ubyte.gz", sizes[i], algorithm, digests[i], contents[i])

    return (
        file(0, "train-images-idx3"),
        file(1, "train-labels-idx1"),
        file(2, "t10k-images-idx3"),
        file(3, "t10k-labels-idx1"),
    )


# The table: a new data set is one more value here.
_TABLE = (
    Source(
        name="mnist",
        title="MNIST",
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ),
        files=_as_mnist(
            "sha256",
            (9_912_422, 28_881, 1_648_877, 4_542),
            (
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
            (
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
        classes=tuple("0123456789"),
        citation="LeCun, Cortes and Burges 1998, The MNIST database of handwritten digits",
    ),
    Source(
        name="fashion-mnist",
        title="Fashion-MNIST",
        mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",),
        files=_as_mnist(
            "md5",
            (26_421_880, 29_515, 4_422_102, 5_148),
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ),
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        licence="MIT",
        citation="Xiao, Rasul and Vollgraf 2017, Fashion-MNIST, arXiv:1708.07747",
    ),
    Source(
        name="kmnist",
        title="KMNIST",
        mirrors=("http://codh.rois.ac.jp/kmnist/dataset/kmnist",),
        files=_as_mnist(
            "md5",
            (18_165_135, 29_497, 3_041_136, 5_120),
            (
                "bdb82020997e1d708af4cf47b453dcf7",
                "e144d726b3acfaa3e44228e80efcd344",
                "5c965bf0a639b31b8f53240b1b52f4d7",
                "7320c461ea6c1c855c0b718fb2a4b134",
            ),
        ),
        classes=tuple("おきすつなはまやれを"),
        licence="CC BY-SA 4.0",
        citation="Clanuwat et al. 2018, Deep learning for classical Japanese literature, "
        "arXiv:1812.01718",
    ),
)

SOURCES: Mapping[str, Source] = MappingProxyType({source.name: source for source in _TABLE})
NAMES: tuple[str, ...] = (*SOURCES, "digits")  # all that `load_dataset` takes
MNIST, FASHION_MNIST, KMNIST = (SOURCES[name] for name in ("mnist", "fashion-mnist", "kmnist"))


def title_of(name: str) -> str:
    """What people call a data set of `NAMES`.

    Parameters
    ----------
    name : as `load_dataset` takes it, or that of another data set

    Returns
    -------
    title : "Fashion-MNIST", say; another name with a capital letter

    Raises
    ------
    TypeError
        If `name` is not a str.
    """
    instance_of(str, "name", name)
    return SOURCES[name].title if name in SOURCES else name.capitalize()
