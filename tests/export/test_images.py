"""Image encoders and CLIP's towers as bundles: against PyTorch in every precision, and through every command."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import mrl_edge_here, run_here, the_one_error_line
from mrl_edge.export.image_input import image_input
from mrl_edge.export.precisions.judge import Agreement
from mrl_edge.export.precisions.ladder import Choices
from mrl_edge.export.run import export_bundle, read_untrained
from PIL import Image
from sklearn.datasets import load_digits
from train.clip import tiny_clip
from train.encoders import tiny_bert
from train.image_encoders import tiny_mobilenet, tiny_resnet, tiny_vit
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    BitImageProcessor,
    CLIPImageProcessor,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
    ConvNextImageProcessor,
    DeiTImageProcessor,
    MobileNetV2ImageProcessor,
    ViTImageProcessor,
)

import mrl_edge
from mrl_edge.bundle import open_bundle
from mrl_edge.datasets import Columns, read_table
from mrl_edge.encoder import load_nested
from mrl_edge.errors import DataError, ModelError, UsageError
from mrl_edge.metrics import paired_cosines
from mrl_edge.nesting import prefix
from mrl_edge.pixels import pixel_values
from mrl_edge.train.source import read_encoder

DIMS = (4, 16)
EVERY = ("fp32", "fp16", "int8", "int8-static", "int4")
CONVOLUTIONAL = ("fp32", "fp16", "int8-static")
# The least cosine to PyTorch of whole vectors. A MobileNet's 52 convolutions of random weights amplify every rounding.
LEAST = {"fp16": 0.999, "int8": 0.99, "int8-static": 0.95, "int4": 0.9}
LEAST_OF_MOBILENET = {"fp16": 0.995, "int8-static": 0.75}
FAMILIES = {
    "vit": (tiny_vit, EVERY),
    "resnet": (tiny_resnet, CONVOLUTIONAL),
    "mobilenet": (tiny_mobilenet, CONVOLUTIONAL),
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Ten class folders of scikit-learn's digits as PNGs of 40 × 32 pixels, which every processor must change."""
    folder = tmp_path_factory.mktemp("digits")
    found = load_digits()
    for number in range(150):
        label = folder / str(found.target[number])
        label.mkdir(exist_ok=True)
        pixels = (found.images[number] * 255 / 16).astype(np.uint8)
        Image.fromarray(pixels).resize((40, 32), Image.Resampling.BILINEAR).save(label / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def paths(digits):
    return read_table(str(digits), Columns()).roles["image"]


@pytest.fixture(scope="module")
def bundle(digits, tmp_path_factory):
    """A ViT trained on the digits with an exit, and its bundle: (model folder, bundle)."""
    folder = tmp_path_factory.mktemp("trained")
    mrl_edge_here(
        "train", "--encoder", tiny_vit(folder / "vit"), "--data", digits, "--out", folder / "model", "--dims", "4,32",
        "--depths", "2", "--epochs", "2", "--cache", folder / "cache", "--mixed-precision", "no",
    )  # fmt: skip
    mrl_edge_here("export", folder / "model", "--out", folder / "bundle", "--precision", "fp32,int8")
    return folder / "model", folder / "bundle"


def exported(folder, encoder, items, precisions, tower=None):
    # What random weights keep is asserted on whole vectors below; fp32 has no floor to set.
    choices = Choices() if precisions == ("fp32",) else Choices(floor=Agreement(0.8, 0.5))
    export_bundle(
        read_untrained(str(encoder), items, dims_of(encoder, tower), tower=tower), folder, precisions, choices=choices
    )
    return folder


def dims_of(encoder, tower):
    return (*DIMS, read_encoder(str(encoder), tower=tower).width)


def check(folder, items, theirs, precisions, floors=LEAST):
    """Compare a bundle's vectors with PyTorch's [n, width], of one and of three at a time."""
    for precision in precisions:
        for depth_dim, ours in load_nested(folder, precision).encode(items, batch_size=3).items():
            wanted = prefix(theirs, depth_dim)
            alone = mrl_edge.load(folder, depth_dim, precision).encode(items, batch_size=1)
            for rows in (ours, alone):
                if precision == "fp32":
                    np.testing.assert_allclose(rows, wanted, atol=1e-4)
                elif depth_dim == theirs.shape[1]:
                    assert paired_cosines(rows, wanted).min() > floors[precision], (precision, depth_dim)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_computes_what_pytorch_computes_in_every_precision(tmp_path, paths, family):
    make, precisions = FAMILIES[family]
    encoder = make(tmp_path / "encoder")
    folder = exported(tmp_path / "bundle", encoder, paths[::3], precisions)
    files = open_bundle(folder).manifest.files
    for precision in precisions[1:]:
        assert files[f"{precision}/weights.bin"].bytes < 0.7 * files["fp32/weights.bin"].bytes
    some = paths[::30]
    images = [Image.open(path).convert("RGB") for path in some]
    model = AutoModel.from_pretrained(encoder).eval()
    with torch.no_grad():
        result = model(**AutoImageProcessor.from_pretrained(encoder, use_fast=False)(images, return_tensors="pt"))
    vectors = result.last_hidden_state[:, 0] if family == "vit" else result.pooler_output.flatten(1)
    floors = LEAST_OF_MOBILENET if family == "mobilenet" else LEAST
    check(folder, some, vectors.numpy(), precisions, floors)


@pytest.mark.parametrize("whole", [True, False])
def test_clips_towers_compute_what_pytorch_computes_in_every_precision(tmp_path, paths, whole):
    folder = tiny_clip(tmp_path / "clip")
    text, vision = folder, folder
    texts = [f"{'abcdefgh'[i % 8]} word {'xyz'[i % 3] * (i % 11)}" for i in range(40)]
    text_model = CLIPTextModelWithProjection.from_pretrained(folder / "text").eval()
    vision_model = CLIPVisionModelWithProjection.from_pretrained(folder / "vision").eval()
    if not whole:
        text, vision = folder / "text", folder / "vision"
    some, images = texts[:5], [Image.open(path).convert("RGB") for path in paths[::30]]
    with torch.no_grad():
        tokens = AutoTokenizer.from_pretrained(folder)(some, padding=True, return_tensors="pt")
        texts_wanted = text_model(**tokens).text_embeds
        pixels = CLIPImageProcessor.from_pretrained(folder)(images, return_tensors="pt")
        images_wanted = vision_model(**pixels).image_embeds
    precisions = EVERY if whole else ("fp32",)
    check(exported(tmp_path / "t", text, texts, precisions, "text"), some, texts_wanted.numpy(), precisions)
    check(exported(tmp_path / "v", vision, paths, precisions, "vision"), paths[::30], images_wanted.numpy(), precisions)


@pytest.mark.parametrize(
    "processor",
    [
        ViTImageProcessor(size={"height": 24, "width": 32}, resample=3),
        ViTImageProcessor(size={"height": 32, "width": 32}, do_normalize=False),
        CLIPImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}),
        CLIPImageProcessor(size={"shortest_edge": 20}, crop_size={"height": 33, "width": 32}),  # pads
        BitImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}),
        DeiTImageProcessor(size={"height": 40, "width": 40}, crop_size={"height": 32, "width": 32}),
        ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.875),
        ConvNextImageProcessor(size={"shortest_edge": 384}),
        MobileNetV2ImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}),
    ],
)
def test_preprocessing_is_the_image_processors(tmp_path, paths, processor):
    spec = read_encoder(str(tiny_vit(tmp_path / "vit")))
    processor.save_pretrained(spec.transformer)
    wanted = image_input(spec, paths[:2])
    random = np.random.default_rng(1)
    for size in ((32, 32), (31, 57), (200, 90)):
        pixels = random.integers(0, 256, (*size, 3), np.uint8)
        theirs = processor(images=[Image.fromarray(pixels)], return_tensors="np")["pixel_values"][0]
        for image in (pixels, Image.fromarray(pixels)):
            np.testing.assert_allclose(pixel_values(image, wanted), theirs, atol=1e-5)


