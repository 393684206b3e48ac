"""The command line: bad input is one line and exit code 2; results are alone on stdout."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from helpers.replay import RUN_RECORD

from relu_search import RunFolder, SearchConfig, load_exported
from search_spaces import FAMILIES, InputError

TINY = ["--backbone", "plain-5", "--width", "2", "--train-limit", "10", "--epochs", "1"]

# (backbone, trainable parameters with 10 classes, with 100 classes), worked out by hand from the
# definitions of the paper and of arXiv:1611.07718.
PARAMETERS = [
    ("plain-38", 561_370, 567_220),
    ("plain-62", 950_234, 956_084),
    ("plain-84", 1_327_482, 1_333_332),
    ("resnet-62", 952_986, 958_836),
    ("resnet-110", 1_730_714, 1_736_564),
    ("resnet-164", 2_605_658, 2_611_508),
    ("preresnet-62", 952_794, 958_644),
    ("preresnet-110", 1_730_522, 1_736_372),
    ("preresnet-164", 2_605_466, 2_611_316),
    ("preresnet-bottleneck-110", 1_146_842, 1_169_972),
    ("preresnet-bottleneck-164", 1_703_258, 1_726_388),
    ("dfn-26", 349_402, 355_252),
    ("dfn-110", 1_710_426, 1_716_276),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder with a few bad files in a sub-folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RELU_SEARCH_DATA", raising=False)
    given = tmp_path / "given"
    (given / "corrupt").mkdir(parents=True)
    for split in ("train", "test"):
        (given / "corrupt" / f"{split}.parquet").write_bytes(b"PAR1 not a table PAR1")
    (given / "full").mkdir()
    (given / "full" / "notes.txt").write_text("mine")
    (given / "file").write_text("mine")
    (given / "unknown.toml").write_text("colour = 'red'")
    (given / "type.toml").write_text("trials = 'many'")
    (given / "broken.toml").write_text("trials = ")
    (given / "old-run").mkdir()
    RunFolder(given / "old-run").write_config(SearchConfig(trials=2).resolve(), RUN_RECORD)
    return tmp_path


def files_under(path):
    return {p: p.read_bytes() if p.is_file() else None for p in path.rglob("*")}


def check_refused(cli, folder, arguments, says):
    before = files_under(folder)
    code, out, err = cli(*arguments)
    assert code == 2, err
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("relu-search: ")
    assert says in err
    assert "Traceback" not in err
    assert files_under(folder) == before


NETWORK_AND_DATA = {
    "unknown backbone": (["--backbone", "vgg-16"], "family one of plain"),
    "impossible depth": (["--backbone", "resnet-9"], "nearest: resnet-8 and resnet-10"),
    "width 0": (["--width", "0"], "width 0"),
    "unknown data set": (["--data", "mnist"], "'mnist' is unknown"),
    "missing folder": (["--data", "folder:given/none"], "does not exist"),
    "missing parquet": (["--data", "parquet:given/full"], "no train.parquet"),
    "corrupt parquet": (["--data", "parquet:given/corrupt"], "truncated or not parquet"),
    "data not fetched": (["--data", "cifar10", "--data-dir", "given"], "--download"),
    "negative epochs": (["--epochs", "-1"], "epochs is -1"),
    "epochs as text": (["--epochs", "many"], "--epochs"),
    "train limit 0": (["--train-limit", "0"], "train limit is 0"),
    "train limit too large": (["--train-limit", "5000"], "5000"),
    "unknown recipe": (["--recipe", "fast"], "'fast' is unknown"),
    "unknown precision": (["--precision", "fp8"], "fp32, bf16"),
    "negative seed": (["--seed", "-1"], "seed is -1"),
    "folder with files as out": (["--out", "given/full"], "given/full"),
    "file as out": (["--out", "given/file"], "given/file"),
    "unknown TOML key": (["--config", "given/unknown.toml"], "'colour'"),
    "wrong TOML type": (["--config", "given/type.toml"], "trials is 'many'"),
    "broken TOML": (["--config", "given/broken.toml"], "not valid TOML"),
    "missing TOML": (["--config", "given/none.toml"], "cannot be read"),
    "unknown option": (["--colour", "red"], "--colour"),
}


@pytest.mark.parametrize("verb", ["search", "train"])
@pytest.mark.parametrize("case", NETWORK_AND_DATA)
def test_bad_input_of_search_and_train_is_refused(case, verb, cli, folder):
    arguments, says = NETWORK_AND_DATA[case]
    check_refused(cli, folder, [verb, *TINY, *arguments], says)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--trials", "0"], "trials is 0"),
        (["--trials", "-3"], "trials is -3"),
        (["--trials", "1.5"], "--trials"),
        (["--granularity", "layer"], "network, stage, block, site"),
        (["--sampler", "anneal"], "gp, tpe, nsga2, local, greedy"),
        (["--backbone", "plain-38", "--sampler", "grid", "--granularity", "block"], "coarser"),
        (["--metric", "speed"], "val_accuracy, val_loss"),
        (["--min-relus", "9", "--max-relus", "3"], "9 to 3"),
        (["--min-relus", "4"], "min"),
        (["--grace-epochs", "0"], "grace epochs is 0"),
        (["--reduction-factor", "1"], "reduction factor is 1"),
        (["--reduction-factor", "nan"], "reduction_factor"),
        (["--concurrent", "0"], "concurrent is 0"),
        (["--cpus-per-trial", "0"], "CPUs per trial is 0"),
        (["--gpus-per-trial", "-1"], "GPUs per trial is -1"),
        (["--storage", "redis://localhost"], "sqlite, postgresql, mysql"),
        (["--storage", "study.db"], "sqlite:///study.db"),
        (["--storage", "sqlite:////proc/x/study.db"], "cannot be opened"),
        (["--out", "given/old-run"], "--resume given/old-run"),
        (["--out", "given/full", "--overwrite"], "no search's"),
        (["--resume", "given/none"], "not a run folder"),
        (["--resume", "given/full"], "not a run folder"),
        (["--resume", "given/old-run", "--epochs", "3"], "--epochs 3 (it has 5) contradicts"),
        (["--resume", "given/old-run", "--overwrite"], "exclude each other"),
        (
            ["--resume", "given/old-run", "--seed", "1", "--out", "x"],
            "--seed 1 (it has 0), --out x",
        ),
        (["--resume", "given/old-run", "--config", "given/unknown.toml"], "unknown key 'colour'"),
        (["--resume", "given/old-run", "--trials", "1"], "less than the 2"),
        (["--address", "127.0.0.1:1"], "no Ray cluster answers"),
        (["--trials"], "--trials"),
        (["extra"], "extra"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_of_search_is_refused(arguments, says, cli, folder):
    options = [] if "--resume" in arguments else TINY
    check_refused(cli, folder, ["search", *options, *arguments], says)


def test_more_than_the_machine_has_is_refused(cli, folder):
    arguments = ["search", *TINY, "--gpus-per-trial", "5000"]
    check_refused(cli, folder, arguments, "lower --gpus-per-trial")


MALFORMED = ["", "x", "012", "01*", "01*0", "*3", "1++1", "01*27+", "1*999999999", "paired!"]


@pytest.mark.parametrize("placement", [*MALFORMED, "01*4", "1", "2:1/first", "2:3", "1*6@end-norm"])
@pytest.mark.parametrize("verb", ["train", "show"])
def test_a_bad_placement_is_refused(placement, verb, cli, folder):
    arguments = {
        "train": ["train", "--backbone", "plain-8", "--placement", placement],
        "show": ["show", "plain-8", placement],
    }[verb]
    check_refused(cli, folder, arguments, "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no-such-verb"], "no-such-verb"),
        (["--no-such-option"], "--no-such-option"),
        (["show"], "backbone"),
        (["show", "vgg-16"], "vgg-16"),
        (["show", "plain-8", "--num-classes", "1"], "num_classes is 1"),
        (["show", "plain-8", "--image-size", "7"], "7x7"),
        (["show", "plain-8", "--image-size", "5000"], "4096"),
        (["show", "plain-8", "--in-channels", "0"], "in_channels"),
        (["train", *TINY, "--device", "tpu"], "'tpu' is unknown"),
        (["report", "given/none"], "not a run folder"),
        (["report", "given/old-run"], "trials.csv"),
        (["export", "given/none", "--out", "x"], "cannot be read"),
        (["export", "given/file", "--out", "x"], "not valid JSON"),
        (["export", "given/old-run", "--out", "x"], "no trial of full length"),
        (["export", "given/old-run", "--out", "given/full"], "not an empty folder"),
        (["export", "given/none", "--out", "x", "--trial", "1"], "not a run folder"),
        (["export", "given/old-run"], "--out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_of_the_other_verbs_is_refused(arguments, says, cli, folder):
    check_refused(cli, folder, arguments, says)


def test_cuda_is_refused_where_there_is_none(cli, folder):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    check_refused(cli, folder, ["train", *TINY, "--device", "cuda"], "cuda is not available")


# --- show -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("backbone", "cifar10", "cifar100"), PARAMETERS)
def test_show_gives_the_parameter_counts_of_the_reference(backbone, cifar10, cifar100, cli_json):
    assert cli_json("show", backbone)["params"] == cifar10
    linear = cli_json("show", backbone, "linear", "--num-classes", 100)
    assert linear["params"] == cifar100


@pytest.mark.parametrize(
    ("backbone", "module", "convs", "relus", "ratio"),
    [
        ("preresnet-110", "2:1/first", 108, 54, "2:1"),
        ("preresnet-bottleneck-110", "3:2/type1", 108, 72, "3:2"),
        ("dfn-110", "paired", 108, 107, "108:107"),
        ("dfn-110", "4:3/type1", 108, 81, "4:3"),
        ("dfn-110", "4:3/type2", 108, 80, "27:20"),
        ("plain-84", "2:1", 82, 41, "2:1"),
        ("resnet-62", "linear", 60, 0, "1:0"),
    ],
)
def test_show_gives_the_ratios_of_the_paper(backbone, module, convs, relus, ratio, cli_json):
    facts = cli_json("show", backbone, module)
    assert (facts["convs"], facts["relus"], facts["ratio"]) == (convs, relus, ratio)
    assert facts["module"] == module


def test_show_without_json_is_a_table_for_people(cli):
    code, out, err = cli("show", "plain-8", "01*3")
    assert (code, err) == (0, "")
    for text in ("plain-8", "01*3 (2:1)", "6 convs : 3 ReLUs", "●", "○"):
        assert text in out


@pytest.mark.parametrize("family", FAMILIES)
def test_the_help_of_show_names_every_family(family, cli):
    code, out, _ = cli("show", "--help")
    assert code == 0
    assert f"{family}-D" in " ".join(out.replace("│", " ").split())


# --- train, report, export --------------------------------------------------------------------


def test_train_writes_a_model_that_export_hands_on(cli, folder):
    code, out, err = cli("train", *TINY, "--placement", "2:1", "--out", "model", "--json")
    assert code == 0
    row = json.loads(out)
    assert err.count("epoch 1/1") == 1
    assert (row["placement"], row["epochs"], row["failure"]) == ("010", 1, None)
    code, out, _ = cli("export", "model", "--out", "copy", "--json")
    assert code == 0
    card = json.loads(out)
    assert card["training"]["val_accuracy"] == row["val_accuracy"]
    a, b = load_exported("model"), load_exported("copy/card.json")
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(a(x), b(x))


def test_train_without_out_writes_nothing(cli, folder):
    before = files_under(folder)
    code, out, err = cli("train", *TINY)
    assert (code, out) == (0, "")
    assert "val acc" in err
    assert files_under(folder) == before


def test_train_takes_its_options_from_a_file_and_the_command_line_wins(cli_json, folder):
    file = folder / "given" / "options.toml"
    file.write_text('backbone = "plain-5"\nwidth = 2\nepochs = 3\ntrain_limit = 10\n')
    row = cli_json("train", "--config", file, "--epochs", "1")
    assert (row["backbone"], row["epochs"]) == ("plain-5", 1)


def test_report_prints_the_leaderboard_of_a_run(searched, cli, cli_json):
    code, out, err = cli("report", searched.run.path, "--no-page")
    assert (code, err) == (0, "")
    for text in ("paired", "2:1", "linear (control)", "full length", "stopped early", "Noise: "):
        assert text in out
    table = cli_json("report", searched.run.path, "--no-page")
    assert len(table["trials"]) == 8
    values = [r["val_loss"] for r in table["trials"] if r["state"] == "COMPLETE"]
    assert values == sorted(values)  # too few trials for shrinking


def test_export_hands_over_the_best_trial_or_another_one(searched, cli_json, folder):
    run = searched.run.path
    assert cli_json("export", run, "--out", "best")["training"]["trial"] == searched.best["trial"]
    card = cli_json("export", run, "--trial", 2, "--out", "control")
    assert (card["module"], card["training"]["trial"]) == ("linear", 2)
    assert load_exported("control").placement.text == "0*6"


@pytest.mark.parametrize("trial", ["99", "-1", "stopped"])
def test_a_trial_without_weights_cannot_be_exported(trial, searched, cli, folder):
    if trial == "stopped":
        table = searched.run.read_trials()
        trial = str(table[table["state"] == "PRUNED"]["trial"].iloc[0])
    arguments = ["export", searched.run.path, "--trial", trial, "--out", "x"]
    check_refused(cli, folder, arguments, "only trials of full length")


def test_an_unknown_format_is_refused(searched, cli, folder):
    arguments = ["export", searched.run.path, "--out", "x", "--format", "pickle"]
    check_refused(cli, folder, arguments, "safetensors")


# --- search -----------------------------------------------------------------------------------


def test_search_prints_json_alone_and_is_resumed_in_a_database(cli, folder):
    """References first (paired, 2:1, linear); after them the space holds one more placement."""
    options = [*TINY, "--granularity", "network", "--concurrent", "1", "--out", "run"]
    storage = ["--storage", "sqlite:///study.db"]
    code, out, err = cli("search", *options, *storage, "--trials", "3", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert (result["run"], result["ending"], len(result["trials"])) == ("run", "budget spent", 3)
    assert "Traceback" not in err
    assert not (folder / "run" / "study.journal").exists()
    code, out, err = cli("search", "--resume", "run", "--trials", "9", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["ending"] == "space exhausted"
    assert sorted(r["placement"] for r in result["trials"]) == ["000", "010", "101", "111"]


def test_resume_does_not_need_the_tables_that_it_writes_anew(searched, cli, folder, monkeypatch):
    def reached(*_arguments, **_options):
        raise InputError("reached")

    monkeypatch.setattr("relu_search.search.run_search.resume_search", reached)
    shutil.copytree(searched.run.path, folder / "run")
    (folder / "run" / "trials.csv").unlink()
    code, _, err = cli("search", "--resume", "run")
    assert (code, err) == (2, "relu-search: reached\n")
