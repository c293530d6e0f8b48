import uuid

import pytest

import harness
from surfaces import SURFACES, Ask

UPSTREAMS = ["oai", "ant", "gem", "bed"]
UPSTREAM_OF = {"openai": "oai", "anthropic": "ant", "gemini": "gem"}


@pytest.fixture(scope="session")
def stack():
    running = harness.start()
    yield running
    for process in running.processes:
        process.stop()


@pytest.fixture(scope="session")
def clients(stack):
    """The SDKs, with a virtual key; directly at the fake with any."""
    key = stack.key if harness.DIRECT else harness.virtual_key(stack.url, stack.key)
    return {name: surface(stack.url, key) for name, surface in SURFACES.items()}


@pytest.fixture
def tag():
    """A text that only this test sends."""
    return f"id-{uuid.uuid4().hex[:12]}"


class Pair:
    """One client SDK and one provider's dialect."""

    def __init__(self, client, upstream: str):
        self.client, self.upstream = client, upstream

    def model(self, script: str) -> str:
        return script if harness.DIRECT else f"{self.upstream}/{script}"

    def ask(self, script: str = "fake-ok", **rest) -> Ask:
        return Ask(model=self.model(script), **rest)


def pairs() -> list[tuple[str, str]]:
    every = [(surface, upstream) for surface in SURFACES for upstream in UPSTREAMS]
    return [pair for pair in every if not harness.DIRECT or UPSTREAM_OF[pair[0]] == pair[1]]


def pytest_generate_tests(metafunc):
    if "pair" in metafunc.fixturenames:
        only = getattr(metafunc.function, "pairs_where", lambda surface, upstream: True)
        chosen = [pair for pair in pairs() if only(*pair)]
        metafunc.parametrize("pair", chosen, indirect=True, ids=["->".join(pair) for pair in chosen])
    if "mode" in metafunc.fixturenames:
        metafunc.parametrize("mode", ["whole", "stream"])


@pytest.fixture
def pair(request, clients):
    surface, upstream = request.param
    return Pair(clients[surface], upstream)


@pytest.fixture
def send(pair, mode):
    """Asks whole or streamed."""
    return pair.client.ask if mode == "whole" else pair.client.stream


def pytest_collection_modifyitems(config, items):
    """Directly at the fake, the tests of the gateway itself make no sense: they are left out."""
    if harness.DIRECT:
        out = [item for item in items if item.get_closest_marker("gateway")]
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.failed and stack:
        for process in stack.processes:
            report.sections.append((f"end of the log of the {process.name}", process.tail(4000)))
