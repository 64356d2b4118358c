"""The kinds of files that hold tables: CSV, JSONL, Parquet, `datasets` folders, folders of class folders.

Each reader yields (line or row number from 1, columns) and raises `DataError` with that number at the first bad row.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from mrl_edge.errors import DataError

BUILTIN = "builtin:"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_BUILTIN_FOLDER = Path(__file__).parent / "data"
_Row = tuple[int, dict[str, Any]]


def read_rows(source: str, columns: Sequence[str]) -> Iterator[_Row]:
    """Yield the rows of a source with at least the wanted columns; `DataError` where it is not one we read."""
    path = locate(source)
    if is_class_folder(path):
        return _class_folder_rows(source, path, columns)
    if path.is_dir():
        return _dataset_rows(source, path, columns)
    name = path.name.lower().removesuffix(".gz")
    for suffix, reader in _READERS.items():
        if name.endswith(suffix):
            return reader(source, path, columns)
    raise DataError(f"{source}: unknown kind of file; expected {', '.join(_READERS)} (or any of them .gz)")


def is_table(path: Path) -> bool:
    """Whether a file's name says that it is a table that we read."""
    return path.name.lower().removesuffix(".gz").endswith(tuple(_READERS))


def column_names(path: Path) -> tuple[str, ...]:
    """Return the columns of a table, by its head or its first row; `DataError` where that cannot be read."""
    if path.name.lower().endswith(".parquet"):
        return _parquet_columns(path)
    return tuple(next(iter(read_rows(str(path), ())), (0, {}))[1])


def locate(source: str) -> Path:
    """Return the path of a file, a folder or `builtin:NAME/SPLIT`; `DataError` when it is not there."""
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


def is_class_folder(path: Path) -> bool:
    """Whether a folder holds folders, and no `datasets` library wrote it."""
    ours = not any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))
    return path.is_dir() and ours and bool(_visible_folders(path))


def class_folder_columns(source: str) -> dict[str, str]:
    """Return the roles of a folder of class folders, which need no naming; none for any other source."""
    return {"image": "image", "label": "label"} if is_class_folder(locate(source)) else {}


def image_files(folder: Path) -> list[Path]:
    """Return the images in a folder and its folders, by the endings of their names."""
    images = [item for item in sorted(folder.rglob("*")) if item.suffix.lower() in IMAGE_SUFFIXES]
    return [item for item in images if item.is_file() and not item.name.startswith(".")]


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


def _parquet_columns(path: Path) -> tuple[str, ...]:
    """Read the names from the end of the file, and nothing else of it."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return ()
    try:
        return tuple(parquet.read_schema(path).names)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({error})") from None


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


def _visible_folders(path: Path) -> list[Path]:
    return sorted(item for item in path.iterdir() if item.is_dir() and not item.name.startswith("."))


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
