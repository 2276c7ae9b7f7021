"""The header of a GGUF file, as far as the scripts beside it need it."""

import struct

STRING, ARRAY, ALIGNMENT = 8, 9, 32
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


class Header:
    """`keys` says where each metadata value of a fixed size stands, `end` where the metadata end; `tensors` are (name, shape, type, offset),
    and the weights begin at `weights`."""

    def __init__(self, data: bytes):
        self.data, self.place = data, 8
        count, keys = self.number("<Q"), self.number("<Q")
        self.keys = {}
        for _ in range(keys):
            key, kind = self.text().decode(), self.number("<I")
            if kind in SIZES:
                self.keys[key] = self.place
            self.skip(kind)
        self.end, self.tensors = self.place, []
        for _ in range(count):
            name, dimensions = self.text(), self.number("<I")
            shape = [self.number("<Q") for _ in range(dimensions)]
            self.tensors.append((name, shape, self.number("<I"), self.number("<Q")))
        self.weights = -(-self.place // ALIGNMENT) * ALIGNMENT

    def number(self, form: str) -> int:
        self.place += struct.calcsize(form)
        return struct.unpack_from(form, self.data, self.place - struct.calcsize(form))[0]

    def text(self) -> bytes:
        length = self.number("<Q")
        self.place += length
        return self.data[self.place - length : self.place]

    def skip(self, kind: int) -> None:
        if kind == STRING:
            self.text()
        elif kind == ARRAY:
            inner, count = self.number("<I"), self.number("<Q")
            if inner in SIZES:
                self.place += SIZES[inner] * count
            else:
                for _ in range(count):
                    self.skip(inner)
        else:
            self.place += SIZES[kind]


def entry(name: bytes, shape: list[int], kind: int, offset: int) -> bytes:
    """A tensor's line of the header."""
    head = struct.pack("<Q", len(name)) + name + struct.pack("<I", len(shape))
    return head + struct.pack(f"<{len(shape)}QIQ", *shape, kind, offset)
