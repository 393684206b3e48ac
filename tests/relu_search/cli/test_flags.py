"""Flags are the fields of the options: name, type, default and help text."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import pytest
import typer

from relu_search.cli.app import app
from relu_search.cli.flags import Given, flags, with_flags
from relu_search.reproduce.paper_experiments import ReproduceSettings
from relu_search.settings.machines import Machines
from relu_search.settings.option_fields import option, options_of
from relu_search.settings.search_options import SearchOptions

VERBS = typer.main.get_command(app).commands
FLAGS = {name: {p.name: p for p in verb.params} for name, verb in VERBS.items()}
PANELS = ["Network", "Data", "Training", "Search", "Early stopping", "Machines", "Run"]


def test_search_has_a_flag_for_every_option_and_other_verbs_show_the_same_texts():
    assert set(options_of(SearchOptions)) <= set(FLAGS["search"])
    shared = {"search": SearchOptions, "train": SearchOptions, "confirm": Machines}
    for verb, kind in {**shared, "reproduce": ReproduceSettings}.items():
        own = {"train": {"out"}, "confirm": set()}.get(verb, set())
        defaults = {one.name: one.default for one in fields(kind)}
        for name, about in options_of(kind).items():
            if name in FLAGS[verb] and name not in own:
                flag = FLAGS[verb][name]
                assert flag.help.startswith(about.help)
                assert flag.rich_help_panel == about.panel
                assert flag.opts == [f"--{about.flag or name.replace('_', '-')}"]
                is_switch_off = flag.secondary_opts == [f"--no-{name.replace('_', '-')}"]
                assert is_switch_off == (defaults[name] is True)
                assert flag.default is None  # not typed; the dataclass knows the default


TYPED = {"bool": ([], True), "int": (["7"], 7), "float": (["1.5"], 1.5), "text": (["x"], "x")}


def test_a_flag_has_the_type_and_shows_the_default_of_its_field():
    about = options_of(SearchOptions)
    for field in fields(SearchOptions):
        flag = FLAGS["search"][field.name]
        kind = field.type.removesuffix(" | None")
        words, value = TYPED.get(kind, TYPED["text"])
        found = VERBS["search"].make_context("search", [*flag.opts, *words]).params
        assert (found[field.name], type(found[field.name])) == (value, type(value))
        shown = flag.help.partition("[default: ")[2].rstrip("]")
        says_nothing = field.default is None or field.default is False
        default = "" if says_nothing else str(field.default)
        assert shown == (about[field.name].default_text or default), field.name


def test_every_parameter_of_every_verb_has_a_help_text_and_flags_stand_in_a_known_panel():
    for verb, parameters in FLAGS.items():
        for parameter in parameters.values():
            assert parameter.help, (verb, parameter.name)
            assert parameter.help[0].isupper() or " " in parameter.help
            if parameter.rich_help_panel is not None:
                assert parameter.rich_help_panel in PANELS


@pytest.mark.parametrize("verb", ["search", "reproduce"])
def test_help_shows_the_panels_in_their_order(verb, cli):
    code, out, _ = cli(verb, "--help")
    assert code == 0
    found = [line.split()[1:] for line in out.splitlines() if line.startswith("╭─ ")]
    titles = [" ".join(words).rstrip("╮─ ") for words in found]
    assert [t for t in titles if t in PANELS] == [p for p in PANELS if p in titles]
    assert len(titles) >= 5


def test_help_has_a_summary_and_an_example(cli):
    for verb in VERBS:
        code, out, _ = cli(verb, "--help")
        assert code == 0
        text = " ".join(out.replace("│", " ").split())
        assert f"Example: relu-search {verb} " in text
        assert "`" not in out


@pytest.mark.parametrize("verb", VERBS)
def test_every_help_text_is_shown_as_it_is_typed(verb, cli, monkeypatch):
    """Help texts are Markdown: without backticks, `01*27, 11*9` would be shown as 0127, 119."""
    monkeypatch.setenv("COLUMNS", "1000")
    shown = " ".join(cli(verb, "--help")[1].replace("│", " ").split())
    own = [parameter.help for parameter in FLAGS[verb].values()]
    for typed in (*own, *VERBS[verb].help.split("\n\n")):
        assert " ".join(typed.replace("`", "").split()) in shown


def test_the_list_of_verbs_shows_their_first_lines_as_typed(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    shown = " ".join(cli("--help")[1].split())
    for verb in VERBS.values():
        assert " ".join(verb.help.split("\n\n")[0].replace("`", "").split()) in shown


def test_a_new_field_is_a_new_flag_and_only_typed_ones_are_given():
    @dataclass
    class Tea:
        sugar: int = option(2, "Run", "Spoons of sugar.")
        kind: Literal["black", "green"] = option("black", "Search", "Kind of tea.")
        milk: bool = option(False, "Run", "With milk.")
        cups: int | str | None = option(None, "Data", "Cups.", default_text="one each")

    got: list[tuple[Given, str]] = []
    shop = typer.Typer()

    @shop.command()
    @with_flags(flags(Tea))
    def brew(given: Given, pot: str = "large") -> None:
        got.append((given, pot))

    shop([], standalone_mode=False)
    shop(["--sugar", "3", "--milk", "--cups", "60%", "--pot", "small"], standalone_mode=False)
    assert got == [({}, "large"), ({"sugar": 3, "milk": True, "cups": "60%"}, "small")]
    by_name = {flag.name: flag for flag in flags(Tea)}
    assert by_name["cups"].help == "Cups. [default: one each]"
    assert by_name["kind"].choices == ("black", "green")
    assert flags(Tea, "sugar", default_text="none")[0].help == "Spoons of sugar. [default: none]"


def test_a_shell_completes_flags_and_choices(monkeypatch, cli):
    monkeypatch.setenv("_RELU_SEARCH_COMPLETE", "complete_bash")
    for words, expected in (
        ("--sampler g", ["gp", "greedy", "grid"]),
        ("--max-f", ["--max-failures"]),
        ("--granularity s", ["stage", "site"]),
    ):
        line = f"relu-search search {words}"
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
        code, out, _ = cli()
        assert (code, out.split()) == (0, expected)


def test_the_completion_script_is_shown(monkeypatch, cli):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    code, out, _ = cli("--show-completion", "bash")
    assert code == 0
    assert "complete -o default -F _relu_search_completion relu-search" in out
