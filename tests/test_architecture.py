"""The house rules, read from the source: which way data flows, how long a file is, who may write and print."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import mnist_trainer

PACKAGE = Path(mnist_trainer.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

STAGES = (
    "config",
    "pictures",
    "simulator",
    "data",
    "model",
    "inference",
    "training",
    "storage",
    "reports",
    "pipeline",
    "export",
    "studies",
    "lab",
    "serve",
    "cli",
)
"""In the order in which data flow. `BEFORE` them are modules that all may use, and behind them the package's own
`__main__` and `__init__`."""

BEFORE = ("errors", "files", "seeds")

FREE_OF_TORCH = ("config", "pictures", "simulator")
READS_WITHOUT_TORCH = (
    *("data/tables.py", "pipeline/predict.py", "storage/onnx_file.py", "inference/reading.py", "reports/results.py"),
)
SERVER = {"fastapi", "starlette", "uvicorn"}
"""Imported by all of serve/, which commands import inside functions."""

HEAVY = {
    *SERVER,
    *("torchvision", "matplotlib", "cv2", "tensorboard", "optuna", "psycopg"),
    *("onnx", "onnxscript", "onnxruntime", "keras", "safetensors"),
}
"""Imported inside functions only, by those who need them."""

LINES_A_FUNCTION = 50

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def stage_of(name: str) -> int:
    """The position of a file (`data/tables.py`) or of a module (`data.tables`) in the flow."""
    first = name.replace("/", ".").removesuffix(".py").split(".")[0]
    order = (*BEFORE, *STAGES, "__main__", "__init__")
    return order.index(first) if first in order else -1


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere below `tree`; `a.b` for `from a import b` where b may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield str(node.module)
            if node.module in ("mnist_trainer", *(f"mnist_trainer.{stage}" for stage in STAGES)):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_at_start(tree: ast.Module) -> Iterator[str]:
    """What is imported when the module is: outside of functions and of `if TYPE_CHECKING`."""
    for node in tree.body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if not isinstance(node, Function | ast.ClassDef):
            yield from imports_of(node)


def calls_of(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call with its name: `open`, `path.write_text` is `write_text`, `torch.save` stays."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(id=name):
                    yield name, node
                case ast.Attribute(value=ast.Name(id=module), attr=name) if module in MODULES:
                    yield f"{module}.{name}", node
                case ast.Attribute(attr=name):
                    yield name, node


def below(stage: str) -> list[Path]:
    return [path for path in FILES if name_of(path).startswith(f"{stage}/")]


def test_every_file_belongs_to_a_stage() -> None:
    assert {name_of(path) for path in FILES if stage_of(name_of(path)) == -1} == set()
    assert {path.relative_to(PACKAGE).parts[0] for path in FILES if path.parent != PACKAGE} == set(STAGES)
    assert {stage for stage in STAGES if not (PACKAGE / stage / "__init__.py").exists()} == set()


def backward_imports(path: Path) -> list[str]:
    own, modules = stage_of(name_of(path)), set(imports_of(tree_of(path)))
    assert "mnist_trainer" not in modules, f"{name_of(path)}: stages import from stages, not from the package"
    ours = [module for module in modules if module.startswith("mnist_trainer.")]
    return [module for module in ours if not 0 <= stage_of(module.removeprefix("mnist_trainer.")) <= own]


def test_data_flow_one_way() -> None:
    files = [path for path in FILES if name_of(path) != "__init__.py"]  # it names what is public, from every stage
    assert {name_of(path): found for path in files if (found := backward_imports(path))} == {}


def test_configs_and_pictures_know_no_torch() -> None:
    files = [path for stage in FREE_OF_TORCH for path in below(stage)]
    found = {name_of(path): {module.split(".")[0] for module in imports_of(tree_of(path))} for path in files}
    assert {name: modules for name, modules in found.items() if modules & {"torch", "torchvision"}} == {}


def test_pictures_are_read_without_torch() -> None:
    """The modules themselves; tests/pipeline/test_predict_without_torch.py looks at whole processes."""
    found = {name: set(imports_at_start(tree_of(PACKAGE / name))) for name in READS_WITHOUT_TORCH}
    assert {name for name, modules in found.items() if any(each.split(".")[0] == "torch" for each in modules)} == set()


def test_what_is_slow_to_import_is_imported_where_it_is_needed() -> None:
    found = {name_of(path): {module.split(".")[0] for module in imports_at_start(tree_of(path))} for path in FILES}
    needless = {
        name: modules & HEAVY - (SERVER if name.startswith("serve/") else set()) for name, modules in found.items()
    }
    assert {name: modules for name, modules in needless.items() if modules} == {}


def test_commands_begin_with_typer_and_errors_alone() -> None:
    for path in below("cli"):
        modules = {module.split(".")[0] for module in imports_at_start(tree_of(path))}
        assert modules - set(sys.stdlib_module_names) <= {"typer", "mnist_trainer"}
        own = {module for module in imports_at_start(tree_of(path)) if module.startswith("mnist_trainer")}
        assert all(module.startswith(("mnist_trainer.cli", "mnist_trainer.errors")) for module in own)


def test_functions_are_short() -> None:
    functions = {
        f"{name_of(path)}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, Function)
    }
    assert len(functions) > 100
    assert {name: length for name, length in functions.items() if length > LINES_A_FUNCTION} == {}


GRADIENT_CALLS = {"backward", "zero_grad", "step", "unscale_", "clip_grads_with_norm_"}


def test_only_train_step_computes_gradients_and_takes_steps() -> None:
    def calls(tree: ast.AST) -> list[str]:
        found = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
        return [function.attr for function in found if isinstance(function, ast.Attribute)]

    files = [path for path in FILES if path not in below("lab")]  # it builds from scratch what the lecture does
    found = {name_of(path): GRADIENT_CALLS.intersection(calls(tree_of(path))) for path in files}
    assert {name for name, used in found.items() if used} == {"training/loop.py"}
    (train_step,) = (
        node for node in tree_of(PACKAGE / "training/loop.py").body if getattr(node, "name", "") == "train_step"
    )
    assert set(calls(train_step)) >= GRADIENT_CALLS
    assert isinstance(train_step, ast.FunctionDef) and (train_step.end_lineno or 0) - train_step.lineno < 40


def test_every_file_says_what_it_is_for() -> None:
    assert [name_of(path) for path in FILES if not ast.get_docstring(tree_of(path))] == []
    beginnings = {
        name_of(path): [node for node in tree_of(path).body if not isinstance(node, ast.Expr)] for path in FILES
    }
    found = {name: code[0] for name, code in beginnings.items() if code}
    assert [name for name, node in found.items() if getattr(node, "module", "") != "__future__"] == []


def test_there_is_no_drawer_for_everything() -> None:
    assert {path.stem for path in FILES} & {"utils", "util", "helpers", "misc", "tools"} == set()


# --- who may write, who may print ---

DOORS = {
    "files.py": "the one door",
    "serve/trainings.py": "the messages of a training go to a temporary file without a name",
    "export/benchmark.py": "measures exported files in a temporary folder",
    "data/datasets.py": "downloads to the path that `atomic_write` gives it",
    "data/cache.py": "writes to the path that `atomic_write` gives it",
    "export/keras.py": "Keras writes to a path only, here in a temporary folder, whose bytes go through the door",
}
MODULES = ("torch", "np", "os", "shutil", "json", "pickle", "tempfile", "yaml")
WRITERS = {
    *("write_text", "write_bytes", "torch.save", "np.save", "np.savetxt", "savez", "np.savez", "np.savez_compressed"),
    *("tofile", "savefig", "imwrite", "imsave", "to_csv", "json.dump", "pickle.dump", "memmap", "np.memmap", "FileIO"),
    *("mkdir", "os.mkdir", "os.makedirs", "touch", "os.open", "os.write", "os.truncate", "truncate", "mkfifo"),
    *("extract", "extractall", "tempfile.mkstemp", "tempfile.mkdtemp", "tempfile.NamedTemporaryFile"),
    *("tempfile.TemporaryFile", "tempfile.TemporaryDirectory", "NamedTemporaryFile", "TemporaryDirectory"),
}
MOVERS = {
    *("os.replace", "os.rename", "rename", "unlink", "os.unlink", "os.remove", "rmdir", "os.rmdir", "os.fsync"),
    *("os.link", "os.symlink", "hardlink_to", "symlink_to", "link_to", "os.chmod", "chmod"),
    *("rmtree", "move", "copy2", "copyfile", "copytree", "copyfileobj", "make_archive", "unpack_archive"),
    *(f"shutil.{name}" for name in ("rmtree", "move", "copy", "copy2", "copyfile", "copytree", "copyfileobj")),
    *("shutil.make_archive", "shutil.unpack_archive"),
}
FUNCTIONS_OF_THE_DOOR = {"write_text", "write_bytes"}
"""Also the names of the door's own functions, which are called without an object."""


