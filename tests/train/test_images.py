import csv
import json
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from conftest import mrl_edge_here, run_here, the_one_error_line
from mrl_edge.export.heads import Tail, graph_for, graph_for_all, store_linear
from mrl_edge.export.trunk import export_trunk
from mrl_edge.export.weights import FILE, WeightFile
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from train.encoders import read_json, tiny_bert
from train.image_encoders import tiny_mobilenet, tiny_resnet, tiny_vit
from transformers import AutoModel, MobileNetV1Config, MobileNetV1Model, MobileNetV2Config, MobileNetV2Model

from mrl_edge.datasets import Columns, read_table
from mrl_edge.errors import DataError, ModelError, MrlEdgeError, UsageError
from mrl_edge.train.image_families import image_shape
from mrl_edge.train.images import image_inputs, load_image_processor
from mrl_edge.train.model import load_model
from mrl_edge.train.run import Run, Setup
from mrl_edge.train.settings import Settings
from mrl_edge.train.source import read_encoder
from mrl_edge.train.training import train
from mrl_edge.train.trunk import Trunk

DIMS = (4, 8, 32)
IMAGES = 300


def test_a_fine_tuned_vit_reads_digits_at_every_dimension_and_its_heads_nest(tmp_path, digits):
    out = tmp_path / "model"
    run(tiny_vit(tmp_path / "vit"), digits, out, fine_tune=True, epochs=30, batch_size=15)
    record = read_json(out / "mrl.json")
    accuracy = [record["quality"]["mrl"][str(dim)]["accuracy"] for dim in DIMS]
    assert min(accuracy) > 0.5, accuracy  # chance is 0.1
    assert record["modality"] == "image"
    assert not (out / "sample_texts.json").exists()
    heads = load_file(out / "heads.safetensors")
    model = load_model(out)
    paths = read_table(str(digits), Columns()).roles["image"][::7]
    projected = model.embed(paths, "image", 3)
    for dim, logits in model.class_scores(projected, 3).items():
        wanted = projected[:, :dim] @ heads[f"{dim}.weight"].numpy().T + heads[f"{dim}.bias"].numpy()
        np.testing.assert_allclose(logits, wanted, atol=1e-5)


@pytest.mark.parametrize(("encoder", "epochs"), [(tiny_vit, 10), (tiny_resnet, 1)])
def test_heads_that_learn_on_alone_tell_more_apart_and_leave_the_trunk_as_it_was(tmp_path, digits, encoder, epochs):
    folder = encoder(tmp_path / "encoder")
    outs = [tmp_path / "before", tmp_path / "after"]
    for out, alone in zip(outs, (0, 200), strict=True):
        run(folder, digits, out, fine_tune=True, epochs=epochs, batch_size=15, head_epochs=alone)
    before, after = (load_file(out / "model.safetensors") for out in outs)
    assert all(torch.equal(before[name], value) for name, value in after.items())
    qualities = (read_json(out / "mrl.json")["quality"]["mrl"] for out in outs)
    before, after = ([quality[str(dim)]["accuracy"] for dim in DIMS] for quality in qualities)
    assert sum(after) > sum(before) + 0.1, (before, after)


@pytest.mark.parametrize("encoder", [tiny_vit, tiny_resnet, tiny_mobilenet])
def test_a_frozen_encoder_trains_saves_loads_and_embeds_as_transformers_does(tmp_path, digits, encoder):
    folder, out = encoder(tmp_path / "encoder"), tmp_path / "model"
    run(folder, digits, out, epochs=30)
    paths = read_table(str(digits), Columns()).roles["image"][::30]
    model = load_model(out)
    theirs = transformers_embeddings(folder, paths)
    projection = load_file(out / "1_Dense" / "model.safetensors")["linear.weight"].numpy()
    np.testing.assert_allclose(model.embed(paths, "image", model.depths[-1]), theirs @ projection.T, atol=1e-5)
    assert set(read_json(out / "mrl.json")["quality"]) == {"mrl", "pca", "truncation"}


def test_a_trained_model_is_an_encoder_to_train_on(tmp_path, digits):
    first, second = tmp_path / "first", tmp_path / "second"
    run(tiny_resnet(tmp_path / "resnet"), digits, first, dims=(4, 16), epochs=2)
    run(first, digits, second, dims=(4, 8), epochs=2)
    paths = read_table(str(digits), Columns()).roles["image"][:3]
    weights = [
        load_file(second / f"{number}_Dense" / "model.safetensors")["linear.weight"].numpy() for number in (1, 2)
    ]
    wanted = load_model(first).embed(paths, "image", 4) @ weights[1].T
    np.testing.assert_allclose(load_model(second).embed(paths, "image", 4), wanted, atol=1e-5)
    np.testing.assert_array_equal(
        weights[0], load_file(first / "1_Dense" / "model.safetensors")["linear.weight"].numpy()
    )


