"""The files of `ray up`: accepted by Ray, by the clouds as far as can be known here, and closed to everybody else.

Ray checks nothing below ``node_config``, so that is done here: against botocore's model of EC2, and against the fields
of the Compute Engine API.
"""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
import yaml
from botocore.model import ListShape, Shape, StringShape, StructureShape
from botocore.validate import ParamValidator
from moto import mock_aws
from moto.ec2.models.instance_types import InstanceTypeBackend
from ray.autoscaler._private.aws import config as aws_config
from ray.autoscaler._private.aws import utils as aws_utils
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.providers import _NODE_PROVIDERS
from ray.autoscaler._private.util import prepare_config, validate_config, with_envs, with_head_node_ip
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig

ROOT = Path(__file__).parents[2]
CLOUDS = ["aws", "gcp"]
FILES = ["onprem", *CLOUDS]
ROLES = ROOT / "cluster" / "aws-instance-role.json"
OPEN = "0.0.0.0"  # noqa: S104 - what must not be in the files

Config = dict[str, Any]


def load(name: str) -> Config:
    config = yaml.safe_load((ROOT / "cluster" / f"{name}.yaml").read_text())
    assert isinstance(config, dict)
    # Without anchors' shared objects, as Ray writes it for the head.
    return json.loads(json.dumps(config))


def checked(config: Config) -> Config:
    """A file as `ray up` prepares it before it asks a provider.

    Raises:
        Exception: it would refuse the file.
    """
    if config["provider"]["type"] not in _NODE_PROVIDERS:
        raise ValueError("no such provider")
    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


def types_of(config: Config) -> Iterator[tuple[str, Config]]:
    yield from config["available_node_types"].items()


def workers_of(config: Config) -> Iterator[tuple[str, Config]]:
    yield from ((name, kind) for name, kind in types_of(config) if name != config["head_node_type"])


def start_commands(config: Config) -> Iterator[str]:
    yield from (
        command
        for key in ("head_start_ray_commands", "worker_start_ray_commands")
        for command in config[key]
        if "ray start" in command
    )


# Ray's own checks


@pytest.mark.parametrize("name", FILES)
def test_ray_accepts_the_file(name: str) -> None:
    config = checked(load(name))
    # Ray's own defaults, with their open dashboard and wheels from elsewhere, are gone.
    given = load(name)
    for key in ("head_start_ray_commands", "worker_start_ray_commands", "file_mounts"):
        assert config[key] == given[key]
    assert config["head_setup_commands"] == given["setup_commands"] + given.get("head_setup_commands", [])
    assert config["worker_setup_commands"] == given["setup_commands"]


def put(path: str, value: Any) -> Callable[[Config], None]:
    """Set the value at a path such as ``auth/ssh_port``; None removes it."""

    def mutate(config: Config) -> None:
        *parents, last = path.split("/")
        for part in parents:
            config = config[int(part)] if isinstance(config, list) else config[part]
        if value is None:
            del config[last]
        else:
            config[last] = value

    return mutate


@pytest.mark.parametrize(
    ("name", "mutate"),
    [
        ("aws", put("max_worker", 3)),
        ("aws", put("provider/type", "aws2")),
        ("aws", put("head_node_type", "heed")),
        ("aws", put("auth/ssh_port", 2222)),
        ("aws", put("available_node_types/gpu-t4/min_workers", 9)),
        ("aws", put("available_node_types/gpu-t4/resources", None)),
        ("aws", put("available_node_types/gpu-t4/resources/GPU", 0.5)),
        ("aws", put("available_node_types/gpu-t4/max_worker", 2)),
        ("gcp", put("available_node_types/head/resources", None)),
        ("gcp", put("rsync_excludes", [])),
        ("onprem", put("worker_start_commands", [])),
        ("onprem", put("provider/head_ip", None)),
        ("onprem", put("auth/ssh_key", "~/.ssh/key")),
    ],
)
def test_ray_refuses_a_broken_copy(name: str, mutate: Callable[[Config], None]) -> None:
    config = load(name)
    mutate(config)
    with pytest.raises(Exception):  # noqa: B017, PT011 - Ray raises a kind for every mistake
        checked(config)


# EC2's rules, which Ray does not check


def enum_problems(value: Any, shape: Shape, path: str) -> Iterator[str]:
    """Strings that botocore's model does not list; its validator accepts them."""
    if isinstance(shape, StructureShape):
        for key, member in value.items():
            if key in shape.members:
                yield from enum_problems(member, shape.members[key], f"{path}.{key}")
    elif isinstance(shape, ListShape):
        for index, member in enumerate(value):
            yield from enum_problems(member, shape.member, f"{path}[{index}]")
    elif isinstance(shape, StringShape) and shape.enum and value not in shape.enum:
        yield f"{path}: {value}"