def opens_to_write(name: str, call: ast.Call) -> bool:
    """Whether a file is opened with a mode that writes, or with one that is not written out."""
    if name not in ("open", "fdopen", "ZipFile", "GzipFile", "TarFile", "FileIO"):
        return False
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    values = [*call.args[isinstance(call.func, ast.Name) :], *(keyword.value for keyword in call.keywords)]
    texts = [value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)]
    writing = any(set(text) <= set("rwaxbt+") and set(text) & set("wax+") for text in texts)
    return writing or any(not isinstance(mode, ast.Constant) for mode in modes)


def writes_of(path: Path) -> list[str]:
    return writes_in(tree_of(path))


def writes_in(tree: ast.AST) -> list[str]:
    found = []
    for name, call in calls_of(tree):
        through_the_door = name in FUNCTIONS_OF_THE_DOOR and isinstance(call.func, ast.Name)
        into_a_stream = name in ("torch.save", "savefig", "np.savez", "pickle.dump", "ZipFile") and _goes_into_memory(
            call
        )
        to_nowhere = ast.unparse(call).startswith("os.open(os.devnull")
        if (
            (name in WRITERS | MOVERS or opens_to_write(name, call))
            and not through_the_door
            and not (into_a_stream or to_nowhere)
        ):
            found.append(f"line {call.lineno}: {name}")
    return found


