"""Writes a GGUF file with the header of another and random weights, for measuring speed where the real file is not at hand:
python3 random_gguf.py HEADER.gguf OUT.gguf [OLD=NEW ...]

HEADER.gguf may end where the weights begin. OLD=NEW replaces a number wherever it is a dimension of a tensor; KEY=NUMBER sets a
metadata value of four bytes. So a file of 1.5 billion weights becomes one of the shape of its larger sister. What such a model says means
nothing; how fast it says it does not depend on the weights. Needs NumPy.
"""

import struct
import sys

import numpy as np
from gguf_header import ALIGNMENT, Header, entry

# Type: weights of a block, its bytes, where its half-precision scales stand.
BLOCKS = {
    2: (32, 18, [0]),
    3: (32, 20, [0, 2]),
    6: (32, 22, [0]),
    7: (32, 24, [0, 2]),
    8: (32, 34, [0]),
    12: (256, 144, [0, 2]),
    13: (256, 176, [0, 2]),
    14: (256, 210, [208]),
}


def main() -> None:
    source, out, *changes = sys.argv[1:]
    data = open(source, "rb").read(64 << 20)
    numbers, values = {}, {}
    for change in changes:
        old, new = change.split("=")
        (numbers if old.isdigit() else values)[old] = int(new)
    header = Header(data)
    metadata = bytearray(data[: header.end])
    for key, value in values.items():
        metadata[header.keys[key] : header.keys[key] + 4] = struct.pack("<I", value)
    infos = [(name, [numbers.get(str(size), size) for size in shape], kind) for name, shape, kind, _ in header.tensors]
    random = np.random.default_rng(1)
    with open(out, "wb") as file:
        file.write(metadata)
        offset, sizes = 0, []
        for name, shape, kind in infos:
            weights, size, _ = BLOCKS.get(kind, (1, 4, []))
            sizes.append(int(np.prod(shape)) // weights * size)
            file.write(entry(name, shape, kind, offset))
            offset += -(-sizes[-1] // ALIGNMENT) * ALIGNMENT
        file.write(bytes(-file.tell() % ALIGNMENT))
        for (_, _, kind), size in zip(infos, sizes):
            if kind == 0:
                block = np.ones(size // 4, "<f4").tobytes()
            else:
                _, length, scales = BLOCKS[kind]
                codes = random.integers(0, 256, (size // length, length), dtype=np.uint8)
                for at in scales:
                    codes[:, at : at + 2] = np.frombuffer(np.float16(0.001).tobytes(), np.uint8)
                block = codes.tobytes()
            file.write(block + bytes(-size % ALIGNMENT))


if __name__ == "__main__":
    main()