def ec2_problems(config: Config) -> list[str]:
    model = botocore.session.get_session().get_service_model("ec2")
    shape = model.operation_model("RunInstances").input_shape
    problems = []
    for name, kind in types_of(config):
        # As Ray completes it.
        asked = {**kind["node_config"], "MinCount": 1, "MaxCount": 1}
        report = ParamValidator().validate(asked, shape)
        if report.has_errors():
            problems.append(f"{name}: {report.generate_report()}")
        else:
            problems += enum_problems(asked, shape, name)
    return problems


def test_ec2_knows_every_field_of_the_machines() -> None:
    assert ec2_problems(load("aws")) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("InstanceTyp", "g5.xlarge"),
        ("InstanceType", "g5.xlage"),
        ("MetadataOptions/HttpToken", "required"),
        ("MetadataOptions/HttpTokens", "require"),
        ("MetadataOptions/HttpPutResponseHopLimit", "1"),
        ("BlockDeviceMappings/0/Ebs/VolumeSize", "150GB"),
        ("BlockDeviceMappings/0/Ebs/VolumeType", "gp4"),
        ("InstanceMarketOptions/MarketType", "sport"),
        ("InstanceMarketOptions/SpotOption", {}),
        ("SecurityGroupIds", "sg-1"),
        ("IamInstanceProfile/name", "dip-worker"),
        ("TagSpecifications/0/ResourceType", "machine"),
    ],
)
def test_a_typo_below_node_config_is_found_for_ec2(path: str, value: Any) -> None:
    config = load("aws")
    put(f"available_node_types/gpu-a10g/node_config/{path}", value)(config)
    checked(config)  # Ray accepts everything
    assert ec2_problems(config) != []


# Compute Engine's rules, which Ray does not check

GCE = {
    "machineType": str,
    "minCpuPlatform": str,
    "labels": dict,
    "tags": {"items": [str]},
    "metadata": {"items": [{"key": str, "value": str}]},
    "guestAccelerators": [{"acceleratorType": str, "acceleratorCount": int}],
    "serviceAccounts": [{"email": str, "scopes": [str]}],
    "shieldedInstanceConfig": {"enableSecureBoot": bool, "enableVtpm": bool, "enableIntegrityMonitoring": bool},
    "networkInterfaces": [
        {
            "network": str,
            "subnetwork": str,
            "nicType": {"GVNIC", "VIRTIO_NET"},
            "accessConfigs": [{"name": str, "type": {"ONE_TO_ONE_NAT"}, "networkTier": {"PREMIUM", "STANDARD"}}],
        }
    ],
    "scheduling": {
        "provisioningModel": {"SPOT", "STANDARD"},
        "preemptible": bool,
        "instanceTerminationAction": {"DELETE", "STOP"},
        "onHostMaintenance": {"MIGRATE", "TERMINATE"},
        "automaticRestart": bool,
        "preemptionNoticeDuration": {"seconds": int},
        "maxRunDuration": {"seconds": int},
    },
    "disks": [
        {
            "boot": bool,
            "autoDelete": bool,
            "type": {"PERSISTENT"},
            "initializeParams": {"diskSizeGb": int, "diskType": str, "sourceImage": str, "labels": dict},
        }
    ],
}
"""Fields of an instance, from the API's own description: compute v1, revision 20261106, schemas Instance, Scheduling,
AttachedDisk, AttachedDiskInitializeParams, NetworkInterface, AccessConfig, AcceleratorConfig, ServiceAccount,
ShieldedInstanceConfig, Tags and Metadata. Fewer than there are; a new one is to be looked up and added."""


