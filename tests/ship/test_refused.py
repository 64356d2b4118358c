"""What cannot be shipped, or was changed after it was, is one clear line."""

import json
import shutil

import numpy as np
import pytest
from conftest import run_here, the_one_error_line
from onnxruntime import get_available_providers

from mrl_edge.app import open_app
from mrl_edge.bundle import open_bundle
from mrl_edge.errors import BundleError, UnsupportedError
from mrl_edge.providers import PROVIDERS
from mrl_edge.ship import run as run_module

absent = pytest.mark.skipif(PROVIDERS["cuda"] in get_available_providers(), reason="this onnxruntime has CUDA")


@pytest.mark.parametrize("file", ["model/weights.bin", "index/vectors.bin", "mrl_edge/app.py", "tokenizer.json"])
def test_a_changed_or_missing_file_is_named(shipped, tmp_path, file):
    app = tmp_path / "app"
    shutil.copytree(shipped, app)
    path = app / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=f"{path.name} is not the file that was shipped"):
        open_app(app)
    path.unlink()
    with pytest.raises(BundleError, match=f"{path.name} is missing"):
        open_app(app)


@absent
def test_a_folder_for_a_gpu_says_what_is_missing_and_does_not_take_the_processor(shipped, tmp_path):
    app = tmp_path / "app"
    shutil.copytree(shipped, app)
    said = json.loads((app / "app.json").read_text())
    assert said["provider"] == "cpu"
    (app / "app.json").write_text(json.dumps({**said, "provider": "cuda"}))
    with pytest.raises(UnsupportedError, match=r"provider cuda: onnxruntime .* pip install 'onnxruntime-gpu"):
        open_app(app).search("abc")


def test_a_folder_that_was_shipped_before_there_were_providers_opens_on_the_processor(shipped, tmp_path):
    app = tmp_path / "app"
    shutil.copytree(shipped, app)
    said = json.loads((app / "app.json").read_text())
    assert (said.pop("provider"), said["schema_version"]) == ("cpu", 2)
    (app / "app.json").write_text(json.dumps({**said, "schema_version": 1}))
    assert open_app(app).search("abc", k=3) == open_app(shipped).search("abc", k=3)


def test_a_folder_for_a_gpu_requires_its_onnxruntime():
    assert run_module._requirements((), "cuda")[0].startswith("onnxruntime-gpu[cuda,cudnn]==")
    assert run_module._requirements((), "cpu")[0].startswith("onnxruntime==")


