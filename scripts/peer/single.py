"""Writes a GGUF file's weights in single precision, exactly: python3 single.py MODEL.gguf OUT.gguf

For comparing what devices compute with what the file's weights give without any rounding of inputs. Knows the types Q4_0, Q4_1, Q8_0,
Q6_K, F16 and F32. Needs NumPy.
"""

import struct
import sys

import numpy as np

F32, ARRAY, STRING, ALIGNMENT = 0, 9, 8, 32
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
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
    place = 8

    def number(form: str) -> int:
        nonlocal place
        place += struct.calcsize(form)
        return struct.unpack_from(form, data, place - struct.calcsize(form))[0]

    def text() -> bytes:
        nonlocal place
        length = number("<Q")
        place += length
        return data[place - length : place]

    def skip(kind: int) -> None:
        nonlocal place
        if kind == STRING:
            text()
        elif kind == ARRAY:
            inner, count = number("<I"), number("<Q")
            if inner in SIZES:
                place += SIZES[inner] * count
            else:
                for _ in range(count):
                    skip(inner)
        else:
            place += SIZES[kind]

    tensors, keys = number("<Q"), number("<Q")
    for _ in range(keys):
        text()
        skip(number("<I"))
    header, infos = data[:place], []
    for _ in range(tensors):
        name, count = text(), number("<I")
        shape = [number("<Q") for _ in range(count)]
        infos.append((name, shape, number("<I"), number("<Q")))
    start = -(-place // ALIGNMENT) * ALIGNMENT
    with open(out, "wb") as file:
        file.write(header)
        offset = 0
        for name, shape, _, _ in infos:
            file.write(struct.pack("<Q", len(name)) + name + struct.pack("<I", len(shape)))
            file.write(struct.pack(f"<{len(shape)}QIQ", *shape, F32, offset))
            offset += -(-4 * int(np.prod(shape)) // ALIGNMENT) * ALIGNMENT
        file.write(bytes(-file.tell() % ALIGNMENT))
        for _, shape, kind, at in infos:
            per_block, size = BLOCKS[kind]
            length = int(np.prod(shape)) // per_block * size
            values = weights(kind, data[start + at : start + at + length])
            single = values.astype("<f4").tobytes()
            file.write(single + bytes(-len(single) % ALIGNMENT))


if __name__ == "__main__":
    main()
