"""Reading the user's data: named columns out of CSV, JSONL, Parquet or a Hugging Face `datasets` folder.

Images are given as paths in a column, or as a folder whose subfolders are their classes.

A bad row stops the reading at once, with the file, the line and the reason.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import random
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from mrl_edge.errors import DataError, UsageError
from mrl_edge.groups import linked_rows

BUILTIN = "builtin:"
_BUILTIN_FOLDER = Path(__file__).parent / "data"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_Row = tuple[int, dict[str, Any]]
_INPUTS = ("query", "text", "image")
_TEXTS = (*_INPUTS, "positive")


@dataclass(frozen=True)
class Columns:
    """Which columns of a table mean what; the same options name them in every command."""

    text: str | None = None
    image: str | None = None  # paths, absolute or from the table's own folder
    label: str | None = None
    query: str | None = None
    positive: str | None = None
    negative: str | None = None
    score: str | None = None  # graded similarity of query and positive
    superclass: str | None = None  # of the label

    def named(self) -> dict[str, str]:
        """Return the roles that have a column, as role → column."""
        return {role: column for role, column in asdict(self).items() if column is not None}


@dataclass(frozen=True)
class Table:
    """Texts by role (as in `Columns`), row by row, all of one length.

    Each `score` reads as a finite number, and each `image` is the path of a file that is there.
    """

    source: str
    roles: dict[str, list[str]]

    def __len__(self) -> int:
        return len(next(iter(self.roles.values())))

    def split(self, fraction: float, seed: int) -> tuple[Table, Table]:
        """Return the rows in two parts, the second a random `fraction` of them (at least one row).

        No text or image is in both parts. Where positives are so few, or link so many queries, that this leaves no
        such part, a positive may be in both. Raises `UsageError` where the inputs themselves are too few.
        """
        for roles in (_TEXTS, _INPUTS):
            groups = linked_rows([self.roles[role] for role in roles if role in self.roles], len(self))
            held = _held_out(groups, max(1, round(fraction * len(self))), seed)
            if held:
                return self._rows(i for i in range(len(self)) if i not in held), self._rows(sorted(held))
        raise UsageError(f"{self.source}: too few different inputs to hold some out as dev rows: give them with --dev")

    def first(self, count: int | None) -> Table:
        """Return the first `count` rows (None: all)."""
        return self if count is None else self._rows(range(min(count, len(self))))

    def sample(self, count: int | None) -> Table:
        """Return at most `count` rows (None: all): the first ones, of class folders as many of each as there are.

        The rows of class folders come a class after the other, so their first ones would be of one class.
        """
        if count is None or count >= len(self) or not _is_class_folder(Path(self.source)):
            return self.first(count)
        folder = Path(self.source)
        classes = self.roles.get("label") or [Path(path).relative_to(folder).parts[0] for path in self.roles["image"]]
        met: Counter[str] = Counter()
        turns = []  # of each row: its number within its class
        for name in classes:
            turns.append(met[name])
            met[name] += 1
        return self._rows(sorted(sorted(range(len(self)), key=turns.__getitem__)[:count]))

    def _rows(self, order: Any) -> Table:
        chosen = list(order)
        return Table(self.source, {role: [texts[i] for i in chosen] for role, texts in self.roles.items()})


def read_table(source: str, columns: Columns) -> Table:
    """Read the columns that `columns` names from a file, a `datasets` folder or `builtin:NAME/SPLIT`.

    A folder of class folders has the columns `image` and `label`, and both are read where none is named.
    Raises `DataError` for a file or column that is not there, for an empty table, and for the first bad row.
    """
    wanted = columns.named() or _class_folder_columns(source)
    if not wanted:
        raise DataError(f"{source}: say which columns to read, with --text, --image, --label, --query or --positive")
    roles: dict[str, list[str]] = {role: [] for role in wanted}
    for line, row in _rows(source, sorted(set(wanted.values()))):
        for role, column in wanted.items():
            text = _cell(source, line, column, row.get(column))
            if role == "score" and not _is_finite(text):
                raise DataError(f"{source}, line {line}: column {column!r} is no finite number: {text!r}")
            roles[role].append(_image_path(source, line, text) if role == "image" else text)
    if not next(iter(roles.values())):
        raise DataError(f"{source}: no rows")
    return Table(source, roles)


def image_files(folder: Path) -> list[Path]:
    """Return the images in a folder and its folders, by the endings of their names."""
    images = [item for item in sorted(folder.rglob("*")) if item.suffix.lower() in IMAGE_SUFFIXES]
    return [item for item in images if item.is_file() and not item.name.startswith(".")]


def spread(count: int, wanted: int | None) -> list[int]:
    """Return `wanted` of the numbers from 0 to `count` - 1, evenly spread, the first and the last among them."""
    if wanted is None or wanted >= count:
        return list(range(count))
    return [round(i * (count - 1) / max(1, wanted - 1)) for i in range(wanted)]


def _held_out(groups: list[list[int]], wanted: int, seed: int) -> set[int]:
    """Return the rows of two or more random groups, half to twice as many as `wanted`; none where that cannot be."""
    order = list(groups)
    random.Random(seed).shuffle(order)  # noqa: S311 (a data split, not a secret)
    held: set[int] = set()
    count = 0
    for group in order:
        if len(held) < wanted and len(held) + len(group) <= 2 * wanted:
            held |= {*group}
            count += 1
    fits = count >= min(wanted, 2) and count < len(groups) and 2 * len(held) >= wanted
    return held if fits else set()


def _cell(source: str, line: int, column: str, value: Any) -> str:
    if isinstance(value, float) and math.isnan(value):
        value = None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        kind = "missing" if value is None else f"not a text but {type(value).__name__}"
        raise DataError(f"{source}, line {line}: column {column!r} is {kind}")
    if not value.strip():
        raise DataError(f"{source}, line {line}: column {column!r} is empty")
    return value


def _image_path(source: str, line: int, name: str) -> str:
    """Return the path of an image that a table names, absolute or from the table's own folder."""
    table = _locate(source)
    path = (table if table.is_dir() else table.parent) / name
    if not path.is_file():
        raise DataError(f"{source}, line {line}: no such image: {name}")
    return str(path)


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _rows(source: str, columns: Sequence[str]) -> Iterator[_Row]:
    path = _locate(source)
    if _is_class_folder(path):
        return _class_folder_rows(source, path, columns)
    if path.is_dir():
        return _dataset_rows(source, path, columns)
    name = path.name.lower().removesuffix(".gz")
    for suffix, reader in _READERS.items():
        if name.endswith(suffix):
            return reader(source, path, columns)
    raise DataError(f"{source}: unknown kind of file; expected {', '.join(_READERS)} (or any of them .gz)")


