"""The `openai` and `anthropic` packages as clients of the server that makes trouble: run it through scripts/test-clients.

Without trouble every answer must be right, which shows that the server speaks both protocols as these packages know them. With
trouble for a fifth of the requests every request must end, with the right answer or with an error of the package.
"""

import signal
import subprocess
import sys
import time
from collections import Counter

import anthropic
import openai

REQUESTS = 30
# The packages' time-outs begin anew with every byte, so that a head that drips would last for ever.
SECONDS = 4


class Deadline(Exception):
    """A request took too long."""


def late(*_: object) -> None:
    raise Deadline


def by_openai(url: str, number: int) -> str:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=2, timeout=1)
    pieces = client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": f"Say number {number}"}], stream=True,
        stream_options={"include_usage": True},
    )
    pieces = list(pieces)
    # A stream that was cut has no last piece.
    if not pieces or pieces[-1].usage is None:
        raise openai.APIError("the stream was cut", request=None, body=None)
    return "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)


def by_anthropic(url: str, number: int) -> str:
    client = anthropic.Anthropic(base_url=url, api_key="k", max_retries=2, timeout=1)
    ask = [{"role": "user", "content": f"Say number {number}"}]
    with client.messages.stream(model="m", max_tokens=16, messages=ask) as stream:
        message = stream.get_final_message()
    if message.stop_reason is None:
        raise anthropic.APIError("the stream was cut", request=None, body=None)
    return message.content[0].text


def main() -> None:
    signal.signal(signal.SIGALRM, late)
    for share in ("0", "0.2"):
        command = [sys.argv[1], "serve", share]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            url = server.stdout.readline().strip()
            for name, ask in (("openai", by_openai), ("anthropic", by_anthropic)):
                ends, start = Counter(), time.monotonic()
                for number in range(REQUESTS):
                    signal.alarm(SECONDS)
                    try:
                        text = ask(url, number)
                        assert text == f"answer {number} ☃", (number, text)
                        ends["answered"] += 1
                    except AssertionError:
                        raise
                    # The packages let errors of their HTTP library and of their parsers through from within a stream.
                    except Exception as error:  # noqa: BLE001
                        assert share != "0", error
                        ends[type(error).__name__] += 1
                    signal.alarm(0)
                assert sum(ends.values()) == REQUESTS and ends["answered"] >= REQUESTS / 2, ends
                seconds = time.monotonic() - start
                print(f"{name}, trouble for {share} of the requests: {dict(ends)}, {seconds:.1f} s", flush=True)
            server.stdin.close()


main()
