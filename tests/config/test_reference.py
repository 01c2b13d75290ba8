from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnist_trainer.config.fields import Section
from mnist_trainer.config.messages import keys_of, names_of, sections_in
from mnist_trainer.config.schema import Config
from mnist_trainer.config.shipped import shipped_path

ROOT = Path(__file__).parents[2]
TABLE = runpy.run_path(str(ROOT / "scripts" / "reference_table.py"))
json_schema, reference_table = TABLE["json_schema"], TABLE["reference_table"]
START, END = "<!-- reference -->\n", "<!-- /reference -->"


def all_sections(section: type[Section], seen: set[type[Section]]) -> Iterator[type[Section]]:
    if section not in seen:
        seen.add(section)
        yield section
        for field in section.model_fields.values():
            for inner in sections_in(field.annotation):
                yield from all_sections(inner, seen)


SECTIONS = list(all_sections(Config, set()))


def test_the_schema_is_up_to_date() -> None:
    written = shipped_path("mlp").with_name("schema.json").read_text(encoding="utf-8")
    assert json.loads(written) == json_schema(), "run scripts/reference"


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page.split(START)[1].split(END)[0] == f"\n{reference_table()}\n", "run scripts/reference"


@pytest.mark.slow
def test_the_script_agrees(tmp_path: Path) -> None:
    """In a copy of the files: it writes what is out of date, and --check only tells."""
    for folder in ("scripts", "configs", "docs"):
        (tmp_path / folder).mkdir()
    script = tmp_path / "scripts" / "reference"
    for name in ("reference", "reference_table.py"):
        (tmp_path / "scripts" / name).write_bytes((ROOT / "scripts" / name).read_bytes())
    page = tmp_path / "docs" / "configuration.md"
    page.write_text(f"before\n{START}old\n{END}\nafter\n")
    (tmp_path / "README.md").write_text("<!-- train_step -->\n<!-- /train_step -->\n")

    def run(*arguments: str) -> tuple[int, str]:
        done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    schema = Path("configs") / "schema.json"
    made = ("configs/schema.json", "docs/configuration.md", "docs/files.md", "README.md")
    stale = "".join(f"{name} is out of date: run scripts/reference\n" for name in made)
    assert run("--check") == (1, stale)
    assert "old" in page.read_text()
    assert run() == (0, "")
    assert run("--check") == (0, "")
    assert page.read_text(encoding="utf-8") == f"before\n{START}\n{reference_table()}\n{END}\nafter\n"
    assert json.loads((tmp_path / schema).read_text(encoding="utf-8")) == json_schema()
    page.write_text("no markers")
    assert run() == (1, "docs/configuration.md: the markers <!-- reference --> and <!-- /reference --> are missing\n")


def test_the_schema_names_its_draft_and_describes_every_key() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "A config of mnist_trainer"
    for section in SECTIONS:
        spec = schema if section is Config else schema["$defs"][section.__name__]
        assert spec["additionalProperties"] is False
        assert spec["description"]
        assert set(spec["properties"]) == set(keys_of(section))
        for key, value in spec["properties"].items():
            assert "description" in value or key in ("name", "type", "architecture"), f"{section.__name__}.{key}"


def test_the_schema_accepts_short_forms_with_the_other_keys_of_their_section() -> None:
    short = json_schema()["$defs"]["Mlp"]["properties"]["init"]["anyOf"]
    (constant,) = (each for each in short if each.get("required") == ["constant"])
    assert constant["properties"].keys() == {"constant", "bias"}
    assert constant["additionalProperties"] is False


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_the_table_covers_every_key_of(section: type[Section]) -> None:
    table = reference_table()
    keys = keys_of(section)
    if names_of(section) and f"| **{keys[0]}: " in table:
        named = ", ".join(f"`{name}`" for name in names_of(section))
        assert f"**{keys[0]}: {named}**" in table or f"| `{keys[0]}` | {named} |" in table
        keys = keys[1:]
    for key in keys:
        assert f"| `{key}` | " in table


@pytest.mark.parametrize(
    "row",
    [
        "| `seed` | whole number ≥ 0 | `0` | random seed for weights, order and dropout |",
        "| `model` | [model](#keys-of-model) | required | the network |",
        "| `activation` | [activation](#keys-of-activation) | `relu` | after each hidden layer |",
        "| `size` | whole number > 0 or `global` | `2` | height and width of the window, in pixels, or `global` |",
        "| `betas` | list of: number ≥ 0, < 1 | `[0.9, 0.999]` | decay rates of the two running means |",
        "| `monitor` | `val_loss`, `val_accuracy` | `val_loss` | the validation metric to monitor |",
        "| **name: `alrelu`** | | | x for x > 0, else \\|alpha·x\\|: the leaky side folded upwards. |",
    ],
)
def test_rows(row: str) -> None:
    assert reference_table().split("\n").count(row) == 1


def test_what_one_of_a_set_has_otherwise_stands_with_it() -> None:
    rows = [line for line in reference_table().split("\n") if line.startswith("| `init` |")]
    defaults = [row.split(" | ")[2] for row in rows]
    assert defaults == ["`default`", "`uniform`"]


def test_keys_that_all_of_a_set_share_stand_once() -> None:
    assert reference_table().count("| `weight_decay` |") == 1
    assert reference_table().count("| `penalties` |") == 1
