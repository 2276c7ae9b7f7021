"""Writes a GGUF file's weights in single precision, exactly: python3 single.py MODEL.gguf OUT.gguf

For comparing what devices compute with what the file's weights give without any rounding of inputs. Knows the types Q4_0, Q4_1, Q8_0,
Q6_K, F16 and F32. Needs NumPy.
"""

import sys

import numpy as np
from gguf_header import ALIGNMENT, Header, entry

F32 = 0
# Type: weights of a block and its bytes.
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 8: (32, 34), 14: (256, 210)}


def half(blocks: np.ndarray, at: int) -> np.ndarray:
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)


def nibbles(codes: np.ndarray) -> np.ndarray:
    return np.concatenate([codes & 15, codes >> 4], 1).astype(np.float32)


def weights(kind: int, data: bytes) -> np.ndarray:
    if kind == 0:
        return np.frombuffer(data, "<f4")
    if kind == 1:
        return np.frombuffer(data, "<f2").astype("<f4")
    blocks = np.frombuffer(data, np.uint8).reshape(-1, BLOCKS[kind][1])
    if kind == 2:
        return half(blocks, 0) * (nibbles(blocks[:, 2:]) - 8)
    if kind == 3:
        return half(blocks, 0) * nibbles(blocks[:, 4:]) + half(blocks, 2)
    if kind == 8:
        return half(blocks, 0) * blocks[:, 2:].view(np.int8).astype(np.float32)
    low, high = blocks[:, :128].reshape(-1, 2, 2, 32), blocks[:, 128:192].reshape(-1, 2, 1, 32)
    shifts = np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)
    codes = np.concatenate([low & 15, low >> 4], 2) | ((high >> shifts) & 3) << 4
    scales = blocks[:, 192:208].view(np.int8).astype(np.float32).repeat(16, 1)
    return half(blocks, 208) * scales * (codes.reshape(-1, 256).astype(np.float32) - 32)


def main() -> None:
    source, out = sys.argv[1:]
    data = open(source, "rb").read()
    header = Header(data)
    with open(out, "wb") as file:
        file.write(data[: header.end])
        offset = 0
        for name, shape, _, _ in header.tensors:
            file.write(entry(name, shape, F32, offset))
            offset += -(-4 * int(np.prod(shape)) // ALIGNMENT) * ALIGNMENT
        file.write(bytes(-file.tell() % ALIGNMENT))
        for _, shape, kind, at in header.tensors:
            per_block, size = BLOCKS[kind]
            length = int(np.prod(shape)) // per_block * size
            values = weights(kind, data[header.weights + at : header.weights + at + length])
            single = values.astype("<f4").tobytes()
            file.write(single + bytes(-len(single) % ALIGNMENT))


if __name__ == "__main__":
    main()
