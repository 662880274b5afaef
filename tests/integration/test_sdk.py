"""The TypeScript SDK: what is packed, that its types and operations are the document's, and that it works on Node, Deno and workerd."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from buffmoney.edge import openapi
from buffmoney.edge.app import ROUTES
from tests import sdk
from tests.product import Merchant

WORKER = """{imports}
export default {{
  async fetch(request, env) {{
    if (new URL(request.url).pathname === "/ready") return new Response();
    const {{ BUFFMONEY_API_KEY: apiKey }} = env;
    const printed = [];
    const console = {{ log: (what) => printed.push(what) }};
{statements}
    return new Response(printed.map((each) => (typeof each === "string" ? each : JSON.stringify(each))).join("\\n"));
  }},
}};
"""
PRODUCT_PAGE = """import BuffMoneyClient from "@buffmoney/sdk";
const client = new BuffMoneyClient({ apiKey });
const result = await client.usageEvents.ingest([
  { customerExternalId: "acme", idempotencyKey: KEY, metric: "tokens_input", quantity: "1000", occurredAt: NOW },
]);
"""
"""the three lines; KEY and NOW stand for what differs from call to call"""


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The OpenAPI document, as the routes make it."""
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_bytes(msgspec.json.encode(openapi.document(tuple(route for route in ROUTES if route.documented))))
    return path


def test_the_tarball_is_small_and_has_no_stray_files(packed: dict[str, Any], project: Path) -> None:
    """Proves: npm ships the compiled modules with their types, the README, the licence, and nothing else; without dependencies."""
    modules = {path.stem for path in (sdk.SDK / "src").glob("*.ts")}
    expected = {f"dist/{module}{end}" for module in modules for end in (".js", ".d.ts")} | {"package.json", "README.md", "LICENSE"}
    assert {each["path"] for each in packed["files"]} == expected
    assert packed["size"] < 60_000, packed["size"]
    shipped = json.loads((project / "node_modules/@buffmoney/sdk/package.json").read_text())
    assert not {"dependencies", "peerDependencies", "optionalDependencies"} & shipped.keys()
    assert not re.search(r"postinstall|prepare|\binstall\b", json.dumps(shipped["scripts"])), (
        "nothing runs at its users' when they install it"
    )
    assert shipped["version"] in (sdk.SDK / "src/transport.ts").read_text()
    assert sorted(path.name for path in (project / "node_modules").iterdir() if not path.name.startswith(".")) == ["@buffmoney"]


def test_the_lock_file_names_no_registry() -> None:
    """Proves: whoever installs what is pinned does so from their own registry, and by content."""
    lock = json.loads((sdk.SDK / "package-lock.json").read_text())
    packages = {name: about for name, about in lock["packages"].items() if name}
    assert packages
    assert all("resolved" not in about and about["integrity"].startswith("sha512-") for about in packages.values())


def test_formatted(packed: dict[str, Any]) -> None:
    """Proves: the sources are as `npm run format` leaves them."""
    sdk.run("npm", "run", "--silent", "check")


def test_the_types_are_those_of_the_document(document: Path, packed: dict[str, Any]) -> None:
    """Proves: src/generated.ts is what the generator makes of today's routes."""
    made = sdk.run("node", "scripts/generate.js", document)
    assert (sdk.SDK / "src/generated.ts").read_text() == made, "run `make sdk` and look at what has changed for callers"


def test_every_operation_has_a_method(document: Path, packed: dict[str, Any]) -> None:
    """Proves: the operations that the SDK's methods call are exactly those of the OpenAPI document."""
    called = {tuple(each) for each in json.loads(sdk.run("node", "tests/operations.js", document))}
    described = {(method.upper(), path) for path, item in json.loads(document.read_text())["paths"].items() for method in item}
    assert called == described, "an operation needs a method in src/resources.ts"