def field_problems(value: Any, wanted: Any, path: str) -> Iterator[str]:
    if isinstance(wanted, dict):
        if not isinstance(value, dict):
            yield f"{path}: {value!r}"
            return
        for key, member in value.items():
            if key in wanted:
                yield from field_problems(member, wanted[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}: no such field"
    elif isinstance(wanted, list):
        if not isinstance(value, list):
            yield f"{path}: {value!r}"
            return
        for index, member in enumerate(value):
            yield from field_problems(member, wanted[0], f"{path}[{index}]")
    elif isinstance(wanted, set):
        if not isinstance(value, str) or value not in wanted:
            yield f"{path}: {value!r}"
    # A bool is an int only in Python.
    elif type(value) is not wanted:
        yield f"{path}: {value!r}"


def gce_problems(config: Config) -> list[str]:
    """Unknown fields, and what Compute Engine would refuse or Ray could not use."""
    problems = []
    region, zone = config["provider"]["region"], config["provider"]["availability_zone"]
    for name, kind in types_of(config):
        node, gpus = kind["node_config"], kind["resources"].get("GPU", 0)
        unknown = list(field_problems(node, GCE, name))
        if unknown:
            problems += unknown
            continue
        named = sum(each.get("acceleratorCount", 0) for each in node.get("guestAccelerators", []))
        # N1 machines get the GPUs that are named; G2 and A2 ones come with theirs.
        series = node.get("machineType", "").partition("-")[0]
        if (
            (series == "n1" and named != gpus)
            or (series != "n1" and named)
            or (gpus and series not in ("n1", "g2", "a2"))
        ):
            problems.append(f"{name}: {gpus} GPUs and {named} accelerators on {series}")
        if gpus and node.get("scheduling", {}).get("onHostMaintenance") != "TERMINATE":
            problems.append(f"{name}: machines with GPUs cannot be moved")
        text = json.dumps(node)
        problems += [
            f"{name}: {found} is elsewhere" for found in re.findall(r"\bzones/([a-z0-9-]+)", text) if found != zone
        ]
        problems += [
            f"{name}: {found} is elsewhere" for found in re.findall(r"\bregions/([a-z0-9-]+)", text) if found != region
        ]
    return problems


def test_compute_engine_knows_every_field_of_the_machines() -> None:
    assert gce_problems(load("gcp")) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("machineTyp", "n1-standard-4"),
        ("machineType", "e2-standard-4"),
        ("guestAccelerators", None),
        ("guestAccelerators/0/acceleratorCount", 2),
        ("guestAccelerators/0/count", 1),
        ("scheduling", [{"preemptible": True}]),
        ("scheduling/provisioningModel", "spot"),
        ("scheduling/onHostMaintenance", "MIGRATE"),
        ("scheduling/preemptionNoticeDuration", 120),
        ("disks/0/initializeParams/diskSizeGb", "100"),
        ("disks/0/initializeParams/diskType", "zones/us-west1-a/diskTypes/pd-balanced"),
        ("networkInterfaces/0/accessConfig", []),
        ("metadata", {"ssh-keys": "ubuntu:ssh-ed25519 AAAA"}),
    ],
)
def test_a_typo_below_node_config_is_found_for_compute_engine(path: str, value: Any) -> None:
    config = load("gcp")
    put(f"available_node_types/gpu-t4/node_config/{path}", value)(config)
    checked(config)  # Ray accepts everything
    assert gce_problems(config) != []


# Machines and their cost


@pytest.mark.parametrize("name", CLOUDS)
def test_a_cloud_costs_a_small_head_and_what_there_is_work_for(name: str) -> None:
    config = load(name)
    head = config["available_node_types"][config["head_node_type"]]
    assert head["max_workers"] == 0
    assert head["resources"] == {"CPU": 0}
    assert not head.keys() & {"min_workers"}
    assert 0 < config["idle_timeout_minutes"] <= 10
    for _, kind in workers_of(config):
        assert kind.get("min_workers", 0) == 0
        assert kind["max_workers"] <= config["max_workers"]
        assert kind["resources"]["CPU"] > 0
        assert kind["resources"]["memory"] > 2**32
        # Expensive ones must be requested.
        assert kind["max_workers"] == 0 or kind["resources"].get("GPU", 0) <= 1
    gpus = [kind["resources"].get("GPU", 0) for _, kind in workers_of(config)]
    assert 0 in gpus
    assert len([count for count in gpus if count]) >= 3
    priorities = [kind["priority"] for _, kind in workers_of(config) if "priority" in kind]
    assert len(set(priorities)) == len(priorities)


def test_on_ec2_workers_are_spot_disks_encrypted_and_roles_narrow() -> None:
    config = load("aws")
    assert config["provider"]["cache_stopped_nodes"] is False
    for name, kind in types_of(config):
        node = kind["node_config"]
        is_head = name == config["head_node_type"]
        assert ("InstanceMarketOptions" in node) is not is_head
        assert is_head or node["InstanceMarketOptions"]["MarketType"] == "spot"
        assert node["IamInstanceProfile"] == {"Name": "dip-head" if is_head else "dip-worker"}
        options = {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1}
        assert node["MetadataOptions"] == options
        for disk in node["BlockDeviceMappings"]:
            assert disk["Ebs"]["Encrypted"] is True
            assert disk["Ebs"]["DeleteOnTermination"] is True
            assert disk["Ebs"]["VolumeType"] == "gp3"
        # Without a group of ours Ray makes one that is open to ssh from everywhere.
        assert len(node["SecurityGroupIds"]) == 1
        assert ("nvidia" in node["ImageId"]) is bool(kind["resources"].get("GPU"))
        assert {tag["ResourceType"] for tag in node["TagSpecifications"]} == {"instance", "volume"}


def test_on_compute_engine_workers_are_spot_and_have_no_account() -> None:
    config = load("gcp")
    for name, kind in types_of(config):
        node = kind["node_config"]
        is_head = name == config["head_node_type"]
        assert ("scheduling" in node) is not is_head
        assert ("serviceAccounts" in node) is is_head
        assert is_head or node["scheduling"]["provisioningModel"] == "SPOT"
        assert is_head or node["scheduling"]["instanceTerminationAction"] == "DELETE"
        assert all(disk["autoDelete"] for disk in node["disks"])
        assert {"key": "block-project-ssh-keys", "value": "true"} in node["metadata"]["items"]
        # The default network is open to ssh from everywhere.
        assert [each["subnetwork"] for each in node["networkInterfaces"]] == ["regions/us-central1/subnetworks/dip"]
        assert ("nvidia" in node["disks"][0]["initializeParams"]["sourceImage"]) is bool(kind["resources"].get("GPU"))
        # Names and tags become labels.
        assert re.fullmatch(r"[a-z0-9_-]{1,63}", name)
    watcher = config["worker_start_ray_commands"][-1].split()
    notice = config["available_node_types"]["gpu-t4"]["node_config"]["scheduling"]["preemptionNoticeDuration"]
    assert watcher[watcher.index("--notice") + 1] == str(notice["seconds"])


