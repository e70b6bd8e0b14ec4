"""The model server: an application that plays a scenario, in a thread of its own."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from starlette.types import Receive, Scope, Send

from headgate_processors.testing.model_server.application import Application
from headgate_processors.testing.model_server.journal import Journal
from headgate_processors.testing.model_server.scenario import Scenario, load_scenario
from headgate_processors.testing.serving import Serving


class ModelServer:
    """A scripted model provider on loopback, as a context.

        with ModelServer("multi_step") as server:
            client = OpenAI(base_url=f"{server.url}/v1", api_key="none")
            ...
        assert 4 == server.journal.totals().model_calls

    Args:
        scenario: its name, its file, or itself.
        port: 0 for a free one.
        variables: what `{…}` in the arguments of tool calls stands for.
        keys: the API keys that are taken; any when there are none.
        log: a file for the journal as JSON lines, without credentials.

    Raises:
        ConfigError: there is no such scenario, or it is wrong.
    """

    def __init__(
        self,
        scenario: Scenario | str | Path,
        *,
        port: int = 0,
        variables: Mapping[str, str] | None = None,
        keys: Iterable[str] = (),
        log: Path | None = None,
    ) -> None:
        self.journal = Journal(log)
        self._variables, self._keys = dict(variables or {}), tuple(keys)
        self._app: Any = None
        self.play(scenario)
        self._serving = Serving(self._serve, port=port, name="model-server")

    def play(self, scenario: Scenario | str | Path, *, variables: Mapping[str, str] | None = None) -> None:
        """From the next request on, play this scenario from its beginning, with an empty journal.

        Raises:
            ConfigError: there is no such scenario, or it is wrong.
        """
        self.scenario = scenario if isinstance(scenario, Scenario) else load_scenario(scenario)
        self._variables.update(variables or {})
        self.journal.clear()
        self._app = Application(self.scenario, self.journal, variables=self._variables, keys=self._keys).routes()

    @property
    def address(self) -> str:
        """`HOST:PORT`; only while it serves."""
        return self._serving.address

    @property
    def url(self) -> str:
        """Where it is, without `/v1`."""
        return f"http://{self.address}"

    def __enter__(self) -> Self:
        self._serving.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._serving.__exit__(kind, error, trace)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
