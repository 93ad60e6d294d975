"""Made-up raw files in the forms that the classic datasets are published in."""

import functools
import gzip
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jaxvae.data import builders, prepare

Content = dict[str, tuple[np.ndarray, list[int] | None]]


def idx(array):
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def write_mnist(folder, rng):
    content = {}
    for split, stem, count in (("train", "train", 5), ("test", "t10k", 3)):
        images, labels = rng.integers(0, 256, (count, 28, 28), np.uint8), rng.integers(0, 10, count)
        (folder / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (folder / f"{stem}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
        content[split] = images[..., None], labels.tolist()
    return content


def write_emnist(folder, rng):
    content = {}
    with zipfile.ZipFile(folder / "gzip.zip", "w") as archive:
        for split, count in (("train", 5), ("test", 3)):
            images, labels = rng.integers(0, 256, (count, 28, 28), np.uint8), rng.integers(0, 62, count)
            for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
                archive.writestr(f"gzip/emnist-byclass-{split}-{kind}-ubyte.gz", gzip.compress(idx(array)))
                archive.writestr(f"gzip/emnist-letters-{split}-{kind}-ubyte.gz", b"of another configuration")
            content[split] = images[..., None], labels.tolist()
    return content


def write_cifar(folder, rng, name, prefix, records, names):
    content: dict[str, list] = {"train": [], "test": []}
    with tarfile.open(folder / name, "w:gz") as tar:

        def add(member, data):
            info = tarfile.TarInfo(prefix + member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

        for split, members in records.items():
            for member in members:
                images = rng.integers(0, 256, (3, 32, 32, 3), np.uint8)
                marks = np.stack([rng.integers(0, len(words), 3) for words in names.values()], axis=1)
                planes = images.transpose(0, 3, 1, 2).reshape(3, -1)
                add(member, np.concatenate([marks.astype(np.uint8), planes], axis=1).tobytes())
                content[split] += zip(images, marks[:, -1].tolist(), strict=True)
        for member, words in names.items():
            add(member, ("\n".join(words) + "\n\n").encode())
    return {split: (np.stack([i for i, _ in pairs]), [y for _, y in pairs]) for split, pairs in content.items()}


def write_cifar10(folder, rng):
    records = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
    names = {"batches.meta.txt": [f"class{i}" for i in range(10)]}
    return write_cifar(folder, rng, "cifar-10-binary.tar.gz", "cifar-10-batches-bin/", records, names)


def write_cifar100(folder, rng):
    records = {"train": ["train.bin"], "test": ["test.bin"]}
    names = {
        "coarse_label_names.txt": [f"coarse{i}" for i in range(20)],
        "fine_label_names.txt": [f"fine{i}" for i in range(100)],
    }
    return write_cifar(folder, rng, "cifar-100-binary.tar.gz", "cifar-100-binary/", records, names)


def write_omniglot(folder, rng):
    """An alphabet that all splits have, and one more, with characters numbered throughout."""
    from PIL import Image

    content = {}
    for split, stem, own in (
        ("train", "background", "Tifinagh"),
        ("test", "evaluation", "Angelic"),
        ("small1", "background_small1", "Tifinagh"),
        ("small2", "background_small2", "Angelic"),
    ):
        images, labels = [], []
        with zipfile.ZipFile(folder / f"images_{stem}.zip", "w") as archive:
            for alphabet, first in sorted({"Greek": 1, own: 3 if own == "Tifinagh" else 5}.items()):
                for character in (1, 2):
                    image = rng.integers(0, 2, (105, 105), np.uint8)
                    file = io.BytesIO()
                    Image.fromarray(image * np.uint8(255)).convert("1").save(file, "png")
                    label = first + character - 1
                    name = f"images_{stem}/{alphabet}/character{character:02d}/{label:04d}_01.png"
                    archive.writestr(name, file.getvalue())
                    images.append(image[..., None])
                    labels.append(label - 1)
        content[split] = np.stack(images), labels
    return content


def write_binarized_mnist(folder, rng):
    content = {}
    for split, stem, count in (("train", "train", 5), ("validation", "valid", 2), ("test", "test", 3)):
        digits = rng.integers(0, 2, (count, 784))
        np.savetxt(folder / f"binarized_mnist_{stem}.amat", digits, fmt="%d", delimiter=" ")
        content[split] = digits.reshape(count, 28, 28, 1).astype(np.uint8), None
    return content


def write_svhn_cropped(folder, rng):
    """Splits of their own for which there is no word elsewhere, and 10 for the digit 0."""
    from scipy.io import savemat

    content = {}
    for split, count in (("train", 6), ("test", 3), ("extra", 2)):
        images, labels = rng.integers(0, 256, (count, 32, 32, 3), np.uint8), rng.integers(0, 10, count)
        marks = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
        savemat(folder / f"{split}_32x32.mat", {"X": np.moveaxis(images, 0, -1), "y": marks})
        content[split] = images, labels.tolist()
    return content


def write_celeb_a(folder, rng):
    """JPEGs in a zip, and what is told of each in lines of its own."""
    from PIL import Image

    content, lines = {}, {name: [] for name in ("eval_partition", "attr_celeba", "landmarks_align_celeba", "identity")}
    number = 0
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        for part, (split, count) in enumerate((("train", 3), ("validation", 2), ("test", 2))):
            images = []
            for _ in range(count):
                number += 1
                name, file = f"{number:06}.jpg", io.BytesIO()
                Image.fromarray(rng.integers(0, 256, (218, 178, 3), np.uint8)).save(file, "jpeg")
                archive.writestr(f"img_align_celeba/{name}", file.getvalue())
                images.append(np.asarray(Image.open(file)))
                lines["eval_partition"].append(f"{name} {part}")
                lines["attr_celeba"].append(f"{name}{'  1 -1' * 20}")
                lines["landmarks_align_celeba"].append(f"{name}{'  60' * 10}")
                lines["identity"].append(f"{name} 7")
            content[split] = np.stack(images), None
    heads = {
        "attr_celeba": f"{number}\n{ATTRIBUTES}\n",
        "landmarks_align_celeba": f"{number}\n{' '.join(f'{p}_{x}' for p in LANDMARKS.split() for x in 'xy')}\n",
    }
    for name, rows in lines.items():
        file = "identity_CelebA.txt" if name == "identity" else f"list_{name}.txt"
        (folder / file).write_text(heads.get(name, "") + "\n".join(rows) + "\n")
    return content


ATTRIBUTES = (
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair "
    "Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male "
    "Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks "
    "Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace "
    "Wearing_Necktie Young"
)
LANDMARKS = "lefteye righteye nose leftmouth rightmouth"


def write_telugu(folder, rng):
    """A configuration that isn't the default one, and whose files are named as the others' are."""
    content = {}
    for split, stem, count in (("train", "training", 5), ("test", "testing", 3)):
        images, labels = rng.integers(0, 256, (count, 32, 32, 3), np.uint8), rng.integers(0, 10, count)
        np.savez(folder / f"{stem}-images.npz", images=images, labels=labels)
        content[split] = images, labels.tolist()
    return content


def write_malaria(folder, rng):
    """PNGs in folders by class, in an archive that has to be extracted; in one split."""
    from PIL import Image

    images, labels = rng.integers(0, 256, (20, 7, 5, 3), np.uint8), [0, 1] * 10
    with zipfile.ZipFile(folder / "cell_images.zip", "w") as archive:
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            file = io.BytesIO()
            Image.fromarray(image).save(file, "png")
            archive.writestr(f"cell_images/{('Parasitized', 'Uninfected')[label]}/{i}.png", file.getvalue())
    return {"train": (images, labels)}


WRITERS = {
    "mnist": write_mnist,
    "fashion_mnist": write_mnist,
    "kmnist": write_mnist,
    "emnist": write_emnist,
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
    "omniglot": write_omniglot,
    "binarized_mnist": write_binarized_mnist,
    "svhn_cropped": write_svhn_cropped,
    "celeb_a": write_celeb_a,
    "cmaterdb/telugu": write_telugu,
    "malaria": write_malaria,
}


@pytest.fixture
def write_raw():
    """Writes a dataset's raw files into a folder, and returns images and labels by split."""

    def write(name: str, folder: Path) -> Content:
        folder.mkdir(exist_ok=True)
        return WRITERS[name](folder, np.random.default_rng(0))

    return write


@pytest.fixture
def tfds():
    import tensorflow_datasets

    tensorflow_datasets.disable_progress_bar()
    yield tensorflow_datasets
    tensorflow_datasets.enable_progress_bar()


@pytest.fixture
def prepare_made_up(tfds, monkeypatch, write_raw, tmp_path):
    """Prepares made-up raw files as a dataset, their checksums registered in place of the real ones."""
    real = builders._builder

    def run(name, source=tmp_path / "raw", host=None):
        content = write_raw(name, tmp_path / "raw")

        def builder(name, data_dir):
            made = real(name, data_dir)
            infos = {}
            for url, info in made.url_infos.items():
                data = (tmp_path / "raw" / info.filename).read_bytes()
                if "/" in name and name.partition("/")[2] not in url:  # of another configuration
                    data = bytes(1)
                url = f"{host}/{info.filename}" if host else url
                infos[url] = type(info)(len(data), hashlib.sha256(data).hexdigest(), info.filename)
            monkeypatch.setattr(type(made), "url_infos", infos)
            if name == "omniglot":  # fewer than its 50 alphabets and 1,623 characters
                for feature in ("alphabet", "label"):
                    made.info.features[feature]._num_classes = None
            return made

        monkeypatch.setattr(builders, "_builder", builder)
        return content, prepare(name, source, tmp_path / "data")

    return run


@pytest.fixture
def host(monkeypatch, tmp_path):
    """Serves the raw files to this machine."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    (tmp_path / "raw").mkdir()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=tmp_path / "raw")
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def check():
    """That the dataset is the content but for the order, labels with their images."""

    def compare(data, content):
        assert set(content) >= set(data.splits) >= {"train", "test"}
        for name, split in data.splits.items():
            images, labels = content[name]
            assert split.images.shape == images.shape
            found = split.labels.tolist() if split.labels is not None else [None] * len(split)
            expected = {
                image.tobytes(): label for image, label in zip(images, labels or [None] * len(images), strict=True)
            }
            assert {image.tobytes(): label for image, label in zip(split.images, found, strict=True)} == expected

    return compare
