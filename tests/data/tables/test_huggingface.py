import numpy as np
import pytest
from PIL import Image

datasets = pytest.importorskip("datasets")

from jaxvae.data.tables.huggingface import is_saved_dataset, read_saved_columns, read_saved_images  # noqa: E402

FEATURES = datasets.Features(
    {
        "size": datasets.Value("float32"),
        "place": datasets.Value("string"),
        "kind": datasets.ClassLabel(names=["no", "yes"]),
        "tags": datasets.List(datasets.Value("int64")),
        "picture": datasets.Image(),
    }
)
PICTURES = np.random.default_rng(0).integers(0, 256, (5, 4, 3, 3), np.uint8)


@pytest.fixture(autouse=True, scope="module")
def quiet():
    datasets.disable_progress_bars()


def made(rows):
    count = len(rows)
    return datasets.Dataset.from_dict(
        {
            "size": [float(row) for row in rows],
            "place": [None, *["x"] * (count - 1)],
            "kind": [row % 2 for row in rows],
            "tags": [[1]] * count,
            "picture": [Image.fromarray(PICTURES[row]) for row in rows],
        },
        features=FEATURES,
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Of a dataset that isn't split, and of one that is."""
    folder = tmp_path_factory.mktemp("saved")
    made([0, 1, 2]).save_to_disk(str(folder / "one"))
    datasets.DatasetDict({"train": made([0, 1, 2]), "dev": made([3, 4])}).save_to_disk(str(folder / "two"))
    return folder


def test_a_saved_dataset_is_known_by_its_files(folders):
    assert is_saved_dataset(folders / "one")
    assert is_saved_dataset(folders / "two")
    assert not is_saved_dataset(folders)


def test_numbers_strings_and_classes_are_columns(folders):
    found = read_saved_columns(folders / "one")
    assert list(found.columns) == ["size", "place", "kind"]
    np.testing.assert_array_equal(found.columns["size"], [0, 1, 2])
    assert found.columns["place"].tolist() == [None, "x", "x"]
    assert found.columns["kind"].tolist() == ["no", "yes", "no"]
    assert found.notes == (
        "Column 'tags' is left out: it holds List.",
        "Column 'picture' is left out: it holds Image.",
    )
    assert found.splits is None


def test_splits_are_those_of_the_dataset(folders):
    found = read_saved_columns(folders / "two")
    assert found.splits.tolist() == ["train"] * 3 + ["validation"] * 2
    np.testing.assert_array_equal(found.columns["size"], [0, 1, 2, 3, 4])
    assert found.place(3) == f"{folders / 'two'}/validation, row 1"


def test_images_are_arrays(folders):
    found = read_saved_images(folders / "two", "kind")
    assert sorted(found) == ["train_images", "train_labels", "validation_images", "validation_labels"]
    np.testing.assert_array_equal(found["train_images"], PICTURES[:3])
    np.testing.assert_array_equal(found["validation_images"], PICTURES[3:])
    assert found["validation_labels"].tolist() == ["yes", "no"]
    assert list(read_saved_images(folders / "one")) == ["images"]
    assert read_saved_images(folders / "one", "size")["labels"].tolist() == [0, 1, 2]


def test_what_does_not_fit_is_told(folders, tmp_path):
    with pytest.raises(ValueError, match=r"one: label must be one of size, place, kind, tags, picture, got 'class'$"):
        read_saved_images(folders / "one", "class")
    made([0, 1]).select_columns(["tags"]).save_to_disk(str(tmp_path / "lists"))
    with pytest.raises(ValueError, match=r"lists: columns must be of numbers, strings or classes, got \['tags'\]$"):
        read_saved_columns(tmp_path / "lists")
    with pytest.raises(ValueError, match=r"lists: columns must be one of images, got \['tags'\]$"):
        read_saved_images(tmp_path / "lists")
    sizes = [Image.new("L", (3, 4)), Image.new("L", (4, 3))]
    pictures = datasets.Features({"picture": datasets.Image()})
    datasets.Dataset.from_dict({"picture": sizes}, features=pictures).save_to_disk(str(tmp_path / "sizes"))
    message = r"sizes: column 'picture', row 2 must be of one size and mode, \(4, 3\) uint8, got '\(3, 4\) uint8'$"
    with pytest.raises(ValueError, match=message):
        read_saved_images(tmp_path / "sizes")
    datasets.DatasetDict({"extra": made([0])}).save_to_disk(str(tmp_path / "splits"))
    with pytest.raises(ValueError, match=r"splits: splits must be train, validation and test, got \['extra'\]$"):
        read_saved_columns(tmp_path / "splits")
    (tmp_path / "lists" / "state.json").write_text("{")
    with pytest.raises(ValueError, match=r"lists must be a saved dataset, got what can't be read"):
        read_saved_columns(tmp_path / "lists")
