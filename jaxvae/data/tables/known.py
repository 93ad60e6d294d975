"""Tables that packages contain, which need no network: their descriptions, licences and readers."""

import dataclasses
import importlib.util
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from jaxvae.arguments import require
from jaxvae.data.tables.columns import Kind
from jaxvae.data.tables.contents import AS_IT_IS, TableContents, TableReading
from jaxvae.data.tables.frames import frame_contents
from jaxvae.data.tables.matrices import matrix_contents
from jaxvae.data.tables.tabular import DataTable, build_table
from jaxvae.extras import load_extra


class Known(NamedTuple):
    """A table known by name.

    Attributes:
        note: a description in a few words.
        licence: the licence of the data.
        package: the package that contains it.
        read: a function that returns its content and how to read that; it raises ImportError without the extra.
    """

    note: str
    licence: str
    package: str
    read: Callable[[str], tuple[TableContents, TableReading]]

    @property
    def there(self) -> bool:
        """Whether the package is installed."""
        return importlib.util.find_spec(self.package) is not None


def load_known(
    name: str,
    reading: TableReading = AS_IT_IS,
    *,
    rows: int | None = None,
    like: Mapping[str, Kind] = MappingProxyType({}),
) -> DataTable:
    """Loads a table by its name in ``KNOWN``; its last notes have its description and its licence.

    Args:
        name: the name of the table.
        reading: options that differ from the table's usual ones.
        rows: as in ``build_table``.
        like: as in ``build_table``.

    Raises:
        ValueError: for an unknown name.
        ImportError: if the extra ``datasets`` isn't installed.
    """
    require(name in KNOWN, "table", name, f"one of {', '.join(KNOWN)}")
    known = KNOWN[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # packages' warnings about themselves and about files left open
        contents, usual = known.read(name)
    table = build_table(contents, _said(reading, usual), rows=rows, like=like)
    return dataclasses.replace(table, notes=(*table.notes, f"It is {known.note}.", f"Licence: {known.licence}."))


def _said(reading: TableReading, usual: TableReading) -> TableReading:
    """Returns the given options, and the usual ones for the rest; only one way to split applies."""
    if reading.split or reading.group or reading.stratified:
        usual = dataclasses.replace(usual, split=None, stratified=False)
    default = {field.name: getattr(AS_IT_IS, field.name) for field in dataclasses.fields(TableReading)}
    given = {name: value for name, x in default.items() if (value := getattr(reading, name)) != x}
    return dataclasses.replace(usual, **{**given, "kinds": {**usual.kinds, **reading.kinds}})


def _randhie(name: str) -> tuple[TableContents, TableReading]:
    module = load_extra(name, "statsmodels.datasets.randhie", "datasets")
    kinds = dict.fromkeys(("idp", "hlthg", "hlthf", "hlthp"), "binary")
    kinds |= dict.fromkeys(("lncoins", "lpi", "fmde", "physlm", "disea"), "real") | {"mdvis": "count"}
    return frame_contents(name, module.load_pandas().data, name), TableReading(kinds=kinds)


def _reuters(name: str) -> tuple[TableContents, TableReading]:
    library = load_extra(name, "lda.datasets", "datasets")
    sparse = load_extra(name, "scipy.sparse", "train")
    counts, titles = library.load_reuters(), np.array(library.load_reuters_titles())
    found = matrix_contents(name, sparse.csr_array(counts), tuple(library.load_reuters_vocab()), names=titles)
    return found, TableReading(kinds={"*": "count"})


def _of_scikit_learn(function: str) -> Callable[[str], tuple[TableContents, TableReading]]:
    def read(name: str) -> tuple[TableContents, TableReading]:
        library = load_extra(name, "sklearn.datasets", "datasets")
        found = getattr(library, function)()
        labels = np.array(found.target_names)[found.target].astype(object)
        contents = matrix_contents(name, found.data, tuple(map(str, found.feature_names)), about={"class": labels})
        return contents, TableReading(label="class", stratified=True, kinds={"*": "real"})

    return read


def _japanese_vowels(name: str) -> tuple[TableContents, TableReading]:
    """Reads sequences as rows; entry "c3 t7" is coefficient 3 at time 7, missing beyond the sequence's end."""
    library = load_extra(name, "sktime.datasets", "datasets")
    series: list[Any] = []
    speakers: list[Any] = []
    splits: list[str] = []
    for split in ("train", "test"):
        x, y = library.load_japanese_vowels(split=split, return_X_y=True, return_type="nested_univ")
        series += [np.stack([np.asarray(channel) for channel in row]) for row in x.to_numpy()]
        speakers += y.tolist()
        splits += [split] * len(y)
    length, channels = max(one.shape[1] for one in series), series[0].shape[0]
    values = np.full((len(series), length, channels), np.nan)
    for row, one in zip(values, series, strict=True):
        row[: one.shape[1]] = one.T
    names = tuple(f"c{c + 1} t{t + 1}" for t in range(length) for c in range(channels))
    about = {"speaker": np.array(speakers, object), "split": np.array(splits, object)}
    contents = matrix_contents(name, values.reshape(len(series), -1), names, about=about)
    return contents, TableReading(label="speaker", split="split", kinds={"*": "real"})


KNOWN: Mapping[str, Known] = MappingProxyType(
    {
        "randhie": Known(
            "20,190 person-years of the RAND health insurance experiment: visits to a doctor, and nine covariates",
            "public domain",
            "statsmodels",
            _randhie,
        ),
        "reuters": Known(
            "counts of 4,258 words in 395 news of Reuters",
            "MPL 2.0, as the package lda that ships it",
            "lda",
            _reuters,
        ),
        "breast_cancer": Known(
            "30 measurements of 569 biopsies, malignant or benign (Wisconsin)",
            "CC BY 4.0, UCI; shipped by scikit-learn, BSD-3-Clause",
            "sklearn",
            _of_scikit_learn("load_breast_cancer"),
        ),
        "wine": Known(
            "13 measurements of 178 wines of three cultivars",
            "CC BY 4.0, UCI; shipped by scikit-learn, BSD-3-Clause",
            "sklearn",
            _of_scikit_learn("load_wine"),
        ),
        "japanese_vowels": Known(
            "640 utterances of nine speakers: 12 coefficients at 7 to 29 times",
            "CC BY 4.0, UCI; shipped by sktime, BSD-3-Clause",
            "sktime",
            _japanese_vowels,
        ),
    }
)
"""The known tables, by name."""
