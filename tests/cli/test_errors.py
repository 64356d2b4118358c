"""Every mistake a user can make: one clear line, exit code 2 (130 for Ctrl-C), nothing half-written."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import leftovers, run_here, the_one_error_line
from safetensors.torch import load_file, save_file
from train.encoders import tiny_bert
from train.untrained import untrained_model

WORDS = [f"{a}{b}c" for a in "abcdefg" for b in "hijklmn"]
PAIRS = ("--query", "q", "--positive", "p")


@pytest.fixture
def here(tmp_path):
    """A folder with a tiny encoder and a table."""
    tiny_bert(tmp_path / "bert")
    rows = "".join(f"{word},{word[::-1]},{'x' if word < 'd' else 'y'},same,{ord(word[0])}\n" for word in WORDS)
    (tmp_path / "data.csv").write_text(f"q,p,l,one,s\n{rows}", encoding="utf-8")
    return tmp_path


def train(here, *options, encoder="bert", data="data.csv"):
    precision = () if "--mixed-precision" in options else ("--mixed-precision", "no")  # see `run_here`
    return run_here(
        "train", "--encoder", here / encoder, "--data", here / data, "--out", here / "model",
        "--cache", here / "cache", *options, *precision,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((*PAIRS, "--dims", "64,32"), "32 comes after 64; they must ascend"),
        ((*PAIRS, "--dims", "8,512"), "512 is larger than the encoder's 32 dimensions"),
        ((*PAIRS, "--dims", "8,x"), "expected whole numbers"),
        (("--query", "q", "--positive", "nothing"), "no column 'nothing'; it has q, p, l, one, s"),
        (("--label", "l"), "--text with --label"),
        (("--text", "q", "--label", "one"), "all rows have the same label"),
        ((), "say which columns to read"),
        ((*PAIRS, "--dims", "8,32", "--weights", "1"), "1 weights for 2 dimensions"),
        ((*PAIRS, "--batch-size", "1"), "batches of at least 2 rows"),
        (("--text", "q", "--label", "l", "--lr", "1e30"), "the loss became"),
        ((*PAIRS, "--lr", "1e30", "--epochs", "1"), "the loss became nan at step 1"),
        ((*PAIRS, "--temperature", "inf"), "'--temperature'"),
        ((*PAIRS, "--epochs", "x"), "'--epochs'"),
        ((*PAIRS, "--nonsense"), "--nonsense"),
        ((*PAIRS, "--depths", "2,1"), "1 comes after 2"),
        ((*PAIRS, "--depths", "1,9"), "from 1 to the encoder's 2"),
        ((*PAIRS, "--tied"), "--tied is about class heads"),
        ((*PAIRS, "--score", "l"), "line 2: column 'l' is no finite number"),
        ((*PAIRS, "--negative", "p", "--score", "s"), "either graded or have hard negatives"),
        ((*PAIRS, "--text", "q"), "needs --label"),
        (("--negative", "p", "--text", "q", "--label", "l"), "--query with --positive (pairs)"),
        ((*PAIRS, "--dims", "8,32", "--weights", "nan,1"), "a number of at least 0"),
        ((*PAIRS, "--dims", "8,32", "--weights", "0,0"), "a number of at least 0"),
        ((*PAIRS, "--accumulate", "99"), "--accumulate 99: an epoch has 1 batch"),
        ((*PAIRS, "--mixed-precision", "fp16"), "needs a GPU"),
        ((*PAIRS, "--mixed-precision", "int8"), "expected auto, no, bf16 or fp16"),
        (("--text", "q", "--batch-size", "1"), "batches of at least 2 rows"),
        ((*PAIRS, "--text", "q", "--label", "l", "--batch-size", "1"), "batches of at least 2 rows"),
        ((*PAIRS, "--seed", str(2**31)), "'--seed'"),
        ((*PAIRS, "--trunk-lr", "1e-4"), "--trunk-lr does nothing without --fine-tune"),
        ((*PAIRS, "--train-word-embeddings"), "--train-word-embeddings does nothing without --fine-tune"),
        ((*PAIRS, "--exit-weight", "0"), "--exit-weight does nothing without an exit: give --depths"),
        ((*PAIRS, "--depths", "2", "--exit-distillation", "1"), "--exit-distillation does nothing without an exit"),
        ((*PAIRS, "--depths", "2", "--head-epochs", "4"), "--head-epochs does nothing without --fine-tune"),
        ((*PAIRS, "--sample-exits"), "--sample-exits does nothing without an exit"),
        ((*PAIRS, "--dims", "32", "--self-distillation", "1"), "--self-distillation does nothing without shorter"),
        (("--text", "q", "--label", "l", "--temperature", "0.1"), "--temperature does nothing without a loss that"),
        ((*PAIRS, "--label-weight", "1"), "--label-weight does nothing without both --query and --label"),
    ],
)
def test_training_options_that_make_no_sense(here, options, said):
    assert said in the_one_error_line(train(here, *options))
    assert not (here / "model").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "the file is empty"), ("q,p\n", "no rows"), ("q,p\na,b\nc\n", "line 3: 1 fields, but the header has 2")],
)
def test_tables_that_cannot_be_read(here, content, said):
    (here / "bad.csv").write_text(content)
    assert said in the_one_error_line(train(here, *PAIRS, data="bad.csv"))
    assert leftovers(here) == []


def broken_encoders():
    def config(folder, file="config.json", **changes):
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    def dense(folder, inputs):
        kinds = {"": "Transformer", "1": "Pooling", "2": "Dense"}
        modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
        (folder / "modules.json").write_text(json.dumps(modules))
        for path, settings in (
            ("1", {"pooling_mode_mean_tokens": True}),
            ("2", {"in_features": inputs, "out_features": 8, "bias": False, "activation_function": "Identity"}),
        ):
            (folder / path).mkdir()
            (folder / path / "config.json").write_text(json.dumps(settings))
        save_file({"linear.weight": torch.ones(8, inputs)}, folder / "2" / "model.safetensors")

    def padding(folder):
        config(folder, "tokenizer_config.json", pad_token=None)
        (folder / "special_tokens_map.json").unlink(missing_ok=True)

    return {
        "is no encoder": lambda f: (f / "config.json").unlink(),
        "no .safetensors weights": lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        "trust_remote_code": lambda f: config(f, auto_map={"AutoModel": "modeling.Model"}),
        "cannot be loaded": lambda f: os.truncate(f / "model.safetensors", 1000),
        "is damaged": lambda f: (f / "config.json").write_text("{"),
        "expected a list of modules": lambda f: (f / "modules.json").write_text('{"0": "Transformer"}'),
        "the one Pooling must come right after": lambda f: (f / "modules.json").write_text(
            '[{"path": "", "type": "Transformer"}, {"path": "", "type": "sentence_transformers.models.Normalize"}]'
        ),
        "its tokenizer has no padding token": padding,
        "its Dense takes 24 dimensions, and gets 32": lambda f: dense(f, 24),
        "do_lower_case is not supported": lambda f: (f / "sentence_bert_config.json").write_text(
            '{"max_seq_length": 32, "do_lower_case": true}'
        ),
    }


@pytest.mark.parametrize("said", broken_encoders())
def test_a_folder_that_is_no_usable_encoder(here, said):
    broken_encoders()[said](here / "bert")
    assert said in the_one_error_line(train(here, *PAIRS))
    assert not (here / "model").exists()


def test_an_encoder_folder_that_does_not_exist(here):
    assert "no such encoder folder" in the_one_error_line(train(here, *PAIRS, encoder="nowhere"))


def test_what_is_already_there_is_kept(here):
    (here / "model").mkdir()
    (here / "model" / "mine").write_text("precious")
    assert "already exists" in the_one_error_line(train(here, *PAIRS))
    assert "not ours to overwrite" in the_one_error_line(train(here, *PAIRS, "--overwrite"))
    assert (here / "model" / "mine").read_text() == "precious"


def test_a_place_for_the_models_of_one_dimension_that_would_cost_what_is_there(here):
    (here / "mine").mkdir()
    (here / "mine" / "file").write_text("precious")
    for place, said in (
        ("mine", "choose another --fixed-out, or replace it"),
        ("model", "neither is nor holds --out"),
        ("model/ff", "nor lies in it"),
        (".", "neither is nor holds --out"),
    ):
        assert said in the_one_error_line(train(here, *PAIRS, "--fixed-out", here / place))
    line = the_one_error_line(train(here, *PAIRS, "--fixed-out", here / "mine", "--overwrite"))
    assert "not ours to overwrite: choose another --fixed-out" in line
    assert (here / "mine" / "file").read_text() == "precious"
    assert not (here / "model").exists()


@pytest.mark.parametrize(
    ("options", "said"), [(("--precision", "int3"), "unknown; there is"), (("--precision", "int8,int8"), "once")]
)
def test_export_of_a_precision_that_makes_no_sense(model, tmp_path, options, said):
    assert said in the_one_error_line(run_here("export", model, "--out", tmp_path / "bundle", *options))
    assert list(tmp_path.iterdir()) == []


def test_export_of_what_is_no_model(tmp_path, model):
    line = the_one_error_line(run_here("export", tmp_path, "--out", tmp_path / "bundle"))
    assert "is no encoder" in line
    (tmp_path / "mrl.json").write_text("{")
    assert "is damaged" in the_one_error_line(run_here("export", tmp_path, "--out", tmp_path / "bundle"))
    (tmp_path / "mrl.json").write_text("[]")
    assert "is damaged" in the_one_error_line(run_here("export", tmp_path, "--out", tmp_path / "bundle"))
    (tmp_path / "mrl.json").write_text('{"schema_version": 99}')
    assert "upgrade mrl-edge" in the_one_error_line(run_here("export", tmp_path, "--out", tmp_path / "bundle"))


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: os.truncate(path, 20)])
def test_export_of_a_classifier_whose_heads_are_gone(model, tmp_path, damage):
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    damage(copy / "heads.safetensors")
    assert "heads.safetensors is missing or damaged" in the_one_error_line(
        run_here("export", copy, "--out", tmp_path / "bundle")
    )
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("file", "name", "kept", "said"),
    [
        ("2_Dense/model.safetensors", "linear.weight", None, "it has no 'linear.weight'"),
        ("heads.safetensors", "10.weight", slice(2), "its '10.weight' is [2, 10], not [3, 10]"),
        ("heads.safetensors", "10.bias", None, "it has no '10.bias'"),
        ("exits.safetensors", "1.projection", slice(5), "its 'projection' is [5, 32], not [24, 32]"),
    ],
)
def test_a_model_whose_weights_do_not_fit_its_record(here, file, name, kept, said):
    path = untrained_model(here / "model", here / "bert", (1, 2)) / file
    tensors = load_file(path)
    gone = tensors.pop(name)
    save_file(tensors | ({name: gone[kept].clone()} if kept else {"other": gone}), path)
    done = run_here("evaluate", here / "model", "--data", here / "data.csv", *PAIRS)
    assert f"{file.rpartition('/')[2]} is damaged ({said})" in the_one_error_line(done)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 60 MB, too small for the fp32 weights."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("mounting a small file system needs root")
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=60m", "tmpfs", disk], check=False).returncode:
        pytest.skip("mounting is not permitted here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_while_training(minilm, here, small_disk):
    line = the_one_error_line(
        run_here(
            "train", "--encoder", minilm, "--data", here / "data.csv", "--cache", here / "cache", "--epochs", "1",
            "--mixed-precision", "no", *PAIRS, "--out", small_disk / "model",
        )
    )  # fmt: skip
    assert "the disk is full" in line
    assert [path.name for path in small_disk.iterdir()] == [".model.training"]  # the run can be continued


def test_a_full_disk_while_exporting(model, small_disk):
    line = the_one_error_line(run_here("export", model, "--out", small_disk / "bundle"))
    assert "the disk is full" in line
    assert list(small_disk.iterdir()) == []


@pytest.fixture
def tiny_model(tmp_path_factory):
    """A model of eight small layers with random weights."""
    folder = tmp_path_factory.mktemp("tiny")
    return untrained_model(folder / "model", tiny_bert(folder / "bert", layers=8), (8,))


@pytest.mark.parametrize(
    ("exported", "written", "number"),
    [
        ("tiny_model", "", signal.SIGINT),
        ("tiny_model", "fp32/weights.bin", signal.SIGTERM),
        ("brief_model", "int8/d8.onnx", signal.SIGINT),
    ],
)
def test_an_interrupted_export_leaves_nothing(request, tmp_path, exported, written, number):
    """The signal comes when a file of the unfinished bundle is there; MiniLM's last graph is a second's work away."""
    command = [sys.executable, "-m", "mrl_edge", "export", str(request.getfixturevalue(exported))]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "bundle")], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    while not list(tmp_path.glob(f".bundle.*/{written}")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_training_says_so_and_can_be_continued(here):
    options = (*PAIRS, "--dims", "8,32", "--epochs", "3000")
    command = [
        sys.executable, "-m", "mrl_edge", "train", "--encoder", str(here / "bert"), "--data", str(here / "data.csv"),
        "--out", str(here / "model"), "--cache", str(here / "cache"), *options,
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "epoch 2" in line:
            break
    process.send_signal(signal.SIGINT)
    errors = process.stderr.read()
    assert process.wait(timeout=60) == 130
    assert errors.splitlines()[-1] == "interrupted"
    assert "Traceback" not in errors
    assert not (here / "model").exists()
