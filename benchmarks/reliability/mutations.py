"""Damage files at random. The same random numbers give the same mutation in every version of Python."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from random import Random

TOKENS = [
    *(
        "",
        "null",
        "~",
        "true",
        "off",
        "NO",
        "1e999",
        "-1e999",
        ".nan",
        ".inf",
        "-.inf",
        "-1",
        "0",
        "1",
        "0.5",
        "1e-320",
    ),
    *("9" * 30, "9" * 5000, "9223372036854775807", "-9223372036854775808", "0x" + "f" * 40, "0o7", "1_000", "1:30:00"),
    *("[]", "{}", "[[[[[[]]]]]]", "[" * 3000, "{a: " * 200, "- " * 60, "? ", "? [a]: b", "&x [*x]", "*x", "&x &x 1"),
    *("!!python/object/apply:os.system ['true']", "!!binary aGk=", "!!set {a}", "! x", "<<: *x", "<<: {a: 1}", "---"),
    *("...", "%YAML 9.9", "@x", "`x`", "|", ">-\n  x", "'", '"', '"\\x1b[31m"', '"\\u202e"', '"\\0"', "'\x1b]0;x\x07'"),
    *("\t", "\ufeff", "\u2028", "\x85", "\x00", "\x7f", "é", "٣", "😀", "x" * 2000, "../../etc/passwd", "/dev/zero"),
    *("{layers: 10000, units: 1}", "[1, [2, {a: b}]]", "classes", "global", "same", "mse", "folder", "usps", "cuda:99"),
    *("cuda:99999999999999999999", "{name: x}", "{conv: 1}", "{residual: [{residual: [flatten]}]}", "10000000"),
]
"""Unexpected values in a config."""

NUMBERS = [0, 1, 2, 3, 7, 27, 28, 29, 255, 256, 999, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 12_000, 16_383, 65_500, 150_000]
NUMBERS += [0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**32 - 28, 60_000, 2**24, 2**31 - 2**16]
"""Unexpected lengths."""

BYTES = [0, 1, 2, 8, 9, 0x0A, 0x0C, 0x1B, 0x22, 0x27, 0x3A, 0x5B, 0x7F, 0x80, 0xC0, 0xFE, 0xFF]


def _flips(content: bytearray, random: Random) -> None:
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        at = _place(content, random)
        if random.random() < 0.5:
            content[at] ^= 1 << random.randrange(8)
        else:
            content[at] = random.choice(BYTES)


def _cut(content: bytearray, random: Random) -> None:
    del content[_place(content, random) :]


def _hole(content: bytearray, random: Random) -> None:
    start = _place(content, random)
    del content[start : start + random.choice((1, 2, 4, 16, 100, 1000))]


def _inserted(content: bytearray, random: Random) -> None:
    at = _place(content, random)
    content[at:at] = random.randbytes(random.choice((1, 2, 4, 16, 100, 1000)))


def _doubled(content: bytearray, random: Random) -> None:
    start, length = _place(content, random), random.choice((1, 4, 16, 100, 1000))
    content[start:start] = content[start : start + length] * random.choice((1, 2, 20))


def _spliced(content: bytearray, random: Random) -> None:
    start, other, length = (_place(content, random) for _ in range(3))
    content[start : start + length] = content[other : other + length]


def _blanked(content: bytearray, random: Random) -> None:
    start, length = _place(content, random), random.choice((4, 64, 1000))
    content[start : start + length] = bytes([random.choice((0, 0xFF))]) * len(content[start : start + length])


def _length(content: bytearray, random: Random) -> None:
    form = random.choice(("<H", ">H", "<I", ">I", "<I", ">I"))
    size = struct.calcsize(form)
    at = min(_place(content, random), max(0, len(content) - size))
    content[at : at + size] = struct.pack(form, random.choice(NUMBERS) % 2 ** (8 * size))


def _place(content: bytearray, random: Random) -> int:
    """Return a random position, often near the beginning or the end, where the headers are."""
    near = min(len(content), random.choice((4, 32, 128, len(content), len(content))))
    at = random.randrange(max(1, near))
    return at if random.random() < 0.8 else max(0, len(content) - 1 - at)


Change = Callable[[bytearray, Random], None]
CHANGES: tuple[Change, ...] = (_flips, _cut, _hole, _inserted, _doubled, _spliced, _blanked, _length, _length)


def damaged(content: bytes, random: Random) -> bytes:
    """Return `content` with one to three changes."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        if changed:
            random.choice(CHANGES)(changed, random)
    return bytes(changed)


def damaged_text(text: str, random: Random) -> bytes:
    """Return a config with unexpected values, or with moved, deleted, doubled or indented lines, or damaged bytes."""
    lines = text.splitlines()
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(lines))
        _CHANGED_LINE[random.randrange(len(_CHANGED_LINE))](lines, at, random)
        lines = lines or [""]
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    if random.random() < 0.2:
        content = damaged(content, random)
    encoding = random.choice(["bom"] + ["utf-16"] + ["plain"] * 30)
    return {"bom": b"\xef\xbb\xbf" + content, "utf-16": content.decode("utf-8", "replace").encode("utf-16-le")}.get(
        encoding, content
    )


def _other_value(lines: list[str], at: int, random: Random) -> None:
    key, colon, _ = lines[at].partition(":")
    lines[at] = f"{key}{colon} {random.choice(TOKENS)}"


def _other_word(lines: list[str], at: int, random: Random) -> None:
    words = lines[at].replace(",", " , ").replace("{", " { ").replace("[", " [ ").split(" ")
    words[random.randrange(len(words))] = random.choice(TOKENS)
    lines[at] = " ".join(words)


