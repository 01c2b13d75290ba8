"""The format `state_dict`: the weights of an `nn.Sequential`, and a script that builds it with torch alone."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import getsource
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import uint8
from numpy.typing import NDArray
from torch import Tensor, nn

from mnist_trainer.errors import CheckpointError, UsageError
from mnist_trainer.export.compress import pack_state, unpack, unpack_state
from mnist_trainer.export.module import without_random_layers
from mnist_trainer.export.program import convert_errors
from mnist_trainer.export.source import ExportSource, compare
from mnist_trainer.inference.predictor import MAX_PROBABILITY, MIN_PROBABILITY, InferenceSpec

HEAD = '"""Classify a picture of 28x28 pixels, bright ink on black, with torch alone; its path is the argument."""'

CODE = '''\
{definitions}model = {model}


def classify(images):
    """Map uint8 images [B, 28, 28] to {outputs} [B, {classes}]{none}."""
    outputs = model((images[:, None].float() / 255 - {mean!r}) / {std!r})
    return {answers}
'''

SCRIPT = (
    HEAD
    + """

import sys

import torch
from PIL import Image
from torch import Tensor, nn

{code}

if __name__ == "__main__":
    state = torch.load(__file__.removesuffix({script!r}) + {weights!r}, weights_only=True)
    model.load_state_dict({state})
    pixels = bytearray(Image.open(sys.argv[1]).convert("L").resize((28, 28)).tobytes())
    with torch.inference_mode():
        answers = classify(torch.frombuffer(pixels, dtype=torch.uint8).reshape(1, 28, 28))
    best = answers[0][0].argmax()
    print({names!r}[best], f"{{answers[0][0, best]:.6f}}"{print_none})
"""
)


def export_state_dict(source: ExportSource, out: Path) -> tuple[dict[Path, bytes], float]:
    """Return the content of the weights `out` and of the script beside it, and the largest difference from the model.

    Raises `CheckpointError` for an ensemble, for a module of the user's own, and if the script gives other answers;
    `UsageError` if it would replace another script.
    """
    script = out.with_suffix(".py")
    _check_script(out, script)
    check_layers(source, "The script")
    model = without_random_layers(source.predictor.members[0]).eval()
    text = _script_text(source, model, script.name, out.name)
    buffer = BytesIO()
    torch.save(pack_state(model, source.packed[0] if source.packed else {}), buffer)
    with convert_errors():
        classify = run_definitions(text, torch.load(BytesIO(buffer.getvalue()), weights_only=True))
    largest = compare(source, classify)
    return {out: buffer.getvalue(), script: text.encode()}, largest


def check_layers(source: ExportSource, product: str) -> None:
    """Raise `CheckpointError` for an ensemble, or a module of the user's own, neither of which has a `product`."""
    member = source.checkpoint.only
    if "model" in member.custom:
        raise CheckpointError(
            f"{product} is made from the layers of a config, and this model is {member.custom['model']}, which is not "
            "part of mnist_trainer. Export it to onnx or pt2."
        )


def _check_script(out: Path, script: Path) -> None:
    """Raise `UsageError` if the script would be the file of weights, or replace a file of the user's."""
    if script == out:
        raise UsageError(f"{out} is the name of the script. Name the weights, such as {out.with_suffix('.pt')}.")
    if script.exists() and HEAD.encode() not in script.read_bytes()[:200]:
        raise UsageError(f"{script} is not a script of mnist-export, and is not overwritten. Name another --out.")


def run_definitions(text: str, weights: Mapping[str, Tensor]) -> Any:
    """Return the function `classify` of a script, with NumPy arrays in and out, and the weights loaded."""
    namespace: dict[str, Any] = {"__name__": "exported"}
    exec(compile(text, "exported", "exec"), namespace)
    unpack_own = namespace.get("unpack_state", lambda state, model: state)
    namespace["model"].load_state_dict(unpack_own(weights, namespace["model"]))

    def run(images: NDArray[uint8]) -> tuple[NDArray[np.float32], ...]:
        with torch.inference_mode():
            return tuple(output.numpy() for output in namespace["classify"](torch.from_numpy(images)))

    return run


def _script_text(source: ExportSource, model: nn.Module, script: str, weights: str) -> str:
    """Return the script."""
    return SCRIPT.format(
        script=script,
        weights=weights,
        code=model_code(source, model),
        state="unpack_state(state, model)" if source.packed else "state",
        names=list(source.checkpoint.classes),
        print_none=', f"none of them: {answers[1][0]:.6f}"' if source.predictor.refusal_threshold is not None else "",
    )


def model_code(source: ExportSource, model: nn.Module) -> str:
    """Return code with torch, nn and Tensor imported: it builds `model` without weights, and defines `classify`."""
    spec, classes = source.predictor.specs[0], source.checkpoint.classes
    own = {type(module): None for module in model.modules() if not _is_torch(module)}
    definitions = [*own, *((unpack, unpack_state) if source.packed else ())]
    refuses = spec.refusal_threshold is not None
    columns = 1 if source.predictor.members[0](torch.zeros(2, 1, 28, 28)).shape[1] == 1 else len(classes)
    answers = _answers(spec, columns)
    return CODE.format(
        definitions="".join(f"{getsource(each)}\n\n" for each in definitions),
        model=f"{_code(model)}.eval()",
        mean=spec.normalization.mean,
        std=spec.normalization.std,
        answers=f"{answers}, torch.sigmoid(-outputs.logsumexp(dim=1))" if refuses else f"({answers},)",
        outputs="probabilities" if spec.gives_probabilities else "values whose order alone has a meaning",
        none=f' and the score of "none" [B]: none of them, if at least {spec.refusal_threshold}' if refuses else "",
        classes=len(classes),
    )


def _answers(spec: InferenceSpec, columns: int) -> str:
    """Return the expression that `to_probabilities` stands for, of `outputs` [B, columns]."""
    if spec.kind == "values":
        return "torch.cat([1 - outputs, outputs], dim=1)" if columns == 1 else "outputs"
    logits = {
        "sigmoid": f"torch.logit(outputs.clamp({MIN_PROBABILITY!r}, {MAX_PROBABILITY!r}))",
        "probabilities": f"outputs.clamp_min({MIN_PROBABILITY!r}).log()",
    }.get(spec.kind, "outputs")
    if columns == 1:  # the odds of yes against no
        logits = f"nn.functional.pad({logits}, (1, 0))"
    return f"torch.softmax({logits} / {spec.temperature!r}, dim=1)"


def _is_torch(module: nn.Module) -> bool:
    """Return whether `torch.nn` has the class of a module."""
    return getattr(nn, type(module).__name__, None) is type(module)


def _code(module: nn.Module, indent: str = "") -> str:
    """Return an expression that builds `module`, from torch's description of its arguments."""
    name = f"{'nn.' if _is_torch(module) else ''}{type(module).__name__}"
    if not list(module.children()):
        arguments = module.extra_repr().replace("padding=same", "padding='same'")
        arguments = arguments.replace("affine=True, bias=True", "affine=True")  # older versions have no such argument
        return f"{name}({arguments})"
    inner = f"{indent}    "
    return f"{name}(\n" + "".join(f"{inner}{_code(each, inner)},\n" for each in module.children()) + f"{indent})"