@pytest.mark.parametrize("fine_tune", [False, True])
def test_images_without_classes_learn_to_keep_their_neighbours(tmp_path, digits, fine_tune):
    out = tmp_path / "model"
    run(
        tiny_vit(tmp_path / "vit"), digits, out, columns=Columns(image="image"), fine_tune=fine_tune, epochs=10,
        trunk_learning_rate=1e-4,
    )  # fmt: skip
    record = read_json(out / "mrl.json")
    assert record["objective"] == ["distillation"]
    quality = record["quality"]
    assert quality["mrl"]["8"]["neighbours_at_10"] > quality["truncation"]["8"]["neighbours_at_10"]


def test_depth_exits_of_a_vit_are_its_hidden_states(tmp_path, digits):
    folder, out = tiny_vit(tmp_path / "vit"), tmp_path / "model"
    run(folder, digits, out, depths=(1, 3), epochs=2)
    paths = read_table(str(digits), Columns()).roles["image"][:5]
    vit = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        state = vit.encoder.layer[0](vit.embeddings(pixels(folder, paths)))
    state = state[0] if isinstance(state, tuple) else state
    exit_projection = load_file(out / "exits.safetensors")["1.projection"].numpy()
    ours = load_model(out).embed(paths, "image", 1)
    np.testing.assert_allclose(ours, state[:, 0].numpy() @ exit_projection.T, atol=1e-5)


def test_a_table_of_relative_or_absolute_paths_gives_the_rows_of_the_class_folders(tmp_path, digits):
    wanted = read_table(str(digits), Columns())
    assert len(wanted) == IMAGES
    for name in ("relative", "absolute"):
        paths = [path.removeprefix(f"{digits}/") if name == "relative" else path for path in wanted.roles["image"]]
        table = digits / f"{name}.csv"
        write_table(table, zip(paths, wanted.roles["label"], strict=True))
        assert read_table(str(table), Columns(image="path", label="class")).roles == wanted.roles


def test_frozen_embeddings_follow_an_images_bytes_and_not_its_path(tmp_path, digits):
    folder, cache = tiny_resnet(tmp_path / "resnet"), tmp_path / "cache"
    copy = shutil.copytree(digits, tmp_path / "copy")
    run(folder, digits, tmp_path / "a", epochs=1, cache=cache)
    cached = {path.name for path in cache.iterdir()}
    run(folder, copy, tmp_path / "b", epochs=1, cache=cache)
    assert {path.name for path in cache.iterdir()} == cached
    for image in (copy / "3").iterdir():
        Image.new("RGB", (32, 32), "red").save(image)
    run(folder, copy, tmp_path / "c", epochs=1, cache=cache)
    assert {path.name for path in cache.iterdir()} > cached


def test_batches_of_images_are_not_sorted_by_their_paths(tmp_path, digits):
    """Each class has a name of its own length, so that by length a batch would be of two or three classes."""
    spec = read_encoder(str(tiny_vit(tmp_path / "vit")))
    named = tmp_path / "named"
    for number in range(10):
        shutil.copytree(digits / str(number), named / f"{number}{'x' * 9 * number}")
    table = read_table(str(named), Columns())
    settings = settings_for(spec, fine_tune=True, batch_size=15)
    loop = Run(Setup(spec, table, table.first(20), settings, tmp_path / "cache"), lambda *_: None).loop()
    kinds = [len({table.roles["label"][row] for row in batch}) for batch in loop.batches(0)]
    assert min(kinds) > 4, kinds


@pytest.mark.parametrize("multiplier", [0.35, 0.5, 0.75, 1.0, 1.4])
@pytest.mark.parametrize("fine", [True, False])
def test_the_width_of_a_mobilenet_is_the_width_that_transformers_builds(tmp_path, multiplier, fine):
    folder = tiny_mobilenet(tmp_path / "v2", finegrained_output=fine) if multiplier == 0.35 else None
    configs = {
        MobileNetV2Model: MobileNetV2Config(depth_multiplier=multiplier, finegrained_output=fine),
        MobileNetV1Model: MobileNetV1Config(depth_multiplier=multiplier),
    }
    for kind, config in configs.items():
        with torch.device("meta"):
            model = kind(config)
        last = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)][-1]
        assert image_shape("x", config.to_dict()).hidden == last.out_channels
    if folder:
        assert read_encoder(str(folder)).width == (1280 if fine else 448)


