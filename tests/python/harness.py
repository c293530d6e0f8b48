"""Starts the fake provider and the gateway, and asks the fake what it received."""

import os
import secrets
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
DIRECT = os.environ.get("TOLLWAY_E2E_DIRECT") == "1"


def binary(variable: str, name: str) -> str:
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = os.environ.get(variable) or str(target / "debug" / name)
    if not Path(path).is_file():
        raise RuntimeError(f"{path} does not exist: build it, or set {variable}")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A child process with its output in a file."""

    def __init__(self, name: str, command: list[str], log: Path, env: dict[str, str]):
        self.name, self.log = name, log
        self.output = log.open("wb")
        self.child = subprocess.Popen(command, stdout=self.output, stderr=subprocess.STDOUT, env=env)

    def wait_for(self, url: str, limit: float = 20) -> None:
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if self.child.poll() is not None:
                raise RuntimeError(f"{self.name} exited with {self.child.returncode}:\n{self.tail()}")
            try:
                if httpx.get(url, timeout=2).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise RuntimeError(f"{self.name} is not ready after {limit} s:\n{self.tail()}")

    def tail(self, size: int = 8000) -> str:
        self.output.flush()
        return self.log.read_bytes()[-size:].decode(errors="replace")

    def stop(self) -> None:
        self.child.terminate()
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.output.close()


@dataclass
class Stack:
    """What the tests talk to. In direct mode `url` is the fake itself."""

    url: str
    key: str
    fake_url: str
    processes: list[Process]

    def received(self, part: str) -> list[dict]:
        """What the fake received with `part` in its body or path."""
        return httpx.get(f"{self.fake_url}/__received", params={"contains": part}, timeout=5).json()

    def one(self, part: str) -> dict:
        calls = self.received(part)
        assert len(calls) == 1, f"{len(calls)} calls reached the provider: {calls}"
        return calls[0]

    def eventually(self, part: str, fits, limit: float = 3) -> dict:
        """The only call with `part`, once `fits` is true of it."""
        end = time.monotonic() + limit
        calls = []
        while time.monotonic() < end:
            calls = self.received(part)
            if len(calls) == 1 and fits(calls[0]):
                return calls[0]
            time.sleep(0.02)
        raise AssertionError(f"it did not happen within {limit} s: {calls}")


def virtual_key(url: str, master: str) -> str:
    """A key as a company hands them out: of a user in a team, limited by all there is, and reaching none of it."""
    def made(path: str, **body) -> dict:
        headers = {"Authorization": f"Bearer {master}"}
        answer = httpx.post(url + path, headers=headers, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    plenty = {"max_budget": 1000, "rpm_limit": 1_000_000, "tpm_limit": 1_000_000_000, "max_parallel_requests": 1000}
    user = made("/user/new", user_id=f"user-{secrets.token_hex(4)}", auto_create_key=False)["user_id"]
    members = [{"user_id": user, "role": "user"}]
    team = made("/team/new", team_alias="end to end", members_with_roles=members, budget_duration="1mo", **plenty)
    key = made("/key/generate", user_id=user, team_id=team["team_id"], budget_duration="1d", tags=["e2e"], **plenty)
    return key["key"]


def clean_environment() -> dict[str, str]:
    """No provider keys, proxies or settings of the machine reach the processes."""
    foreign = ("AWS_", "_API_KEY", "_PROXY", "_proxy", "LITELLM_", "TOLLWAY_", "DATABASE_URL", "REDIS_")
    return {key: value for key, value in os.environ.items() if not any(part in key for part in foreign)}


def start() -> Stack:
    folder = Path(tempfile.mkdtemp(prefix="tollway-e2e-"))
    port = free_port()
    fake_url = f"http://127.0.0.1:{port}"
    command = [binary("FAKE_PROVIDER_BIN", "fake-provider"), "--port", str(port)]
    fake = Process("fake provider", command, folder / "fake.log", clean_environment())
    try:
        fake.wait_for(f"{fake_url}/__health")
        if DIRECT:
            return Stack(fake_url, "any-key", fake_url, [fake])
        key = "sk-" + secrets.token_hex(24)
        config = (ROOT / "tests" / "config.yaml").read_text()
        config = config.replace("${FAKE}", fake_url).replace("${MASTER_KEY}", key)
        (folder / "config.yaml").write_text(config)
        port = free_port()
        command = [
            binary("TOLLWAY_BIN", "tollway"), "serve", "--config", str(folder / "config.yaml"),
            "--host", "127.0.0.1", "--port", str(port), "--data-dir", str(folder / "data"),
        ]
        gateway = Process("gateway", command, folder / "gateway.log", clean_environment())
    except BaseException:
        fake.stop()
        raise
    url = f"http://127.0.0.1:{port}"
    try:
        gateway.wait_for(f"{url}/health/readiness")
    except BaseException:
        gateway.stop()
        fake.stop()
        raise
    return Stack(url, key, fake_url, [gateway, fake])
