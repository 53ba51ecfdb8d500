"""deploy/: every file is read by a linter for its kind, and every command in it is one that durasql has."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

import durasql
from durasql.cli.entry import cli
from durasql.store.install import install

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def tool(name: str) -> str:
    """A linter of this environment, or of the system."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not to be had here")
    return found


def clean(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def understood(arguments: list[str]) -> None:
    """durasql takes these arguments; nothing is run."""
    context = cli.make_context("durasql", list(arguments))
    command: click.Command = cli
    while isinstance(command, click.Group):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)


# --- the image ---


def dockerfile() -> Iterator[tuple[str, str]]:
    """Instruction and arguments, comments and line breaks gone."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.strip():
            instruction, _, rest = line.partition(" ")
            yield instruction, rest


def test_hadolint_has_nothing_to_say() -> None:
    clean(tool("hadolint"), str(DEPLOY / "Dockerfile"))


def test_the_image_is_made_in_stages_and_runs_as_nobody() -> None:
    found = list(dockerfile())
    assert [name for name, _ in found].count("FROM") == 2
    (user,) = [rest for name, rest in found if name == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "a number, so that runAsNonRoot can be checked"


def test_the_image_runs_commands_that_exist() -> None:
    found = dict(dockerfile())
    entry = json.loads(found["ENTRYPOINT"])
    check = json.loads(found["HEALTHCHECK"].split(" CMD ")[1])
    assert entry == check[:1] == ["durasql"]
    understood(json.loads(found["CMD"]))
    understood(check[1:])


def test_the_build_context_has_all_that_the_wheel_needs(tmp_path: Path, distributions: Path) -> None:
    import zipfile

    kept = re.findall(r"^!(\S+)", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    for name in kept:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    build = "import hatchling.build as b; print(b.build_wheel('.'))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    names = zipfile.ZipFile(tmp_path / done.stdout.split()[-1]).namelist()
    assert set(names) == set(zipfile.ZipFile(next(distributions.glob("*.whl"))).namelist())


# --- compose ---


def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_the_compose_file_fits_its_schema() -> None:
    schema = ["--builtin-schema", "vendor.compose-spec"]
    clean(tool("check-jsonschema"), *schema, str(DEPLOY / "compose.yaml"))


def test_compose_runs_commands_that_exist() -> None:
    for service in ("install", "worker"):
        understood(compose()["services"][service]["command"])


def test_composes_roles_can_install_and_run(bare_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SQL of the compose file on a real server; its role is an ordinary one."""
    monkeypatch.setenv("APP_PASSWORD", "it's")
    script = re.sub(r"\bapp\b", "composed", compose()["configs"]["roles"]["content"])
    command = [str(bare_cluster.psql), "-XAtq", "-v", "ON_ERROR_STOP=1", bare_cluster.superuser_dsn()]
    subprocess.run(command, input=script, text=True, check=True, capture_output=True)
    try:
        install(bare_cluster.dsn("composed", "composed"))
        assert bare_cluster.execute("SELECT rolsuper FROM pg_roles WHERE rolname = 'composed'") == [(False,)]
    finally:
        bare_cluster.execute("DROP DATABASE composed WITH (FORCE)")
        bare_cluster.execute("DROP ROLE composed")


# --- systemd ---


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "durasql-worker.service")
    return parser


def test_the_unit_starts_a_command_that_exists_and_stops_after_its_drain() -> None:
    service = unit()["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    assert program.endswith("/bin/durasql")
    understood(arguments)
    drain = int(arguments[arguments.index("--drain") + 1])
    assert int(service["TimeoutStopSec"]) > drain
    assert (service["Restart"], service["DynamicUser"]) == ("always", "yes")


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    text = (DEPLOY / "durasql-worker.service").read_text()
    copy = tmp_path / "durasql-worker.service"
    copy.write_text(text.replace(shlex.split(unit()["Service"]["ExecStart"])[0], sys.executable))
    clean(tool("systemd-analyze"), "verify", "--man=no", str(copy))


def test_systemd_finds_the_unit_well_locked() -> None:
    analyze = tool("systemd-analyze")
    shown = subprocess.run([analyze, "security", "--help"], capture_output=True, text=True, check=False)
    if "--offline" not in shown.stdout:
        pytest.skip("this systemd-analyze judges running units only")
    path = str(DEPLOY / "durasql-worker.service")
    clean(analyze, "security", "--offline=true", "--threshold=20", "--no-pager", path)


# --- kubernetes ---


def manifests() -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))


def test_the_manifests_fit_their_schemas() -> None:
    clean(tool("kubernetes-validate"), "--strict", str(DEPLOY / "kubernetes.yaml"))


def test_pods_are_locked_up_and_run_commands_that_exist() -> None:
    for manifest in manifests():
        pod = manifest["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            understood(container["args"])
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["resources"]["limits"]["memory"]
            assert container["image"] == f"durasql:{durasql.__version__}"


def test_a_pod_has_longer_to_stop_than_its_worker_drains() -> None:
    (deployment,) = [manifest for manifest in manifests() if manifest["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    (worker,) = pod["containers"]
    drain = int(worker["args"][worker["args"].index("--drain") + 1])
    assert pod["terminationGracePeriodSeconds"] > drain
    assert (worker["livenessProbe"]["httpGet"]["path"], worker["readinessProbe"]["httpGet"]["path"]) == (
        "/healthz",
        "/readyz",
    )


# --- prometheus ---


def test_the_alerts_are_promql_about_metrics_that_exist() -> None:
    promql = pytest.importorskip("promql_parser")
    from durasql.telemetry.metrics import Metrics
    from durasql_runtime.observe import Vitals

    metrics = Metrics()
    metrics.show("w", lambda: Vitals(True, False, 0, 0, 0, 0.0))
    known = {family.name for family in metrics.registry.collect()}
    rules = yaml.safe_load((DEPLOY / "prometheus-alerts.yaml").read_text())["groups"][0]["rules"]
    for rule in rules:
        promql.parse(rule["expr"])
        for name in re.findall(r"durasql_\w+", rule["expr"]):
            assert re.sub(r"_total$", "", name) in known, name