@pytest.mark.parametrize("encoder", [tiny_vit, tiny_resnet, tiny_mobilenet])
def test_exported_graphs_of_images_equal_pytorch_at_every_dimension(tmp_path, encoder):
    trunk = Trunk(read_encoder(str(encoder(tmp_path / "encoder"))))
    torch.manual_seed(1)
    projection = torch.randn(32, trunk.spec.width) / trunk.spec.width**0.5
    heads = {dim: (torch.randn(10, dim), torch.randn(10)) for dim in DIMS}
    model = onnx.load(export_trunk(trunk, tmp_path / "work"))
    with (tmp_path / FILE).open("wb") as file:
        weights = WeightFile(file)
        weights.move(model)
        classifiers = {dim: store_linear(weights, w.numpy(), b.numpy()) for dim, (w, b) in heads.items()}
        tail = Tail(trunk.spec.pooling, (), store_linear(weights, projection.numpy(), None), classifiers)
    graphs = {dim: graph_for(model, tail, dim) for dim in DIMS} | {None: graph_for_all(model, tail, DIMS)}
    for batch in (1, 3):
        images = torch.randn(batch, 3, 32, 32)
        with torch.no_grad():
            projected = trunk({"pixel_values": images})[-1] @ projection.T
        for dim, graph in graphs.items():
            ours = onnx_outputs(tmp_path / f"{dim}.onnx", graph, images)
            for each in DIMS if dim is None else (dim,):
                suffix = f"_{each}" if dim is None else ""
                wanted = F.normalize(projected[:, :each], dim=-1)
                logits = F.linear(projected[:, :each], *heads[each])
                np.testing.assert_allclose(ours[f"embedding{suffix}"], wanted.numpy(), atol=1e-4)
                error = np.abs(ours[f"logits{suffix}"] - logits.numpy()).max()
                assert error <= 1e-4 * max(1.0, float(logits.abs().max()))


def test_the_command_trains_on_class_folders_and_says_what_comes_next(tmp_path, digits):
    resnet = tiny_resnet(tmp_path / "resnet")
    out = tmp_path / "model"
    printed = mrl_edge_here(*command(resnet, digits, out, "--epochs", "2"))
    assert f"model: {out}" in printed
    assert load_model(out).classes == tuple(map(str, range(10)))
    scored = json.loads(mrl_edge_here("evaluate", out, "--data", digits, "--json"))
    assert scored["rows"] == {"texts": IMAGES}
    assert f"next:  mrl-edge export {out} --out bundle" in printed


def test_an_image_that_is_missing_is_named_with_its_line(tmp_path, digits):
    table = tmp_path / "table.csv"
    write_table(table, [(next((digits / "0").iterdir()), "0"), ("gone.png", "1")])
    error = refusal(tiny_resnet(tmp_path / "resnet"), table, "--image", "path", "--label", "class")
    assert "line 3: no such image: gone.png" in error


def test_a_text_called_png_is_named(tmp_path, digits):
    copy = shutil.copytree(digits, tmp_path / "copy")
    for number in range(12):
        (copy / "4" / f"text-{number}.png").write_text("no pixels here")
    error = refusal(tiny_resnet(tmp_path / "resnet"), copy)
    assert f"{copy / '4' / 'text-'}" in error
    assert "cannot be read as an image" in error


@pytest.mark.parametrize("keep", [0, 8, 60])
def test_a_damaged_image_is_named(tmp_path, digits, keep):
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(next((digits / "0").iterdir()).read_bytes()[:keep])
    with pytest.raises(DataError, match=r"damaged\.png: cannot be read as an image"):
        pixels(tiny_resnet(tmp_path / "resnet"), [str(damaged)])


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "I;16", "CMYK"])
def test_every_kind_of_pixels_becomes_three_colours(tmp_path, mode):
    path = tmp_path / "image.tif"
    Image.new(mode, (20, 30)).save(path)
    assert pixels(tiny_resnet(tmp_path / "resnet"), [str(path)] * 2).shape == (2, 3, 32, 32)


def test_an_empty_class_folder_and_a_single_class_are_named(tmp_path, digits):
    resnet = tiny_resnet(tmp_path / "resnet")
    copy = shutil.copytree(digits, tmp_path / "copy")
    (copy / "empty").mkdir()
    assert "class folder 'empty' has no images" in refusal(resnet, copy)
    shutil.rmtree(copy / "empty")
    for number in range(1, 10):
        shutil.rmtree(copy / str(number))
    assert "all rows have the same label" in refusal(resnet, copy)


