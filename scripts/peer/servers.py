"""Starts this program's server and llama.cpp's, for the scripts that compare them."""

import json
import os
import socket
import subprocess
import time
import urllib.request

OURS = os.environ.get("ROUTERGYM_PROGRAM", "target/release/routergym-local")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def path_of(model: str) -> str:
    if os.path.isfile(model):
        return model
    subprocess.run([OURS, "models", "pull", "-q", model], check=True, stdout=subprocess.DEVNULL)
    listing = json.loads(subprocess.check_output([OURS, "models", "list", "--json"]))
    return next(row["path"] for row in listing["models"] if row["name"] == model)


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def post(url: str, body: dict, headers: dict | None = None) -> dict:
    head = {"content-type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, json.dumps(body).encode(), head)
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.loads(answer.read())


class Server:
    """A server in a process of its own; its messages go to a file."""

    def __init__(self, command: list, url: str, log: str) -> None:
        self.url = url
        with open(log, "ab") as messages:
            self.process = subprocess.Popen(command, stdout=messages, stderr=messages)
        for _ in range(600):
            if self.process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} ended with {self.process.returncode}; see {log}")
            try:
                get(f"{url}/health")
                return
            except OSError:
                time.sleep(0.2)
        raise SystemExit(f"{' '.join(command)} was not ready in time; see {log}")

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def ours(model: str, log: str, *flags: str, threads: int | None = None, alias: str | None = "*") -> Server:
    port = free_port()
    command = [OURS, "serve", "--model", model, "--port", str(port), *flags]
    command += ["--alias", alias] if alias else []
    command += ["--threads", str(threads)] if threads else []
    return Server(command, f"http://127.0.0.1:{port}", log)


def theirs(peer: str, path: str, log: str, clients: int, threads: int | None = None) -> Server:
    """As many slots as clients, each with 2,048 tokens of context; continuous batching is llama.cpp's default."""
    port = free_port()
    command = [f"{peer}/build/bin/llama-server", "-m", path, "--port", str(port), "-np", str(clients)]
    command += ["-c", str(2048 * clients), "--jinja", "--no-webui"]
    command += ["-t", str(threads)] if threads else []
    return Server(command, f"http://127.0.0.1:{port}", log)