def test_a_processor_that_leaves_images_their_sizes_is_refused(tmp_path, paths):
    spec = read_encoder(str(tiny_vit(tmp_path / "vit")))
    ConvNextImageProcessor(do_resize=False).save_pretrained(spec.transformer)
    with pytest.raises(ModelError, match="a bundle needs one size"):
        image_input(spec, paths[:2])


def test_a_bundle_scores_and_embeds_as_its_model_folder_and_verifies(digits, bundle, paths):
    model, folder = bundle
    from mrl_edge.train.model import load_model

    for depth in (2, 3):
        ours = mrl_edge.load(folder, precision="fp32", depth=depth).encode(paths)
        np.testing.assert_allclose(ours, prefix(load_model(model).embed(paths, "image", depth), 32), atol=1e-4)
    command = ("--data", digits, "--no-linear-probe", "--json")
    of_model, of_bundle = (
        json.loads(mrl_edge_here("evaluate", *each, *command)) for each in ((model,), (folder, "--precision", "fp32"))
    )
    for theirs, ours in zip(of_model["scores"], of_bundle["scores"], strict=True):
        if theirs["method"] == "mrl":
            for dim, metrics in theirs["by_dim"].items():
                assert ours["by_dim"][dim] == pytest.approx(metrics, abs=0.02)
    assert "are as they were exported" in mrl_edge_here("verify", folder)
    assert "images of 32 × 32" in mrl_edge_here("show", folder)


def test_verify_finds_a_sample_that_was_changed(bundle, tmp_path):
    copy = shutil.copytree(bundle[1], tmp_path / "bundle")
    Image.new("RGB", (32, 32)).save(copy / "samples" / "00.png")
    done = run_here("verify", copy)
    assert done.returncode == 1
    assert "samples/00.png is not the file" in done.stdout