def test_encoders_and_columns_of_different_kinds_are_refused(tmp_path, digits):
    table = tmp_path / "table.csv"
    write_table(table, [(path, "0") for path in (digits / "0").iterdir()])
    resnet, bert = tiny_resnet(tmp_path / "resnet"), tiny_bert(tmp_path / "bert")
    error = refusal(resnet, table, "--query", "path", "--positive", "class")
    assert "is an image encoder: give --image" in error
    assert "is a text encoder: images (--image)" in refusal(bert, table, "--image", "path", "--label", "class")


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("is an image encoder: give --image", {"columns": Columns(text="label", label="label")}),
        ("no column 'path'; it has image, label", {"columns": Columns(image="path")}),
        ("training needs --text with --label, or --image", {"columns": Columns(label="label")}),
        ("--depths: exits are for transformer encoders", {"depths": (2, 4)}),
    ],
)
def test_what_an_image_encoder_cannot_be_trained_on_is_refused(tmp_path, digits, message, changes):
    with pytest.raises(MrlEdgeError, match=message):
        run(tiny_resnet(tmp_path / "resnet"), digits, tmp_path / "model", **changes)


def test_tokens_of_an_image_encoder_are_refused(tmp_path):
    with pytest.raises(UsageError, match="--max-tokens is about texts"):
        read_encoder(str(tiny_resnet(tmp_path / "resnet")), max_tokens=8)


def test_an_image_encoder_without_its_processor_is_named(tmp_path):
    resnet = tiny_resnet(tmp_path / "resnet")
    (resnet / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match="has no image processor"):
        read_encoder(str(resnet))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Ten class folders of scikit-learn's digits as PNGs of 32 × 32 pixels."""
    folder = tmp_path_factory.mktemp("digits")
    found = load_digits()
    for number in range(IMAGES):
        label = folder / str(found.target[number])
        label.mkdir(exist_ok=True)
        pixels = (found.images[number] * 255 / 16).astype(np.uint8)
        Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR).save(label / f"{number}.png")
    return folder


def run(encoder, data, out, columns=None, cache=None, **changes):
    """Train in this process; the command line has tests of its own."""
    spec = read_encoder(str(encoder))
    settings = settings_for(spec, **changes)
    table, dev = read_table(str(data), columns or Columns()).split(0.2, 0)
    cache = cache or out.parent / "cache"
    return train(Setup(spec, table, dev, settings, cache), out, lambda *_: None, lambda entry: None)


def settings_for(spec, **changes):
    settings = {
        "dims": DIMS, "depths": (spec.layers,), "weights": None, "tied": False, "epochs": 1, "batch_size": 60,
        "accumulate": 1, "learning_rate": 2e-3, "trunk_learning_rate": 1e-3, "temperature": 0.05, "label_weight": 1.0,
        "exit_weight": 1.0, "exit_distillation": 1.0, "self_distillation": 0.0, "sample_exits": False,
        "head_epochs": 0, "fine_tune": False, "train_word_embeddings": False, "seed": 0, "mixed_precision": "no",
    } | changes  # fmt: skip
    settings["weights"] = (1.0,) * len(settings["dims"])
    return Settings(**settings)


def command(encoder, data, out, *options):
    return ["train", "--encoder", encoder, "--data", data, "--out", out, "--cache", out.parent / "cache",
            "--dims", "4,32", "--mixed-precision", "no", *options]  # fmt: skip


def refusal(encoder, data, *options):
    out = encoder.parent / "model"
    error = the_one_error_line(run_here(*command(encoder, data, out, *options)))
    assert not out.exists()
    return error


def write_table(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "class"])
        writer.writerows(rows)


def pixels(folder, paths):
    """The images as the encoder's own processor makes them."""
    return image_inputs(load_image_processor(read_encoder(str(folder))))(paths)["pixel_values"]


def transformers_embeddings(folder, paths):
    """What transformers alone makes of the images: the class token, or the model's own pooling."""
    model = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        result = model(pixel_values=pixels(folder, paths))
    vectors = result.last_hidden_state[:, 0] if model.config.model_type == "vit" else result.pooler_output.flatten(1)
    return vectors.numpy()


def onnx_outputs(path, graph, images):
    path.write_bytes(graph.SerializeToString())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"pixel_values": images.numpy()}), strict=True))