def _other_place(lines: list[str], at: int, random: Random) -> None:
    lines.insert(random.randrange(len(lines)), lines.pop(at))


def _no_line(lines: list[str], at: int, random: Random) -> None:
    del lines[at]


def _same_line(lines: list[str], at: int, random: Random) -> None:
    lines[at:at] = [lines[at]] * random.choice((1, 1, 2, 500))


def _other_indent(lines: list[str], at: int, random: Random) -> None:
    lines[at] = random.choice((" ", "  ", "\t", "- ", "      ")) + lines[at].lstrip(random.choice((" ", "")))


def _other_key(lines: list[str], at: int, random: Random) -> None:
    before, colon, value = lines[at].partition(":")
    lines[at] = f"{random.choice((before[:-1], before + 's', before[::-1], random.choice(TOKENS)))}{colon}{value}"


def _line_of_model(lines: list[str], at: int, random: Random) -> None:
    kind, key = random.choice(_SIZES)
    lines[at:] = ["model:", f"  architecture: {kind}", f"  {key}: {random.choice(TOKENS)}"]


_SIZES = [("mlp", "hidden"), ("mlp", "activation"), ("cnn", "channels"), ("cnn", "kernel"), ("cnn", "pool")]
_SIZES += [
    ("vgg", "convolutions"),
    ("residual", "blocks"),
    ("vgg", "channels"),
    ("layers", "layers"),
    ("neuron", "bias"),
]
_CHANGED_LINE = (_other_value, _other_value, _other_word, _other_word, _other_place, _no_line, _same_line)
_CHANGED_LINE += (_other_indent, _other_key, _line_of_model)


def damaged_zip(content: bytes, random: Random) -> bytes:
    """Return a ZIP with changed, missing, doubled, renamed or compressed entries; their CRCs are valid."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = [(info.filename, archive.read(info)) for info in archive.infolist()]
    at = random.randrange(len(parts))
    name, part = parts[at]
    way = random.choice(("part", "part", "pickle", "pickle", "left out", "doubled", "renamed", "swapped", "packed"))
    packing = zipfile.ZIP_DEFLATED if way == "packed" else zipfile.ZIP_STORED
    if way == "part":
        parts[at] = name, damaged(part, random)
    elif way == "pickle":
        at = next(place for place, (found, _) in enumerate(parts) if found.endswith("data.pkl"))
        parts[at] = parts[at][0], damaged(parts[at][1], random)
    elif way == "left out":
        del parts[at]
    elif way == "doubled":
        parts.append((name, damaged(part, random)))
    elif way == "renamed":
        parts[at] = random.choice(("../../escaped", "/tmp/escaped", "archive/data.pkl", "\x1b[31m", "x" * 3000)), part
    elif way == "swapped":
        other = random.randrange(len(parts))
        parts[at], parts[other] = (name, parts[other][1]), (parts[other][0], part)
    return zip_of(parts, packing)


def zip_of(parts: list[tuple[str, bytes]], packing: int = zipfile.ZIP_STORED) -> bytes:
    """Return a ZIP with these entries, whose dates are always the same."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, part in parts:
            info = zipfile.ZipInfo(name)
            info.compress_type = packing
            if name in archive.NameToInfo:
                archive.NameToInfo.pop(name)  # zipfile would warn of the duplicate, which is intended
            archive.writestr(info, part)
    return stream.getvalue()


def damaged_png(content: bytes, random: Random) -> bytes:
    """Return a PNG with a changed, missing, doubled or moved chunk; the CRCs are valid."""
    chunks = list(png_chunks(content))
    at = random.randrange(len(chunks))
    kind, body = chunks[at]
    way = random.choice(("body", "header", "lost", "doubled", "moved", "kind"))
    if way == "body":
        chunks[at] = kind, damaged(body, random)
    elif way == "header":
        width, height = (random.choice(NUMBERS) for _ in range(2))
        rest = bytes(random.choice((0, 1, 2, 3, 4, 6, 8, 16, 255)) for _ in range(5))
        chunks[0] = b"IHDR", struct.pack(">II", width, height) + random.choice((rest, chunks[0][1][8:]))
    elif way == "lost":
        del chunks[at]
    elif way == "doubled":
        chunks[at:at] = [chunks[at]] * random.choice((1, 3, 500))
    elif way == "moved":
        chunks.insert(random.randrange(len(chunks)), chunks.pop(at))
    else:
        chunks[at] = (
            random.choice((b"tRNS", b"PLTE", b"iCCP", b"zTXt", b"eXIf", b"acTL", b"fcTL", b"fdAT", b"gAMA")),
            body,
        )
    return png_of(chunks)


def png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and the data of each chunk."""
    at = 8
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        yield content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        at += 12 + length


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """Return a PNG with these chunks and valid CRCs."""
    written = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


def resized(content: bytes, size: tuple[int, int], random: Random) -> bytes:
    """Return a picture with a wrong size in its header: the bytes of its width and height are searched and replaced."""
    changed = bytearray(content)
    for side in size:
        forms = ("<H", ">H", "<I", ">I")
        found = [(form, changed.find(struct.pack(form, side), 0, 600)) for form in forms]
        there = [(form, at) for form, at in found if at >= 0]
        if there and random.random() < 0.8:
            form, at = random.choice(there)
            struct.pack_into(form, changed, at, random.choice(NUMBERS) % 256 ** struct.calcsize(form))
    return bytes(changed)
