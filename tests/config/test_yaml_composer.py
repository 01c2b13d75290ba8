"""What libyaml makes of a text is what PyYAML makes of it, or it is not asked."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mnist_trainer.config.load import dump_config, load_config
from mnist_trainer.config.shipped import shipped
from mnist_trainer.config.yaml_reader import compose, compose_with

needs_libyaml = pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML was built without libyaml")

PARTS = [
    *"{}[],:?-!&*#|>%@`'\"\\ \n\r\t~<=a1é\x85\u2028\ufeff\ud800\U0001f600\x00",
    *["\n  ", "\n- ", ": ", " #", "---", "\n...\n", "&a ", "*a", "\\x41", "''", '""', "- - ", "a: 1\n", "a:1", '"a":1'],
]


def nodes(node: Any) -> Any:
    """A node, its marks and all below it as plain values."""
    if isinstance(node, tuple):
        return tuple(map(nodes, node))
    if node is None:
        return None
    value = [nodes(inner) for inner in node.value] if isinstance(node.value, list) else node.value
    return type(node), node.tag, value, node.start_mark.line, node.start_mark.column


def outcome(composing: Any) -> Any:
    try:
        return nodes(composing())
    except yaml.reader.ReaderError as error:
        return str(error)
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark
        return error.context, error.problem, mark.line, mark.column


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PARTS), max_size=12).map("".join))
@example("a: &x [1, {b: 'c'}]\nd: *x\n")
@example("---")
@example("%YAML 1.1#\n---\na: 1\n")
@example("a: {b:\t1}")
@example("[a? b]")
@example("a: |#\n")
@example("!")
@example("\n\ufeff a: 1\n")
@example("[a: # none\n]")
@example("{a: }")
@example('a: "\ud800"')
@example("a: &a [*a]")
@example("a: *b")
@example("[" * 60)
def test_any_text_has_the_nodes_the_places_and_the_mistakes_of_pyyaml(text: str) -> None:
    assert outcome(lambda: compose(text)) == outcome(lambda: compose_with(yaml.SafeLoader, text))


@needs_libyaml
@pytest.mark.parametrize("name", [*shipped()])
def test_the_config_of_a_run_is_left_to_libyaml(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = dump_config(load_config(name))
    expected = nodes(compose_with(yaml.SafeLoader, text))
    monkeypatch.setattr(yaml, "SafeLoader", None)
    assert nodes(compose(text)) == expected


def test_without_libyaml_it_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = nodes(compose("a: [1, b]\n"))
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    monkeypatch.setattr(yaml, "CSafeLoader", None, raising=False)
    assert nodes(compose("a: [1, b]\n")) == expected
