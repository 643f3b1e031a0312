"""The documentation knows every command and option, and names none that does not exist."""

import dataclasses
import itertools
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from features.recipes.presets import PRESETS
from features.recipes.recipe import Recipe
from features.votes.to_pairs import VotePairsConfig
from ingest.simulator.config import SimulationConfig
from lurker.cli import app
from lurker.config import override
from lurker.votes.arenas import ArenaConfig
from rm.policy.agent_config import AgentConfig
from rm.policy.writer_config import WriterConfig
from rm.training.config import TrainConfig
from tests.docs.conftest import ROOT, lurker_calls, pages

CALLS = [(page, call) for page in pages() for call in lurker_calls(page)]
TRAINING = TrainConfig(learning_rate=1e-3)
EXPERIMENT_FIELDS = ("pairs", "max_pairs")
"""What a candidate of `lurker experiment search` may set besides training fields."""


def test_reference_documents_every_command_and_option(generate: ModuleType) -> None:
    page = generate.command_reference()
    sections = {title: body for title, _, body in (part.partition("\n") for part in page.split("## ")[1:])}
    for path, command in generate.commands():
        section = sections[path]
        assert command.help, f"{path} has no description"
        for parameter in generate.parameters(command):
            assert parameter.help, f"{path} {parameter.opts[0]} has no help text"
            names = parameter.opts if parameter.param_type_name == "option" else [parameter.metavar or parameter.name]
            for name in (*names, *parameter.secondary_opts):
                shown = name.strip("{}").removesuffix("...").lower()
                assert shown in section.lower(), f"{path}: {name} is not documented"


def test_reference_describes_every_field(generate: ModuleType) -> None:
    for config in (Recipe, TrainConfig, WriterConfig, AgentConfig, SimulationConfig, ArenaConfig, VotePairsConfig):
        documented = generate.field_docs(config)
        assert set(documented) == {field.name for field in dataclasses.fields(config)}
        assert all(documented.values()), [name for name, meaning in documented.items() if not meaning]


def test_every_command_appears_in_a_guide(generate: ModuleType) -> None:
    shown = {" ".join(call[:2]) for _, call in CALLS} | {call[0] for _, call in CALLS}
    missing = [path for path, _ in generate.commands() if path.removeprefix("lurker ") not in shown]
    assert not missing, f"no page shows how to call {missing}"


@pytest.mark.parametrize(("page", "call"), CALLS, ids=lambda value: str(value)[-60:])
def test_documented_calls_parse(page: Path, call: list[str]) -> None:
    context = typer.main.get_command(app).make_context("lurker", list(call))
    while hasattr(context.command, "commands") or hasattr(context.command, "list_commands"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = context.command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    _check_settings(call, context.params)


def _check_settings(call: list[str], params: dict[str, Any]) -> None:
    """Check every `field=value` against its config, and every recipe name."""
    settings = [value for option, value in itertools.pairwise(call) if option == "--set"]
    if call[:2] == ["pairs", "build"] and params["recipe"] == "votes":
        override(VotePairsConfig(), settings)
    elif call[:2] == ["arena", "serve"]:
        override(ArenaConfig(), settings)
    elif call[:2] == ["pairs", "build"]:
        override(PRESETS[params["recipe"]](), settings)
    elif call[:2] == ["policy", "train-agent"]:
        override(AgentConfig(learning_rate=1e-3), settings)
    elif call[:2] == ["policy", "train-writer"]:
        override(WriterConfig(learning_rate=1e-3), settings)
    elif call[:2] == ["ingest", "simulate"]:
        override(SimulationConfig(), settings)
    else:
        stages = [value for option, value in itertools.pairwise(call) if option == "--try"]
        tried = [setting for stage in stages for candidate in stage.split("|") for setting in candidate.split()]
        for setting in [*settings, *tried]:
            if setting.partition("=")[0] not in EXPERIMENT_FIELDS:
                override(TRAINING, [setting])


def test_an_unknown_option_is_noticed() -> None:
    with pytest.raises(Exception, match="No such option"):
        test_documented_calls_parse(ROOT, ["pairs", "build", "x", "--recipe", "naive", "--no-such-option"])