def _goes_into_memory(call: ast.Call) -> bool:
    """Whether a picture or a checkpoint goes into a stream: one that the door gave, one in memory, or a pipe."""
    names = {ast.unparse(node) for node in call.args}
    return bool(names & {"stream", "buffer", "sys.stdout.buffer"})


def test_files_are_written_through_one_door() -> None:
    files = [path for path in FILES if name_of(path) not in DOORS]
    assert {name_of(path): found for path in files if (found := writes_of(path))} == {}


def test_the_search_for_writes_finds_them() -> None:
    assert all(writes_of(PACKAGE / name) for name in DOORS)
    writing = (
        "open('a', 'w'); p.open(mode='ab'); open('a', mode=m); p.write_text(''); torch.save(a, 'b'); os.open(a, f)\n"
        "shutil.copy(a, b); copyfile(a, b); p.hardlink_to(a); p.symlink_to(a); np.savez('a', b); json.dump(a, b)\n"
        "gzip.open(a, 'wb'); ZipFile(a, 'a'); p.touch(); p.rename(a); os.makedirs(a); a.tofile(b); z.extractall(a)\n"
        "tempfile.mkdtemp(); os.truncate(a, 3); io.FileIO(a, 'w'); np.memmap(a); pickle.dump(a, b); s.truncate(1)"
    )
    reading = (
        "open('w'); open('a', 'rb'); p.open(); json.dumps(a); a.copy(); torch.save(a, stream); write_text(p, '')\n"
        "ZipFile(a); ZipFile(stream, 'a'); yaml.dump(a); text.replace('a', 'b'); np.savez(buffer, a); Image.open(a)"
    )
    assert len(writes_in(ast.parse(writing))) == len(list(calls_of(ast.parse(writing))))
    assert writes_in(ast.parse(reading)) == []


def test_only_commands_and_consoles_print() -> None:
    printing = {
        name_of(path)
        for path in FILES
        for name, call in calls_of(tree_of(path))
        if name in ("print", "secho", "echo") and isinstance(call.func, ast.Name | ast.Attribute)
    }
    assert {name for name in printing if not name.startswith("cli/")} == {"reports/console.py"}


# --- what is public ---


def test_every_public_name_can_be_imported() -> None:
    assert sorted(mnist_trainer.__all__) == mnist_trainer.__all__
    assert dir(mnist_trainer) == mnist_trainer.__all__
    assert {"Config", "train", "evaluate", "predict"} <= set(mnist_trainer.__all__)
    for name in mnist_trainer.__all__:
        assert getattr(mnist_trainer, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'mnist_trainer' has no attribute 'nonsense'"):
        mnist_trainer.nonsense  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    (block,) = (node for node in tree_of(PACKAGE / "__init__.py").body if isinstance(node, ast.If))
    seen = {
        alias.name: str(node.module).removeprefix("mnist_trainer.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == mnist_trainer._MODULES
    assert sorted(seen) == mnist_trainer.__all__


def test_names_that_a_module_lists_are_there() -> None:
    for path in FILES:
        module = import_module(".".join(["mnist_trainer", *path.relative_to(PACKAGE).with_suffix("").parts]))
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), f"{name_of(path)}: {name}"


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import sys, mnist_trainer; mnist_trainer.Config; dir(mnist_trainer)\n"
        "sys.exit(' '.join({'torch', 'numpy', 'matplotlib', 'cv2', 'PIL'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_the_picture_in_the_package_shows_the_stages() -> None:
    assert mnist_trainer.__doc__ is not None
    drawing = mnist_trainer.__doc__
    places = [drawing.find(f"{stage} ─►") for stage in STAGES[:8]]
    assert -1 not in places
    assert places == sorted(places)
