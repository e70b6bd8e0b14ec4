"""An agent that runs the same failing tests for ever. It knows a base URL and a key, and nothing of Headgate.

`python -m headgate_console.demo.looping_agent`, with OPENAI_BASE_URL and OPENAI_API_KEY set.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any

CALLS_MAX = 12
STREAMED_FROM = 6
MODEL = "gpt-5"
TASK = "Run the tests and report."
TIMEOUT_S = 90.0
STOPPED = 3


def main() -> None:
    """Call until it is told no; exit code 3 says that it was."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for number in range(1, CALLS_MAX + 1):
        is_stream = number >= STREAMED_FROM
        try:
            said = _called(opener, is_stream=is_stream)
        except urllib.error.HTTPError as error:
            _say(f"call {number}: {error.code} {_reason(error)}. The agent ends.")
            sys.exit(STOPPED)
        _say(f"call {number}: {said}")


def _called(opener: urllib.request.OpenerDirector, *, is_stream: bool) -> str:
    body = {
        "model": MODEL,
        "stream": is_stream,
        "max_completion_tokens": 2_000,
        "messages": [{"role": "user", "content": TASK}],
    }
    request = urllib.request.Request(  # noqa: S310 - the base URL is that of the environment
        os.environ["OPENAI_BASE_URL"] + "/chat/completions",
        data=json.dumps({**body, "tools": [_tool()]}).encode(),
        headers={"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "content-type": "application/json"},
    )
    with opener.open(request, timeout=TIMEOUT_S) as response:
        if not is_stream:
            call = json.load(response)["choices"][0]["message"]["tool_calls"][0]["function"]["name"]
            return f"the model wants {call} again; the tests fail again"
        _say("the answer begins to stream ...")
        for line in response:
            if b'"error"' in line:
                told = json.loads(line.removeprefix(b"data: "))["error"]
                return f"the stream was cut: {told['message']}"
    return "the stream ended"


def _tool() -> dict[str, Any]:
    function = {
        "name": "run_tests",
        "description": "Run the tests.",
        "parameters": {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": function}


def _reason(error: urllib.error.HTTPError) -> str:
    told = json.loads(error.read())["error"]
    return f"{told['type']}/{told['code']}: {told['message']}"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