# Closed ports and files


@pytest.mark.parametrize(
    "path", [*(ROOT / "cluster" / f"{name}.yaml" for name in FILES), ROLES], ids=lambda path: path.name
)
def test_no_file_opens_anything_or_holds_a_secret(path: Path) -> None:
    text = path.read_text()
    assert OPEN not in text
    assert "::/0" not in text
    secrets = r"AKIA[0-9A-Z]{12}|BEGIN [A-Z ]*KEY|aws_secret|AWS_SECRET|private_key_id|RAY_AUTH_TOKEN=|password"
    assert re.search(secrets, text, re.IGNORECASE) is None


@pytest.mark.parametrize("name", FILES)
def test_every_ray_asks_for_the_token_and_tells_nobody(name: str) -> None:
    config = load(name)
    commands = list(start_commands(config))
    assert len(commands) == 2
    for command in commands:
        words = command.split()
        assert words.index("RAY_AUTH_MODE=token") < words.index("start")
        assert words.index("RAY_USAGE_STATS_ENABLED=0") < words.index("start")
        assert "--metrics-export-port=9464" in words
    assert "--dashboard-host=127.0.0.1" in commands[0].split()
    watchers = [command for command in config["worker_start_ray_commands"] if "spot_watch" in command]
    assert len(watchers) == (name in CLOUDS)
    assert all("RAY_AUTH_MODE=token" in command.split() for command in watchers)
    assert ("~/.ray/auth_token", "~/.ray/auth_token") in config["file_mounts"].items()


@pytest.mark.parametrize("name", FILES)
def test_nothing_in_a_start_command_belongs_to_one_machine(name: str) -> None:
    config = load(name)
    for command in [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]:
        assert [word for word in command.split() if word.startswith("/")] == []


def test_all_three_do_the_same_on_the_machines() -> None:
    onprem, aws, gcp = map(load, FILES)
    for key in ("file_mounts", "setup_commands", "head_start_ray_commands", "initialization_commands"):
        assert aws[key] == gcp[key]
    assert aws["setup_commands"][1:] == onprem["setup_commands"]
    watcher = "~/dip-orchestrator/cluster/spot_watch.py"
    assert {key: value for key, value in aws["file_mounts"].items() if key != watcher} == onprem["file_mounts"]
    assert aws["worker_start_ray_commands"][:-1] == onprem["worker_start_ray_commands"]
    assert aws["head_start_ray_commands"] == [
        command.replace("RAY_enable_autoscaler_v2=0 ", "") for command in onprem["head_start_ray_commands"]
    ]


# The effect of the commands, on this machine


