from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mnist_trainer.data.idx import parse
from mnist_trainer.data.paths import DamagedError


def written(array: np.ndarray, code: int) -> np.ndarray:
    header = bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return np.frombuffer(bytearray(header + array.tobytes()), np.uint8)


SHAPES = array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5)


@given(arrays(np.uint8, SHAPES))
def test_bytes_come_back_as_a_view(array: np.ndarray) -> None:
    content = written(array, 0x08)
    parsed = parse(content)
    assert np.array_equal(parsed, array) and parsed.dtype == np.uint8
    assert parsed.size == 0 or np.shares_memory(parsed, content)


@given(arrays(np.dtype(">i4"), SHAPES))
def test_big_endian_integers_come_back(array: np.ndarray) -> None:
    assert np.array_equal(parse(written(array, 0x0C)), array)


@given(arrays(np.uint8, SHAPES), st.data())
def test_a_file_that_is_cut_off_anywhere_is_damaged(array: np.ndarray, data: st.DataObject) -> None:
    content = written(array, 0x08)
    length = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(DamagedError):
        parse(content[:length])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is no IDX file (that begins with 00 00 08 03 or the like, this one with nothing)"),
        (b"<htm", "it is no IDX file (that begins with 00 00 08 03 or the like, this one with 3c 68 74 6d)"),
        (b"\0\0\x08\0", "it is no IDX file (that begins with 00 00 08 03 or the like, this one with 00 00 08 00)"),
        (b"\0\0\x0d\1\0\0\0\0", "its values have the type code 0x0d; known are 0x08 (uint8) and 0x0c (int32)"),
        (b"\0\0\x08\1\0\0\7\xd0abc", "its header says 2,000 values, 2,008 bytes in all, but it has 11"),
        (b"\0\0\x08\2\0\0\0\1\0\0\0\1ab", "its header says 1 × 1 values, 13 bytes in all, but it has 14"),
    ],
)
def test_damage_is_explained(content: bytes, reason: str) -> None:
    with pytest.raises(DamagedError) as caught:
        parse(np.frombuffer(content, np.uint8))
    assert str(caught.value) == reason