def test_every_file_is_listed_and_the_manifest_itself_is_checked(small, shipped, tmp_path):
    app = tmp_path / "app"
    shutil.copytree(shipped, app)
    said = json.loads((app / "app.json").read_text())
    there = {path.relative_to(app).as_posix() for path in app.rglob("*") if path.is_file()}
    assert set(said["files"]) | {"app.json"} == there
    assert said["bundle_sha256"] == open_bundle(small).identity()
    for change, message in (
        ({"schema_version": 9}, "newer"),
        ({"files": {**said["files"], "../x": {"bytes": 1, "sha256": ""}}}, "outside"),
        ({"levels": 3}, "damaged"),
        ({"levels": []}, "no levels"),
        ({"levels": [{**said["levels"][0], "graph": "../d10.onnx"}]}, "does not list '../d10.onnx'"),
        ({"levels": [{**said["levels"][0], "graph": 3}]}, "damaged"),
        ({"documents": "index/other.jsonl"}, "does not list 'index/other.jsonl'"),
        ({"files": {n: e for n, e in said["files"].items() if n != "model/weights.bin"}}, "'model/weights.bin'"),
    ):
        (app / "app.json").write_text(json.dumps({**said, **change}))
        with pytest.raises(BundleError, match=message):
            open_app(app)
    for content in ("{", '{"levels": ' + "[" * 100_000):
        (app / "app.json").write_text(content)
        with pytest.raises(BundleError, match="damaged"):
            open_app(app)
    (app / "app.json").write_text(json.dumps(said))
    outside = tmp_path / "tokenizer.json"
    (app / "tokenizer.json").rename(outside)
    (app / "tokenizer.json").symlink_to(outside)
    with pytest.raises(BundleError, match="leads outside"):
        open_app(app)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"fits": False}, (), "nothing fits"),
        ({"sha256": "0" * 64}, (), "is a choice for another bundle"),
        ({"precision": "int8"}, (), "has no int8 at depth 2 for any"),
        ({"target": "cuda"}, (), "for cuda"),
        ({"dim": 11}, (), "dimension 11 is not in"),
        ({"index": "faiss"}, (), "unknown kind of index faiss"),
        ({"index": "ivf"}, (), "the choice does not say lists, cluster_dim"),
        ({"vectors": "int3"}, (), "cannot be stored as int3"),
        ({"runtime": 3}, (), "is not what mrl-edge pick --out writes"),
        ({"provider": "npu"}, (), "unknown provider 'npu'"),
        ({"provider": "tensorrt"}, (), "a choice on tensorrt cannot be shipped yet"),
        ({"provider": "cuda"}, ("--systemd",), "--systemd's unit sees no GPU"),
        pytest.param({"provider": "cuda"}, (), "provider cuda: onnxruntime", marks=absent),
        ({"index": "ivf", "parameters": {"lists": 999, "cluster_dim": 10, "probes": 1}}, (), "999 lists"),
        ({"index": "ivf", "parameters": {"lists": 9, "cluster_dim": 11, "probes": 1}}, (), "dimension 11"),
        ({}, ("--also", "d4-L3"), "has depths 1, 2"),
        ({}, ("--also", "d10"), "d10-L2 is not less than d10-L2"),
        ({}, ("--also", "d24-L1,d10-L2"), "d10-L2 is not less than d24-L1"),
        ({}, ("--also", "d24"), "d24-L2 is not less than d10-L2"),
        ({"shortlist": 20}, (), "half of a rerank"),
        ({"index": "binary"}, (), "binary alone"),
        ({}, ("--also", "small"), "as in d32,d16-L3"),
        ({}, ("--funnel", "20@4"), "must ascend"),
        ({}, ("--funnel", "20"), "as in 200@64"),
        ({"index": None}, ("--funnel", "20@24"), "needs an index"),
    ],
)
def test_what_cannot_be_shipped_is_one_line_and_leaves_nothing(small, choose, tmp_path, changes, options, message):
    choice = choose(**changes)
    done = run_here("ship", small, "--pick", choice, "--out", tmp_path / "app", "--no-verify", *options)
    assert message in the_one_error_line(done)
    assert [path.name for path in tmp_path.iterdir()] == ["choice.json"]


def test_neither_a_wrong_file_nor_what_is_there_is_mistaken(small, choose, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "mine.txt").write_text("mine")
    choice = choose()
    options = ("--pick", choice, "--out", tmp_path / "app", "--no-verify")
    assert "already exists" in the_one_error_line(run_here("ship", small, *options))
    assert "not ours" in the_one_error_line(run_here("ship", small, *options, "--overwrite"))
    spaced = ("--pick", choice, "--out", tmp_path / "my app", "--no-verify", "--systemd")
    assert "letters, digits" in the_one_error_line(run_here("ship", small, *spaced))
    dotted = ("--pick", choice, "--out", tmp_path / "-x", "--no-verify", "--archive")
    assert "--archive names what it writes" in the_one_error_line(run_here("ship", small, *dotted))
    here = ("--pick", choice, "--out", ".", "--no-verify", "--overwrite")
    assert "--out . is this folder" in the_one_error_line(run_here("ship", small, *here))
    other = ("--out", tmp_path / "new", "--no-verify")
    assert "no such file" in the_one_error_line(run_here("ship", small, "--pick", tmp_path / "none.json", *other))
    choice.write_text('{"fits": true}')
    assert "names no bundle" in the_one_error_line(run_here("ship", small, "--pick", choice, *other))


