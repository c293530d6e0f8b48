"""The documents tell the truth: their snippets run, their configurations load, their links lead somewhere.

Blocks marked `bash` and `python` are run as they stand against a gateway started without a configuration, the way a
reader meets it first; only the address is replaced. `yaml` is given to `tollway check`. `sh` is for what a test cannot
run: building, starting, other people's programs. `tests/node/readme.test.js` runs the `js` blocks.
"""

import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

import harness

pytestmark = pytest.mark.gateway

DOCUMENTS = sorted([*harness.ROOT.glob("*.md"), *harness.ROOT.glob("docs/*.md"), harness.ROOT / "tests" / "README.md"])
FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>\w+)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")
ADDRESS = "http://127.0.0.1:4000"


def blocks(*kinds: str) -> list:
    found = []
    for document in DOCUMENTS:
        text = document.read_text()
        for match in FENCE.finditer(text):
            if match["kind"] in kinds:
                line = text.count("\n", 0, match.start()) + 1
                found.append(pytest.param(match["kind"], match["body"], id=f"{document.name}:{line}"))
    return found


class Gateway:
    """A gateway at its first start: no configuration, no provider's key, an empty data directory."""

    def __init__(self, folder: Path):
        self.program = harness.binary("TOLLWAY_BIN", "tollway")
        port = harness.free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [self.program, "serve", "--port", str(port), "--data-dir", str(folder / "data")]
        self.process = harness.Process("gateway", command, folder / "gateway.log", harness.clean_environment())
        self.process.wait_for(f"{self.url}/health/readiness")
        said = self.process.tail()
        self.key = re.search(r"admin key (sk-\S+)", said)[1]
        self.offered = re.search(r"^ *(curl .*)$", said, re.MULTILINE)[1]

    def run(self, command: list[str], text: str, **more: str) -> str:
        """What the command prints. It must succeed."""
        environment = harness.clean_environment() | {
            "TOLLWAY_KEY": self.key,
            "TOLLWAY_URL": self.url,
            "PATH": f"{Path(self.program).parent}{os.pathsep}{os.environ['PATH']}",
        } | more
        command = [*command, text.replace(ADDRESS, self.url)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    running = Gateway(tmp_path_factory.mktemp("readme"))
    yield running
    running.process.stop()


SHELL = ["bash", "-euo", "pipefail", "-c"]


def test_the_printed_line_works_when_pasted(gateway):
    assert "You said" in gateway.run(SHELL, gateway.offered)


@pytest.mark.parametrize("kind, body", blocks("bash", "python"))
def test_a_snippet_does_what_it_shows(gateway, kind, body):
    gateway.run(SHELL, gateway.offered)
    printed = gateway.run(SHELL if kind == "bash" else [sys.executable, "-c"], body)
    # The demo's answer, or the receipt of it.
    shows = ["You said", "outcome   answered with status 200", '"key":"sk-']
    assert any(text in printed for text in shows), printed


@pytest.mark.parametrize("kind, body", blocks("yaml"))
def test_a_configuration_is_read_without_complaint(gateway, kind, body, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(body)
    # A deployment without `api_key` finds its provider's in the environment.
    named = re.findall(r"os\.environ/(\w+)", body)
    named += [f"{provider.upper()}_API_KEY" for provider in re.findall(r"model: (\w+)/", body)]
    variables = {name: f"sk-{secrets.token_hex(24)}" for name in named}
    variables.setdefault("LITELLM_MASTER_KEY", f"sk-{secrets.token_hex(24)}")
    said = gateway.run([gateway.program, "check"], str(file), **variables)
    assert "fine." in said and ", 0 dangers, 0 warnings" in said, said
    assert "cannot be called" not in said, said


def test_there_are_snippets_of_every_kind():
    kinds = [block.values[0] for block in blocks("bash", "python", "yaml", "js")]
    assert all(kinds.count(kind) >= 1 for kind in ("bash", "python", "yaml", "js")), kinds


def test_every_bound_that_can_be_set_is_in_the_list_of_limits():
    reference = (harness.ROOT / "docs" / "reference" / "config.md").read_text()
    settings = set()
    for section in ("tollway.limits", "tollway.timeouts", "tollway.calls", "tollway.receipts"):
        part = reference.split(f"## `{section}`\n")[1].split("\n## ")[0]
        settings |= {f"{section}.{name}" for name in re.findall(r"^- \*\*`(\w+)`\*\*", part, re.MULTILINE)}
    listed = set(re.findall(r"`(tollway\.\w+\.\w+)`", (harness.ROOT / "docs" / "limits.md").read_text()))
    assert len(settings) > 15 and listed == settings


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_lead_somewhere(document):
    targets = [target.partition("#")[0] for target in LINK.findall(document.read_text())]
    missing = [target for target in targets if not (document.parent / target).exists()]
    assert not missing, missing
