"""Weights of an encoder that was exported to ONNX, as transformers loads them.

A file is a protocol buffer, of which only the tensors and the matrix products are read; the package onnx is not needed.
Source: onnx.proto of ONNX 1.16, messages ModelProto, GraphProto, NodeProto and TensorProto.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

GRAPH, NODE, INITIALIZER = 7, 1, 5
"""Fields of a model's graph, its nodes and its tensors."""
DIMS, DATA_TYPE, NAME, RAW_DATA = 1, 2, 8, 9
"""Fields of a tensor."""
INPUT, OUTPUT, OPERATION = 1, 2, 4
"""Fields of a node."""
FLOAT32 = 1
"""Type of a tensor's numbers."""
Weights = dict[str, NDArray[np.float32]]
Field = tuple[int, int | memoryview]


def read_weights(file: Path) -> Weights:
    """The float32 tensors of a file by the names of their modules.

    An export names a linear layer's bias and not its matrix, which is stored transposed; the matrix is known by the
    place of the product that reads it, such as `/encoder/layer.0/output/dense/MatMul_output_0`.

    Raises:
        ValueError: the file is no ONNX model, or is cut short.
    """
    model = memoryview(file.read_bytes())
    graphs = [value for number, value in _fields(model) if number == GRAPH and isinstance(value, memoryview)]
    if len(graphs) != 1:
        raise ValueError(f"{file.name} holds no ONNX graph")
    tensors: Weights = {}
    products: dict[str, str] = {}
    for number, value in _fields(graphs[0]):
        if number == INITIALIZER:
            tensors |= _tensor(_message(value))
        elif number == NODE:
            node = list(_fields(_message(value)))
            if _text(node, OPERATION) == ["MatMul"]:
                place = _text(node, OUTPUT)[0].strip("/").rpartition("/")[0].replace("/", ".")
                products |= dict.fromkeys(_text(node, INPUT)[1:], f"{place}.weight")
    return {products.get(name, name): matrix.T if name in products else matrix for name, matrix in tensors.items()}


def _tensor(message: memoryview) -> Weights:
    """A tensor by its name; nothing if it holds no raw float32."""
    fields = list(_fields(message))
    kinds = [value for number, value in fields if number == DATA_TYPE]
    raw = [value for number, value in fields if number == RAW_DATA and isinstance(value, memoryview)]
    if kinds != [FLOAT32] or not raw:
        return {}
    shape: list[int] = []
    for number, value in fields:
        if number == DIMS:
            shape += [value] if isinstance(value, int) else _packed(value)
    return {_text(fields, NAME)[0]: np.frombuffer(raw[0], dtype="<f4").reshape(shape)}


def _fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message: number and value, an integer or bytes."""
    place = 0
    while place < len(message):
        key, place = _integer(message, place)
        kind = key & 7
        if kind == 0:
            value, place = _integer(message, place)
            yield key >> 3, value
            continue
        if kind == 2:
            size, place = _integer(message, place)
        else:
            size = {1: 8, 5: 4}.get(kind, -1)
        if size < 0 or place + size > len(message):
            raise ValueError("it is no ONNX file, or cut short")
        yield key >> 3, message[place : place + size]
        place += size


def _integer(message: memoryview, place: int) -> tuple[int, int]:
    """A variable-length integer, and the place after it."""
    value = shift = 0
    while place < len(message):
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
    raise ValueError("it is no ONNX file, or cut short")


def _packed(message: memoryview) -> list[int]:
    values, place = [], 0
    while place < len(message):
        value, place = _integer(message, place)
        values.append(value)
    return values


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("it is no ONNX file")
    return value


def _text(fields: list[Field], wanted: int) -> list[str]:
    return [bytes(value).decode() for number, value in fields if number == wanted and isinstance(value, memoryview)]