def test_bench_measures_images(bundle, digits, tmp_path):
    out = tmp_path / "results.json"
    mrl_edge_here(
        "bench", bundle[1], "--data", digits, "--dims", "32", "--depths", "3", "--precision", "int8",
        "--max-seconds", "0.1", "--repeats", "1", "--out", out,
    )  # fmt: skip
    (row,) = json.loads(out.read_text())["measurements"]
    assert row["status"] == "ok"
    assert row["encode"]["p50_ms"] > row["encode"]["tokenise_p50_ms"] > 0
    assert row["quality"]["accuracy"] is not None


def test_paths_pil_images_and_arrays_are_the_same_image(bundle, paths):
    encoder = mrl_edge.load(bundle[1], 32, "fp32")
    image = Image.open(paths[0]).convert("RGB")
    rows = encoder.encode([paths[0], image, np.asarray(image), np.asarray(image)[:, :, 0]])
    np.testing.assert_allclose(rows, rows[:1].repeat(4, axis=0), atol=1e-6)


def test_the_runtime_embeds_arrays_without_pillow_and_images_without_torch(bundle, paths):
    code = f"""
import sys
import numpy as np, mrl_edge
sys.modules["PIL"] = None
encoder = mrl_edge.load({str(bundle[1])!r}, 32, "fp32")
encoder.encode([np.zeros((32, 32, 3), np.uint8)])
try:
    encoder.encode([{paths[0]!r}])
except mrl_edge.MrlEdgeError as error:
    print(error)
del sys.modules["PIL"]
encoder.encode([{paths[0]!r}])
print(sorted({{"torch", "transformers"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "reading images needs Pillow: pip install 'mrl-edge[images]'\n[]\n"


def test_what_is_no_image_is_named(bundle, tmp_path, paths):
    encoder = mrl_edge.load(bundle[1], 32, "fp32")
    corrupt = tmp_path / "corrupt.png"
    corrupt.write_bytes(Path(paths[0]).read_bytes()[:60])
    for given, error, said in (
        (["a cat"], DataError, "a cat: no such image"),
        ([str(corrupt)], DataError, "cannot be read as an image"),
        ([b"bytes"], UsageError, "not bytes"),
        ([np.zeros((32, 32, 3), np.float32)], UsageError, "not float32"),
        (np.zeros((32, 32, 3), np.uint8), UsageError, "put the one image into a list"),
        (paths[0], UsageError, "put the one image into a list"),
    ):
        with pytest.raises(error, match=said):
            encoder.encode(given)
    assert "no such image" in the_one_error_line(run_here("classify", bundle[1], "a cat"))
    texts = ("--data", "builtin:wordnet_nouns/dev", "--text", "gloss", "--label", "label")
    for command in ("evaluate", "bench"):
        assert "embeds images, and these columns hold texts" in the_one_error_line(run_here(command, bundle[1], *texts))


def test_a_text_bundle_refuses_images(tmp_path, digits, paths):
    folder = exported(tmp_path / "bundle", tiny_bert(tmp_path / "bert"), [f"text {i}" for i in range(30)], ("fp32",))
    encoder = mrl_edge.load(folder)
    with pytest.raises(UsageError, match="this bundle embeds texts: text 0 is no string but ndarray"):
        encoder.encode([np.zeros((32, 32, 3), np.uint8)])
    assert "embeds texts" in the_one_error_line(run_here("evaluate", folder, "--data", digits))


@pytest.mark.parametrize(
    ("make", "options", "said"),
    [
        (tiny_resnet, ("--precision", "int8"), "a resnet is of convolutions: there is fp32, fp16, int8-static"),
        (tiny_resnet, (), "name some of yours with --images"),
        (tiny_resnet, ("--texts", "x.txt"), "give --images, not --texts"),
        (tiny_bert, ("--images", "x"), "give --texts, not --images"),
        (tiny_bert, ("--tower", "text"), "--tower chooses one of CLIP's two"),
        (tiny_clip, (), "mrl-edge export takes one with --tower text or vision"),
        (tiny_clip, ("--tower", "both"), "expected text or vision"),
    ],
)
def test_options_that_do_not_fit_the_encoder_are_one_line(tmp_path, digits, make, options, said):
    encoder = make(tmp_path / "encoder")
    images = ("--images", digits) if "--precision" in options else ()
    line = the_one_error_line(run_here("export", encoder, "--out", tmp_path / "bundle", *options, *images))
    assert said in line
    assert not (tmp_path / "bundle").exists()


def test_a_tower_without_its_projection_is_refused(tmp_path):
    encoder = tiny_clip(tmp_path / "clip") / "text"
    config = json.loads((encoder / "config.json").read_text())
    (encoder / "config.json").write_text(json.dumps({**config, "architectures": ["CLIPTextModel"]}))
    with pytest.raises(ModelError, match="without its projection"):
        read_encoder(str(encoder))


def test_max_rows_of_class_folders_are_of_every_class(digits):
    table = read_table(str(digits), Columns())
    labels = table.sample(25).roles["label"]
    assert {labels.count(str(digit)) for digit in range(10)} == {2, 3}
    assert table.sample(25).roles == table.sample(25).roles
    assert len(table.sample(None)) == len(table)