def test_a_folder_that_does_not_answer_as_the_bundle_is_not_shipped(small, choose, tmp_path, monkeypatch):
    """The graph that is written is damaged on the way, as a wrong offset would: the comparison must see it."""
    from mrl_edge.export import repack

    honest = repack._copy

    def wrong(old, new, ranges):
        honest(old, new, ranges)
        content = np.fromfile(new, dtype="<f4")
        (content * np.float32(1.5) + np.float32(0.1)).tofile(new)

    monkeypatch.setattr(repack, "_copy", wrong)
    done = run_here("ship", small, "--pick", choose(), "--out", tmp_path / "app", "--no-verify")
    assert "as the bundle does" in the_one_error_line(done)
    assert not (tmp_path / "app").exists()


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("order", "level d4-L1 finds"),  # of an exact scan: rows of other documents
        ("texts", "level d10-L2 of the shipped folder gives other texts"),
        ("lesser", "level d4-L1 does not answer"),
    ],
)
def test_what_the_index_itself_would_not_show_is_seen(small, choose, tmp_path, monkeypatch, part, message):
    """Rows, texts or a lesser level are made wrong on the way; scores and ids of the best level stay as they are."""
    from mrl_edge.index.vectors import VectorWriter
    from mrl_edge.ship import embedded, searched

    if part == "order":  # of what is embedded for the lesser level, in the bundle's answers as in the folder's
        honest = embedded.open_documents
        monkeypatch.setattr(embedded, "open_documents", lambda bundle: Backwards(honest(bundle), bundle))
    elif part == "texts":
        copy = run_module._copy_documents

        def shuffled(bundle, folder):
            names = copy(bundle, folder)
            lines = (folder / names[0]).read_text().splitlines()
            (folder / names[0]).write_text("".join(f"{line}\n" for line in [*lines[1:], lines[0]]))
            ends = np.cumsum([0, *(len(line.encode()) + 1 for line in [*lines[1:], lines[0]])])
            ends.astype("<i8").tofile(folder / names[1])
            return names

        monkeypatch.setattr(run_module, "_copy_documents", shuffled)
    else:
        select = VectorWriter.select

        def wrong(self, source):
            select(self, source)
            if source.dims == (4,):
                self._lengths[:] *= np.float32(1.01)

        monkeypatch.setattr(searched.VectorWriter, "select", wrong)
    done = run_here(
        "ship", small, "--pick", choose(), "--out", tmp_path / "app", "--no-verify", "--also", "d4-L1"
    )  # fmt: skip
    assert message in the_one_error_line(done)
    assert not (tmp_path / "app").exists()


class Backwards:
    """Documents that are read from the last to the first."""

    def __init__(self, documents, bundle):
        self._documents, self._last = documents, bundle.manifest.index.n_items - 1

    def read(self, ids):
        return self._documents.read([self._last - number for number in ids])


def test_an_image_encoder_is_refused_in_one_line(tmp_path, choose):
    from train.image_encoders import tiny_vit

    pytest.importorskip("PIL")
    images = sample_images(tmp_path / "images")
    vit = tiny_vit(tmp_path / "vit")
    done = run_here("export", vit, "--out", tmp_path / "bundle", "--precision", "fp32", "--dims", "4,16", *images)
    assert done.returncode == 0, done.stderr
    manifest = open_bundle(tmp_path / "bundle").manifest
    choice = choose(bundle=tmp_path / "bundle", dim=4, depth=manifest.depths[-1], index=None, vectors=None)
    done = run_here("ship", tmp_path / "bundle", "--pick", choice, "--out", tmp_path / "app", "--no-verify")
    assert "embeds images" in the_one_error_line(done)


def sample_images(folder):
    from PIL import Image

    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(20):
        Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / f"{number}.png")
    return ("--images", folder)
