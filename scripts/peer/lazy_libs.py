"""Makes link libraries for CUDA that open the real ones at the first call: python3 lazy_libs.py OUT

A program that is linked with them starts on machines without CUDA, and can say so. For every function that the crate `cudarc` may call, a
library holds a jump through a slot, which first leads to a resolver (dlopen and dlsym). x86-64 Linux. Run `cargo fetch` before: the
names are read from the crate's source.
"""

import pathlib
import re
import subprocess
import sys

# Library to link: module of cudarc, name of the library to open.
LIBRARIES = {
    "cuda": ("driver", "libcuda.so.1"),
    "nvrtc": ("nvrtc", "libnvrtc.so.13"),
    "curand": ("curand", "libcurand.so.10"),
    "cublas": ("cublas", "libcublas.so.13"),
    "cublasLt": ("cublaslt", "libcublasLt.so.13"),
}
FUNCTION = re.compile(r"\bfn\s+((?:cu[A-Z]|nvrtc|curand|cublas)\w*)\s*\(")
GENERAL = ["rdi", "rsi", "rdx", "rcx", "r8", "r9", "rax"]

RESOLVER = """
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
static const char *const names[] = {{{names}}};
static void *library;
__attribute__((visibility("hidden"))) void *resolve_{name}(unsigned long index) {{
  if (!library) library = dlopen("{file}", RTLD_NOW | RTLD_GLOBAL);
  if (!library) {{ fprintf(stderr, "error: cannot open {file}: %s\\n", dlerror()); exit(1); }}
  void *found = dlsym(library, names[index]);
  if (!found) {{ fprintf(stderr, "error: {file} has no %s\\n", names[index]); exit(1); }}
  return found;
}}
"""


def common(name: str) -> list[str]:
    """Keeps every register that may hold an argument, resolves, fills the slot, and jumps to what was found."""
    floats = [f"xmm{index}" for index in range(8)]
    move = [(f"mov %{register}", f"{8 * index}(%rsp)") for index, register in enumerate(GENERAL)]
    move += [(f"movups %{register}", f"{64 + 16 * index}(%rsp)") for index, register in enumerate(floats)]
    back = [f"{order.split()[0]} {place},%{order.split('%')[1]}" for order, place in move]
    return [
        f"common_{name}:",
        "push %rbp; mov %rsp,%rbp; sub $192,%rsp; and $-16,%rsp",
        *(f"{order},{place}" for order, place in move),
        f"mov 8(%rbp),%rdi; call resolve_{name}; mov %rax,%r11",
        f"mov 8(%rbp),%r10; lea slots_{name}(%rip),%rax; mov %r11,(%rax,%r10,8)",
        *back,
        "mov %rbp,%rsp; pop %rbp; add $8,%rsp; jmp *%r11",
    ]


def main() -> None:
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    sources = sorted(pathlib.Path.home().glob(".cargo/registry/src/*/cudarc-*/src"))
    if not sources:
        sys.exit("the source of cudarc is not there: run `cargo fetch --locked` first")
    for name, (module, file) in LIBRARIES.items():
        functions = sorted(set(FUNCTION.findall((sources[-1] / module / "sys/mod.rs").read_text())))
        code, slots = [".text", *common(name)], [".data", ".p2align 3", f"slots_{name}:"]
        for index, function in enumerate(functions):
            code.append(f".globl {function}\n.type {function},@function\n{function}: jmp *(slots_{name}+{8 * index})(%rip)")
            code.append(f"first_{name}_{index}: push ${index}; jmp common_{name}")
            slots.append(f".quad first_{name}_{index}")
        quoted = ",".join(f'"{function}"' for function in functions)
        (out / f"{name}.c").write_text(RESOLVER.format(names=quoted, name=name, file=file))
        (out / f"{name}_jumps.S").write_text("\n".join([*code, *slots, '.section .note.GNU-stack,"",@progbits', ""]))
        objects = []
        for source in (f"{name}.c", f"{name}_jumps.S"):
            objects.append(out / f"{source}.o")
            subprocess.run(["cc", "-O2", "-fPIC", "-c", "-o", objects[-1], out / source], check=True)
        library = out / f"lib{name}.a"
        library.unlink(missing_ok=True)
        subprocess.run(["ar", "rcs", library, *objects], check=True)


if __name__ == "__main__":
    main()