def test_what_is_typed_in_an_editor(project: Path) -> None:
    """Proves: an example of each kind compiles under strict settings against the packed types, and the mistakes in it are mistakes."""
    shutil.copy(sdk.SDK / "tests/types.ts", project)
    settings = {"strict": True, "noEmit": True, "module": "NodeNext", "target": "ES2022", "types": [], "exactOptionalPropertyTypes": True}
    (project / "tsconfig.json").write_text(json.dumps({"compilerOptions": settings, "files": ["types.ts"]}))
    sdk.run(sdk.SDK / "node_modules/.bin/tsc", "--project", project, cwd=project)


def test_units(packed: dict[str, Any]) -> None:
    """Proves what sdk/typescript/tests say: repetitions, time-outs, errors, pages, batches, the buffer, webhooks."""
    printed = sdk.run("npm", "test")
    assert re.search(r"^# pass [1-9]\d", printed, re.MULTILINE), printed
    assert re.search(r"^# fail 0$", printed, re.MULTILINE), printed


def on(runtime: str, project: Path, name: str, source: str, **environment: str) -> str:
    """Runs a module with top-level await on a runtime. On workerd, which has none, its statements are a worker's handler."""
    program = project / f"{name}.js"
    if runtime == "workerd":
        imports, _, statements = source.partition(";\n")
        program.write_text(WORKER.format(imports=f"{imports};", statements=statements))
        return sdk.on_workerd(program, **environment)
    program.write_text(source)
    return (sdk.on_deno if runtime == "deno" else sdk.on_node)(program, **environment)


@pytest.mark.parametrize("runtime", ["node", "deno", "workerd"])
def test_the_three_lines_of_the_product_page(runtime: str, project: Path, merchant: Merchant) -> None:
    """Proves: with the API's address in the environment they record an event, unchanged, on every runtime, from the packed tarball."""
    lines = PRODUCT_PAGE.replace("KEY", json.dumps(f"page-{runtime}")).replace("NOW", "new Date().toISOString()")
    if runtime != "workerd":
        lines = lines.replace("\n", "\nconst { BUFFMONEY_API_KEY: apiKey } = process.env;\n", 1)
    printed = on(
        runtime,
        project,
        "page",
        lines + "console.log(JSON.stringify(result));\n",
        **sdk.environment_of(merchant.product, merchant.sandbox_key),
    )
    result = json.loads(printed)
    assert (result["accepted"], result["charged"], result["balances"]) == (1, "1", {"acme": "99"})
    assert merchant.stored()["usage_events"] == 1


@pytest.mark.parametrize("runtime", ["node", "deno", "workerd"])
def test_a_tour_on_every_runtime(runtime: str, project: Path, merchant: Merchant) -> None:
    """Proves: ingest, buffer, wallets, lists, errors, signals and webhooks do the same on every runtime, and the ledger agrees."""
    shutil.copy(sdk.SDK / "tests/tour.js", project)
    source = 'import { tour } from "./tour.js";\nconsole.log(await tour());\n'
    environment = sdk.environment_of(merchant.product, merchant.sandbox_key)
    assert on(runtime, project, "drive", source, **environment).strip() == "all as expected"
    assert merchant.stored()["usage_events"] == 1_901
    assert merchant.balance("tour")["available"] == "95.8"


def test_without_permission_to_read_the_environment(project: Path, merchant: Merchant) -> None:
    """Proves: on Deno without --allow-env the options alone are enough."""
    program = project / "options.js"
    program.write_text(
        'import { BuffMoneyClient } from "@buffmoney/sdk";\n'
        f"const client = new BuffMoneyClient({json.dumps({'apiKey': merchant.sandbox_key, 'baseUrl': merchant.product.url})});\n"
        'console.log((await client.balances.get("acme")).available);\n'
    )
    flags = ("--no-prompt", "--allow-net=127.0.0.1", "--allow-read=.", "--node-modules-dir=manual", "--no-lock")
    printed = sdk.run(sdk.binary("@deno/*/deno"), "run", *flags, program, cwd=project, DENO_DIR=str(project / "deno"))
    assert printed.strip() == "100"