class Host:
    """A home with commands in Ray's and Python's place that write down how they were called."""

    def __init__(self, home: Path) -> None:
        self.home, self.calls_file, self.fails = home, home / "calls", home / "fails"
        (home / "bin").mkdir()
        (home / ".ray").mkdir()
        (home / ".ray" / "auth_token").write_text("secret")
        (home / ".ray" / "auth_token").chmod(0o644)
        self.tell("ray")
        python = self.tell("python3", pass_on=["-c"])
        python.write_text(
            python.read_text() + 'if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin"; '
            f'cp {home}/bin/venv-python "$3/bin/python"; fi\n'
        )
        self.tell("venv-python")

    def tell(self, name: str, pass_on: list[str] | None = None) -> Path:
        program = self.home / "bin" / name
        passing = "".join(f'if [ "$1" = "{flag}" ]; then exec {sys.executable} "$@"; fi\n' for flag in pass_on or [])
        note = (
            "import json, os, sys; print(json.dumps([sys.argv[1:], {key: value for key, value in os.environ.items()"
            f" if key.startswith(('RAY_', 'OMP_'))}}]), file=open({str(self.calls_file)!r}, 'a'))"
        )
        program.write_text(
            f'#!/bin/bash\n{passing}{sys.executable} -c "{note}" {name} "$@"\n[ ! -e {self.fails} ] || exit 1\n'
        )
        program.chmod(0o755)
        return program

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """As Ray's launcher runs it, but for a terminal."""
        environment = {"HOME": str(self.home), "PATH": f"{self.home}/bin:/usr/bin:/bin"}
        return subprocess.run(
            ["/bin/bash", "-c", f"export OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore && ({command})"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    @property
    def calls(self) -> list[tuple[list[str], dict[str, str]]]:
        if not self.calls_file.exists():
            return []
        return [tuple(json.loads(line)) for line in self.calls_file.read_text().splitlines()]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_what_a_head_is_started_with(host: Host, name: str) -> None:
    # `ray up` asks for the second autoscaler like this.
    asked = {"RAY_enable_autoscaler_v2": "1", "RAY_CLOUD_INSTANCE_ID": "i-1", "RAY_NODE_TYPE_NAME": "head"}
    for command in with_envs(load(name)["head_start_ray_commands"], asked):
        done = host.run(command)
        assert done.returncode == 0, done.stderr
    (stop, _), (start, environment) = host.calls
    assert stop == ["ray", "stop"]
    assert start[:3] == ["ray", "start", "--head"]
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in start
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
    # The second autoscaler knows clouds only.
    assert environment["RAY_enable_autoscaler_v2"] == ("0" if name == "onprem" else "1")
    assert "OMP_NUM_THREADS" not in environment
    assert (host.home / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", FILES)
def test_what_a_worker_is_started_with(host: Host, name: str) -> None:
    for command in with_head_node_ip(load(name)["worker_start_ray_commands"], "10.0.0.1"):
        done = host.run(command)
        assert done.returncode == 0, done.stderr
    (stop, _), (start, environment), *watcher = host.calls
    assert stop == ["ray", "stop"]
    assert start[:3] == ["ray", "start", "--address=10.0.0.1:6379"]
    assert (environment["RAY_AUTH_MODE"], environment["RAY_USAGE_STATS_ENABLED"]) == ("token", "0")
    assert "OMP_NUM_THREADS" not in environment
    cloud = {"aws": ["aws"], "gcp": ["gce", "--notice", "120"]}
    script = str(host.home / "dip-orchestrator/cluster/spot_watch.py")
    expected = [["python3", script, *cloud[name]]] if name in cloud else []
    assert [call for call, _ in watcher] == expected
    assert all(environment["RAY_AUTH_MODE"] == "token" for _, environment in watcher)


@pytest.mark.parametrize("name", FILES)
def test_a_ray_without_a_token_is_not_started(host: Host, name: str) -> None:
    (host.home / ".ray" / "auth_token").unlink()
    for command in start_commands(load(name)):
        assert host.run(command).returncode != 0
    assert host.calls == []


def set_up(host: Host, name: str) -> list[list[str]]:
    """The installations that the setup commands make, which must all succeed."""
    before = len(host.calls)
    for command in load(name)["setup_commands"]:
        done = host.run(command)
        assert done.returncode == 0, (command, done.stderr)
    return [call[1:] for call, _ in host.calls[before:] if call[0] == "venv-python"]


@pytest.mark.parametrize("name", FILES)
def test_packages_are_installed_once_and_when_what_is_wanted_changes(host: Host, name: str) -> None:
    checkout = host.home / "dip-orchestrator"
    checkout.mkdir()
    for file in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / file, checkout)
    (install,) = set_up(host, name)
    assert install[:3] == ["-m", "pip", "install"]
    assert install[-4:] == ["--constraint", "constraints.txt", "--editable", "."]
    assert set_up(host, name) == []
    with (checkout / "constraints.txt").open("a") as file:
        file.write("another==1\n")
    assert len(set_up(host, name)) == 1
    assert set_up(host, name) == []
    # The environment is made once, and the path to its commands written down once.
    assert [call[:3] for call, _ in host.calls].count(["python3", "-m", "venv"]) == 1
    assert (host.home / ".bashrc").read_text().count("dip-venv/bin") == 1
    # A failed one is made up for.
    with (checkout / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    host.fails.touch()
    assert any(host.run(command).returncode for command in load(name)["setup_commands"])
    host.fails.unlink()
    assert len(set_up(host, name)) == 1


def test_an_old_python_is_refused_in_words(host: Host) -> None:
    old = host.home / "bin" / "python3"
    old.write_text(
        f"#!/bin/bash\nexec {sys.executable} -c 'import sys; sys.version_info = (3, 10); exec(sys.argv[1])' \"$2\"\n"
    )
    done = host.run(load("onprem")["setup_commands"][0])
    assert done.returncode != 0
    assert "3.11 or newer" in done.stdout


def test_the_machines_get_all_that_is_needed_to_install(tmp_path: Path) -> None:
    config, home = load("aws"), tmp_path / "home"
    for target, source in config["file_mounts"].items():
        if source.startswith("~"):
            continue
        place = home / target.removeprefix("~/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns(*config["rsync_exclude"]))
        else:
            shutil.copy(ROOT / source, place)
    checkout = home / "dip-orchestrator"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    built = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = [
        project["project"]["readme"],
        *project["project"]["license-files"],
        *built["packages"],
        *built["force-include"],
    ]
    assert [name for name in ["pyproject.toml", "constraints.txt", *needed] if not (checkout / name).exists()] == []
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path)]
    subprocess.run([*wheel, "--editable", str(checkout)], check=True, stderr=subprocess.DEVNULL)
    assert list(tmp_path.glob("dip_orchestrator-*.whl"))
    code = "import orchestrator.settings as c; print(c.__file__, sorted(c.shipped_configs().iterdir())[0])"
    where = {"PATH": os.environ["PATH"], "PYTHONSAFEPATH": "1", "PYTHONPATH": str(checkout)}
    found = subprocess.run([sys.executable, "-c", code], env=where, capture_output=True, text=True, check=True)
    assert all(place.startswith(str(checkout)) for place in found.stdout.split())


# AWS, as moto simulates it


def resolved(value: Any, names: dict[str, Any]) -> Any:
    """A part of a CloudFormation template with its functions carried out; only those that ours uses."""
    match value:
        case list():
            made: Any = [each for each in (resolved(member, names) for member in value) if each is not None]
        case {"Ref": name}:
            made = names[name]
        case {"Fn::GetAtt": [resource, attribute]}:
            made = names[f"{resource}.{attribute}"]
        case {"Fn::Sub": text}:
            made = re.sub(r"\$\{([^}]+)\}", lambda match: str(names[match[1]]), text)
        case {"Fn::If": [condition, then, otherwise]}:
            made = resolved(then if names[condition] else otherwise, names)
        case dict():
            members = {key: resolved(member, names) for key, member in value.items()}
            made = {key: member for key, member in members.items() if member is not None}
        case _:
            made = value
    return made


ACCOUNT = "123456789012"
REGION = "us-east-1"


class Stack:
    """The stack of cluster/aws-instance-role.json, made in moto."""

    def __init__(self) -> None:
        template = json.loads(ROLES.read_text())
        self.iam, self.ec2 = boto3.client("iam"), boto3.client("ec2", REGION)
        self.names: dict[str, Any] = {
            "AWS::Partition": "aws",
            "AWS::AccountId": ACCOUNT,
            "AWS::Region": REGION,
            "AWS::NoValue": None,
            "OwnVpc": False,
            "Ssh": True,
            **{name: parameter.get("Default") for name, parameter in template["Parameters"].items()},
            "Bucket": "pictures",
            "SshFrom": "198.51.100.7/32",
        }
        self.policies: dict[str, Any] = {}
        self._resources = template["Resources"]
        for name in ("SecurityGroup", "AmongItself", "Store", "WorkerRole", "Autoscaler", "HeadRole"):
            self._make(name)
        for name in self._resources.keys() - self.names.keys():
            self._make(name)
        self.group = resolved(template["Outputs"]["SecurityGroup"]["Value"], self.names)

    def _make(self, name: str) -> None:
        resource = self._resources[name]
        wish = resolved(resource["Properties"], self.names)
        made = getattr(self, "_" + resource["Type"].rpartition("::")[2].lower())(name, wish)
        self.names.setdefault(name, made)

    def _managedpolicy(self, name: str, wish: Config) -> str:
        self.policies[name] = wish["PolicyDocument"]
        document = json.dumps(wish["PolicyDocument"])
        made = self.iam.create_policy(PolicyName=wish["ManagedPolicyName"], PolicyDocument=document)
        return made["Policy"]["Arn"]

    def _role(self, name: str, wish: Config) -> str:
        trust = json.dumps(wish["AssumeRolePolicyDocument"])
        made = self.iam.create_role(RoleName=wish["RoleName"], AssumeRolePolicyDocument=trust)
        for policy in wish["ManagedPolicyArns"]:
            self.iam.attach_role_policy(RoleName=wish["RoleName"], PolicyArn=policy)
        self.names[f"{name}.Arn"] = made["Role"]["Arn"]
        return wish["RoleName"]

    def _instanceprofile(self, name: str, wish: Config) -> str:
        self.iam.create_instance_profile(InstanceProfileName=wish["InstanceProfileName"])
        for role in wish["Roles"]:
            self.iam.add_role_to_instance_profile(InstanceProfileName=wish["InstanceProfileName"], RoleName=role)
        return wish["InstanceProfileName"]

    def _securitygroup(self, name: str, wish: Config) -> str:
        made = self.ec2.create_security_group(GroupName="stack-1", Description=wish["GroupDescription"])
        self.names[f"{name}.GroupId"] = made["GroupId"]
        for rule in wish["SecurityGroupIngress"]:
            ranges = [{"CidrIp": rule["CidrIp"], "Description": rule["Description"]}]
            ports = {key: rule[key] for key in ("IpProtocol", "FromPort", "ToPort")}
            self.ec2.authorize_security_group_ingress(
                GroupId=made["GroupId"], IpPermissions=[{**ports, "IpRanges": ranges}]
            )
        return made["GroupId"]

    def _securitygroupingress(self, name: str, wish: Config) -> str:
        pairs = [{"GroupId": wish["SourceSecurityGroupId"]}]
        rule = {"IpProtocol": wish["IpProtocol"], "UserIdGroupPairs": pairs}
        self.ec2.authorize_security_group_ingress(GroupId=wish["GroupId"], IpPermissions=[rule])
        return name


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """A simulated account with the stack, and a home of our own: Ray puts a key there. No packet leaves the process."""
    for name, value in {
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2"):
        monkeypatch.delenv(name, raising=False)
    # Ray asks for all types that there are, which is most of what these tests take.
    families = {kind["node_config"]["InstanceType"].split(".")[0] for _, kind in types_of(load("aws"))}
    some = [kind for kind in InstanceTypeBackend.instance_types if kind["InstanceType"].split(".")[0] in families]
    monkeypatch.setattr(InstanceTypeBackend, "instance_types", some)
    kept = (aws_utils.resource_cache, aws_utils.client_cache, aws_config._get_subnets_or_die)
    with mock_aws():
        for cache in kept:
            cache.cache_clear()
        yield Stack()
        for cache in kept:
            cache.cache_clear()


def bootstrapped(stack: Stack) -> Config:
    """The cluster that `ray up` makes of cluster/aws.yaml, with only the required line changed."""
    config = load("aws")
    for _, kind in types_of(config):
        assert kind["node_config"]["SecurityGroupIds"] == ["sg-00000000000000000"]
        kind["node_config"]["SecurityGroupIds"] = [stack.group]
    return aws_config.bootstrap_aws(AWSNodeProvider.fillout_available_node_types_resources(checked(config)))


def test_ray_takes_what_the_stack_made_and_makes_nothing_but_a_key(aws: Stack, tmp_path: Path) -> None:
    config = bootstrapped(aws)
    default = aws.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    in_default = {
        subnet["SubnetId"]
        for subnet in aws.ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [default]}])["Subnets"]
    }
    for name, kind in types_of(config):
        node = kind["node_config"]
        assert node["IamInstanceProfile"] == {"Name": "dip-head" if name == "head" else "dip-worker"}
        assert node["SecurityGroupIds"] == [aws.group]
        assert set(node["SubnetIds"]) == in_default
        assert node["KeyName"] == f"ray-autoscaler_{REGION}"
    assert config["available_node_types"]["gpu-l4"]["resources"]["accelerator_type:L4"] == 1
    key = Path(config["auth"]["ssh_private_key"])
    assert key.parent == tmp_path / ".ssh"
    assert key.stat().st_mode & 0o777 == 0o600
    assert {role["RoleName"] for role in aws.iam.list_roles()["Roles"]} == {"dip-head", "dip-worker"}
    for role in ("dip-head", "dip-worker"):
        attached = aws.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        assert not any("FullAccess" in policy["PolicyName"] for policy in attached)
    assert {group["GroupName"] for group in aws.ec2.describe_security_groups()["SecurityGroups"]} == {
        "default",
        "stack-1",
    }