def _locate(source: str) -> Path:
    if source.startswith(BUILTIN):
        path = _BUILTIN_FOLDER / f"{source.removeprefix(BUILTIN)}.csv.gz"
        if not path.is_file() or _BUILTIN_FOLDER not in path.resolve().parents:
            found = sorted(_BUILTIN_FOLDER.glob("*/*.csv.gz"))
            names = ", ".join(f"{BUILTIN}{p.parent.name}/{p.name.removesuffix('.csv.gz')}" for p in found)
            raise DataError(f"{source}: no such built-in data; there is {names}")
        return path
    path = Path(source)
    if not path.exists():
        raise DataError(f"{source}: no such file or folder")
    return path


def _open(path: Path) -> BinaryIO:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")  # type: ignore[return-value]


def _lines(source: str, path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text with its line end); decoded line by line so that errors name the line."""
    number = 0
    try:
        with _open(path) as file:
            for number, raw in enumerate(file, 1):
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{source}, line {number}: not UTF-8 ({error.reason})") from None
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{source}, after line {number}: damaged gzip file ({error})") from None


def _csv_rows(source: str, path: Path, columns: Sequence[str]) -> Iterator[_Row]:
    delimiter = "\t" if path.name.lower().removesuffix(".gz").endswith(".tsv") else ","
    csv.field_size_limit(1 << 30)
    reader = csv.reader((text for _, text in _lines(source, path)), strict=True, delimiter=delimiter)
    start = 1
    header: list[str] | None = None
    try:
        for fields in reader:
            if header is None:
                header = fields
                _check_columns(source, header, columns)
            elif fields:
                if len(fields) != len(header):
                    raise DataError(f"{source}, line {start}: {len(fields)} fields, but the header has {len(header)}")
                yield start, dict(zip(header, fields, strict=True))
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{source}, line {start}: {error}") from None
    if header is None:
        raise DataError(f"{source}: the file is empty")


def _jsonl_rows(source: str, path: Path, columns: Sequence[str]) -> Iterator[_Row]:
    decoder = msgspec.json.Decoder()
    first = True
    for line, text in _lines(source, path):
        if not text.strip():
            continue
        try:
            row = decoder.decode(text)
        except msgspec.DecodeError as error:
            raise DataError(f"{source}, line {line}: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f'{source}, line {line}: expected an object, as in {{"text": "…"}}')
        if first:
            _check_columns(source, list(row), columns)
            first = False
        yield line, row
    if first:
        raise DataError(f"{source}: the file is empty")


def _parquet_rows(source: str, path: Path, columns: Sequence[str]) -> Iterator[_Row]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DataError(f"{source}: reading Parquet needs pyarrow: pip install pyarrow") from None
    try:
        with _open(path) as file:
            table = parquet.ParquetFile(io.BytesIO(file.read()))
            _check_columns(source, table.schema_arrow.names, columns)
            line = 0
            for batch in table.iter_batches(columns=list(columns)):
                for row in batch.to_pylist():
                    line += 1
                    yield line, row
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError, zlib.error, EOFError) as error:
        raise DataError(f"{source}: not a readable Parquet file ({error})") from None


def _dataset_rows(source: str, path: Path, columns: Sequence[str]) -> Iterator[_Row]:
    if (path / "dataset_dict.json").is_file():
        splits = sorted(item.parent.name for item in path.glob("*/state.json"))
        raise DataError(
            f"{source}: name one split of this dataset, as in {path / (splits or ['train'])[0]}; it has {splits}"
        )
    if not (path / "state.json").is_file():
        raise DataError(f"{source}: a folder, but none that datasets.save_to_disk wrote (no state.json)")
    try:
        import datasets
    except ImportError:
        raise DataError(f"{source}: reading a datasets folder needs: pip install datasets") from None
    try:
        table = datasets.load_from_disk(str(path))
    except Exception as error:  # whatever Arrow, JSON and the library itself make of damage
        raise DataError(f"{source}: not a readable datasets folder ({error})") from None
    _check_columns(source, table.column_names, columns)
    names: dict[str, Any] = {column: getattr(table.features[column], "names", None) for column in columns}
    for line, row in enumerate(table.select_columns(list(columns)), 1):
        yield line, {column: _class_name(names[column], value) for column, value in row.items()}


def _is_class_folder(path: Path) -> bool:
    """Whether a folder holds folders, and no `datasets` library wrote it."""
    ours = not any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))
    return path.is_dir() and ours and bool(_visible_folders(path))


def _visible_folders(path: Path) -> list[Path]:
    return sorted(item for item in path.iterdir() if item.is_dir() and not item.name.startswith("."))


def _class_folder_columns(source: str) -> dict[str, str]:
    """Return the roles of a folder of class folders, which need no naming; none for any other source."""
    return {"image": "image", "label": "label"} if _is_class_folder(_locate(source)) else {}


def _class_folder_rows(source: str, path: Path, columns: Sequence[str]) -> Iterator[_Row]:
    _check_columns(source, ("image", "label"), columns)
    line = 0
    for folder in _visible_folders(path):
        images = image_files(folder)
        if not images:
            raise DataError(f"{source}: its class folder {folder.name!r} has no images ({', '.join(IMAGE_SUFFIXES)})")
        for image in images:
            line += 1
            yield line, {"image": str(image.relative_to(path)), "label": folder.name}


def _class_name(names: Sequence[str] | None, value: Any) -> Any:
    """Return the name of a ClassLabel's number; the library writes -1 for a row without a label."""
    if names is None or not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None


def _check_columns(source: str, present: Sequence[str], wanted: Sequence[str]) -> None:
    for column in wanted:
        if list(present).count(column) > 1:
            raise DataError(f"{source}: two columns are called {column!r}")
        if column not in present:
            raise DataError(f"{source}: no column {column!r}; it has {', '.join(present) or 'none'}")


_READERS = {
    ".csv": _csv_rows,
    ".tsv": _csv_rows,
    ".jsonl": _jsonl_rows,
    ".parquet": _parquet_rows,
}