def test_without_the_security_group_nothing_is_started(aws: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    # If none were named, Ray would make one that lets in ssh from everywhere.
    with pytest.raises(Exception):  # noqa: B017, PT011 - it says why elsewhere
        aws_config.bootstrap_aws(checked(load("aws")))
    assert "Failed to detect a security group" in capfd.readouterr().err
    assert aws.ec2.describe_instances()["Reservations"] == []
    assert len(aws.ec2.describe_security_groups()["SecurityGroups"]) == 2


def test_the_security_group_lets_in_ssh_from_one_place_and_its_own_machines(aws: Stack) -> None:
    (group,) = aws.ec2.describe_security_groups(GroupIds=[aws.group])["SecurityGroups"]
    ssh, own = sorted(group["IpPermissions"], key=lambda rule: rule["IpProtocol"], reverse=True)
    assert (ssh["IpProtocol"], ssh["FromPort"], ssh["ToPort"]) == ("tcp", 22, 22)
    assert [each["CidrIp"] for each in ssh["IpRanges"]] == ["198.51.100.7/32"]
    assert own["IpProtocol"] == "-1"
    assert [pair["GroupId"] for pair in own["UserIdGroupPairs"]] == [aws.group]
    assert not own["IpRanges"]
    assert not [*ssh["Ipv6Ranges"], *own["Ipv6Ranges"]]


TAGS = {"ray-node-type": "worker", "ray-launch-config": "hash", "ray-node-status": "uninitialized"}


def test_machines_start_as_they_are_described_and_end(aws: Stack) -> None:
    config = bootstrapped(aws)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for name, kind in types_of(config):
        (node,) = provider.create_node(kind["node_config"], {**TAGS, "ray-user-node-type": name}, 1)
        (reservation,) = aws.ec2.describe_instances(InstanceIds=[node])["Reservations"]
        (machine,) = reservation["Instances"]
        assert machine["InstanceType"] == kind["node_config"]["InstanceType"]
        assert (machine.get("InstanceLifecycle") == "spot") is (name != "head")
        role = "dip-head" if name == "head" else "dip-worker"
        assert machine["IamInstanceProfile"]["Arn"].endswith(f"/{role}")
        assert [group["GroupId"] for group in machine["SecurityGroups"]] == [aws.group]
        assert machine["MetadataOptions"]["HttpTokens"] == "required"
        tags = {tag["Key"]: tag["Value"] for tag in machine["Tags"]}
        assert tags["project"] == "dip-orchestrator"
        assert tags["ray-cluster-name"] == "dip"
        volumes = [disk["Ebs"]["VolumeId"] for disk in machine["BlockDeviceMappings"]]
        (volume,) = aws.ec2.describe_volumes(VolumeIds=volumes)["Volumes"]
        assert (volume["Encrypted"], volume["VolumeType"]) == (True, "gp3")
        assert {"Key": "project", "Value": "dip-orchestrator"} in volume["Tags"]
    provider.terminate_nodes(provider.non_terminated_nodes({}))
    states = {
        machine["State"]["Name"]
        for reservation in aws.ec2.describe_instances()["Reservations"]
        for machine in reservation["Instances"]
    }
    # A stopped machine would cost its disk.
    assert states == {"terminated"}


def statements(stack: Stack, role: str) -> list[Config]:
    attached = stack.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    names = {policy["PolicyName"].removeprefix("dip-") for policy in attached}
    return [each for name, policy in stack.policies.items() if name.lower() in names for each in policy["Statement"]]


def actions_of(policy: list[Config]) -> set[str]:
    return {
        action
        for statement in policy
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }


def test_the_heads_role_allows_what_the_autoscaler_calls(aws: Stack) -> None:
    config = bootstrapped(aws)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    called: set[str] = set()
    for resource in (provider.ec2, provider.ec2_fail_fast):
        resource.meta.client.meta.events.register(
            "before-call.ec2", lambda model, **_: called.add(f"ec2:{model.name}"), unique_id="told"
        )
    node_config = config["available_node_types"]["gpu-t4"]["node_config"]
    (node,) = provider.create_node(node_config, {**TAGS, "ray-user-node-type": "gpu-t4"}, 1)
    provider.non_terminated_nodes({})
    provider.set_node_tags(node, {"ray-node-status": "up-to-date"})
    provider.is_running(node)
    provider.internal_ip(node)
    provider.external_ip(node)
    provider.terminate_node(node)
    assert called == {"ec2:RunInstances", "ec2:DescribeInstances", "ec2:CreateTags", "ec2:TerminateInstances"}
    assert called <= actions_of(statements(aws, "dip-head"))


def test_the_roles_are_narrow(aws: Stack) -> None:
    head, worker = statements(aws, "dip-head"), statements(aws, "dip-worker")
    for statement in [*head, *worker]:
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in actions_of([statement]))
        # Describing machines cannot be restricted further.
        assert statement["Resource"] != "*" or statement["Action"] == "ec2:DescribeInstances"
    # The rights that docs/store.md lists for a store, below the prefix, and nothing else.
    page = (ROOT / "docs" / "store.md").read_text()
    documented = json.loads(re.search(r'\{"Version".*?\]\}', page, re.DOTALL)[0])["Statement"]  # type: ignore[index]
    assert actions_of(worker) == actions_of(documented)
    assert [statement["Resource"] for statement in worker] == ["arn:aws:s3:::pictures", "arn:aws:s3:::pictures/dip/*"]
    # A worker starts no machines, and the head only such as are this cluster's and have the workers' role.
    assert not any(action.startswith(("ec2:", "iam:", "ssm:")) for action in actions_of(worker))
    by_name = {statement["Sid"]: statement for statement in head}
    assert by_name["GiveWorkersTheirRole"]["Resource"] == f"arn:aws:iam::{ACCOUNT}:role/dip-worker"
    cluster = load("aws")["cluster_name"]
    assert by_name["MachinesOfThisCluster"]["Condition"] == {
        "StringEquals": {"aws:ResourceTag/ray-cluster-name": cluster}
    }
    asked = by_name["LaunchMachinesOfThisCluster"]["Condition"]["StringEquals"]
    assert asked == {"aws:RequestTag/ray-cluster-name": cluster, "ec2:MetadataHttpTokens": "required"}


def test_the_autoscaler_sees_the_types_as_they_are_meant(aws: Stack) -> None:
    config = bootstrapped(aws)
    config.pop("head_node")
    seen = AutoscalingConfig(config, skip_content_hash=True).get_node_type_configs()
    assert {name for name, kind in seen.items() if kind.max_worker_nodes} == {*seen} - {"gpu-a100"}
    assert seen["head"].max_worker_nodes == 1
    preferred = sorted(
        (kind for kind in seen.values() if kind.resources.get("GPU") == 1), key=lambda kind: -kind.priority
    )
    assert [kind.name for kind in preferred] == ["gpu-t4", "gpu-l4", "gpu-a10g"]
    assert all(kind.min_worker_nodes == 0 for kind in seen.values())
