"""The shipped cluster on AWS, against moto's EC2: machines come with the work, spot machines go,
and all are gone in the end.

Moto keeps the books of EC2; the machines in them are hosts of a network from which nothing gets out. Not tried: real
machine images, drivers, quotas, and capacity that is not there.
"""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from tests.cluster_system.conftest import (
    ROOT,
    Dashboard,
    Terminal,
    adapted,
    checkpoints,
    make_token,
    save_inputs,
    see_to_the_end,
    submit,
    tunnel,
)
from tests.cluster_system.hosts import Host, Hosts
from tests.ports import free_ports
from tests.seaweed import SeaweedFS

pytestmark = pytest.mark.timeout(1800)

METADATA = "169.254.169.254"
# An address of the default network that moto gives an account, outside all of its subnets.
GATEWAY = "172.31.255.254/16"
NOTICE_S = 120.0
START_S = 60.0
WANTS_A_GPU = "import ray; ray.init(); print(ray.get(ray.remote(num_gpus=1)(lambda: ray.get_gpu_ids()).remote()))"
# The rights of the machines' role: all on both services, which know no roles.
KEYS = {
    "AccessKeyId": SeaweedFS.environment["AWS_ACCESS_KEY_ID"],
    "SecretAccessKey": SeaweedFS.environment["AWS_SECRET_ACCESS_KEY"],
    "Token": "",
}


class Metadata(ThreadingHTTPServer):
    """EC2's metadata service, version 2: keys of the machine's role, and notices for spot
    machines, by the caller's address.

    The protocol: "Use IMDSv2" and "Spot Instance interruption notices" in the EC2 User Guide.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((METADATA, 80), _Answer)
        self.notices: dict[str, float] = {}  # by address, the time of the end
        self.asked: set[str] = set()  # the addresses that have asked for one


class _Answer(BaseHTTPRequestHandler):
    server: Metadata

    def do_PUT(self) -> None:
        self._send(200 if self.path == "/latest/api/token" else 404, "a-token")

    def do_GET(self) -> None:
        end = self.server.notices.get(self.client_address[0])
        action = "/latest/meta-data/spot/instance-action"
        if self.path == action:
            self.server.asked.add(self.client_address[0])
        role = "/latest/meta-data/iam/security-credentials/"
        if self.headers.get("X-aws-ec2-metadata-token") != "a-token":
            self._send(401, "")
        elif self.path == role:
            self._send(200, "the-role")
        elif self.path == f"{role}the-role":
            times = {"LastUpdated": _time(time.time()), "Expiration": _time(time.time() + 6 * 3600)}
            self._send(200, json.dumps({"Code": "Success", "Type": "AWS-HMAC", **KEYS, **times}))
        elif self.path == action and end is not None:
            self._send(200, json.dumps({"action": "terminate", "time": _time(end)}))
        else:
            self._send(404, "")

    def log_message(self, *_: object) -> None:
        pass

    def _send(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class Ec2:
    """Moto's EC2, and its running machines as hosts that come and go with what it has in its books.

    Args:
        hosts: The network.
        folder: Where the terminal's home is, with keys below ``.ssh``, and where moto's log goes.
        region: AWS's name of it.
    """

    def __init__(self, hosts: Hosts, folder: Path, region: str) -> None:
        self._hosts = hosts
        self._folder = folder
        (port,) = free_ports(1, hosts.address)
        self.endpoint = f"http://{hosts.address}:{port}"
        self._port = port
        keys = {"aws_access_key_id": "tests", "aws_secret_access_key": "tests"}
        self._session = boto3.Session(region_name=region, **keys)
        self.running: dict[str, Host] = {}
        self._trouble: list[BaseException] = []
        self._ended = threading.Event()

    def client(self, service: str) -> Any:
        return self._session.client(service, endpoint_url=self.endpoint)

    def machines(self, *states: str) -> list[dict[str, Any]]:
        """Moto's machines in one of the states."""
        wanted = [{"Name": "instance-state-name", "Values": list(states)}]
        found = self.client("ec2").describe_instances(Filters=wanted)
        return [machine for reservation in found["Reservations"] for machine in reservation["Instances"]]

    @property
    def spot(self) -> list[str]:
        """The addresses of running spot machines."""
        machines = self.machines("running")
        return [each["PrivateIpAddress"] for each in machines if each.get("InstanceLifecycle") == "spot"]

    def terminate(self, address: str) -> None:
        """Take a machine away."""
        numbers = [each["InstanceId"] for each in self.machines("running") if each["PrivateIpAddress"] == address]
        self.client("ec2").terminate_instances(InstanceIds=numbers)

    @property
    def kinds(self) -> list[str]:
        """The types of all machines that there have been."""
        return [each["InstanceType"] for each in self.machines("running", "terminated")]

    def make_stack(self) -> str:
        """The roles and the security group that a user makes from the shipped template; returns the group's id."""
        template = (ROOT / "cluster/aws-instance-role.json").read_text()
        given = {"Bucket": "images", "SshFrom": "198.51.100.7/32"}
        parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()]
        stacks = self.client("cloudformation")
        stacks.create_stack(StackName="dip", TemplateBody=template, Parameters=parameters)
        (stack,) = stacks.describe_stacks(StackName="dip")["Stacks"]
        return str({each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}["SecurityGroup"])

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Moto, and the hosts, inside the block."""
        command = [f"{sys.prefix}/bin/moto_server", "-H", self._hosts.address, "-p", str(self._port)]
        with (
            (self._folder / "moto.log").open("ab") as log,
            # The policies of AWS's own that `ray up` gives to a role.
            subprocess.Popen(command, stdout=log, stderr=log, env={"MOTO_IAM_LOAD_MANAGED_POLICIES": "true"}) as moto,
        ):
            follower = threading.Thread(target=self._follow, name="machines")
            try:
                self._wait_for_moto(moto)
                follower.start()
                yield
            finally:
                self._ended.set()
                if follower.is_alive():
                    follower.join()
                moto.kill()
        if self._trouble:
            raise self._trouble[0]

    def _wait_for_moto(self, moto: "subprocess.Popen[bytes]") -> None:
        end = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection((self._hosts.address, self._port), timeout=1):
                return
            assert moto.poll() is None, (self._folder / "moto.log").read_text()
            assert time.monotonic() < end
            time.sleep(0.1)

    def _follow(self) -> None:
        # Hosts end with the thread that added them: with this one.
        try:
            while not self._ended.wait(1):
                machines = {machine["InstanceId"]: machine for machine in self.machines("running")}
                for number in self.running.keys() - machines.keys():
                    self.running.pop(number).cut_off()
                for number in machines.keys() - self.running.keys():
                    address = machines[number]["PrivateIpAddress"]
                    key = self._folder / ".ssh" / f"{machines[number].get('KeyName')}.pem"
                    name = f"ip-{address.replace('.', '-')}"
                    self.running[number] = self._hosts.add(name, address, _public(key) if key.exists() else None)
        except BaseException as error:
            self._trouble.append(error)


def _public(key: Path) -> str:
    asked = ["ssh-keygen", "-y", "-f", str(key)]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def hosts(ready: None, tmp_path: Path) -> Iterator[Hosts]:
    with Hosts(tmp_path, GATEWAY, services=[METADATA]) as hosts:
        yield hosts


@pytest.fixture
def metadata(hosts: Hosts) -> Iterator[Metadata]:
    with Metadata() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_machines_come_with_the_work_and_a_spot_machine_taken_away_costs_the_run_nothing(
    hosts: Hosts, metadata: Metadata, server: SeaweedFS, terminal: Terminal, cluster_name: str
) -> None:
    token = make_token(terminal.folder)
    save_inputs(terminal.folder)
    shipped = yaml.safe_load((ROOT / "cluster/aws.yaml").read_text())
    ec2 = Ec2(hosts, terminal.folder, shipped["provider"]["region"])
    # Our metadata service is slow: two processors do the work of many machines.
    patience = {"AWS_METADATA_SERVICE_TIMEOUT": "10", "AWS_METADATA_SERVICE_NUM_ATTEMPTS": "5"}
    cluster = adapted(ROOT / "cluster/aws.yaml", cluster_name, {"AWS_ENDPOINT_URL": ec2.endpoint, **patience})
    terminal.environment["AWS_ENDPOINT_URL"] = ec2.endpoint
    with ec2.serving():
        adapt_to_here(cluster, ec2.make_stack())
        (terminal.folder / "aws.yaml").write_text(yaml.safe_dump(cluster))
        terminal.run("ray", "up", "-y", "--no-config-cache", "aws.yaml")
        (head,) = ec2.machines("running")
        key = next((terminal.folder / ".ssh").glob("*.pem"))
        with tunnel(terminal, key, f"root@{head['PrivateIpAddress']}", token) as dashboard:
            assert [dashboard.ask("/nodes?view=summary", given)[0] for given in (None, token)] == [401, 200]
            assert len(dashboard.nodes()) == 1
            terminal.environment.pop("AWS_ENDPOINT_URL")
            run_and_lose(terminal, server.url("images", "mine"), dashboard, ec2, metadata)
            terminal.run(
                "ray", "job", "submit", "--address", dashboard.address, "--", "python", "-c", WANTS_A_GPU, shown=r"^\["
            )
            terminal.note(f"# machines so far: {ec2.kinds}")
            assert any(kind.startswith("g") for kind in ec2.kinds)
            terminal.wait_until("what is idle has been given back", lambda: not ec2.spot, 300)
        terminal.run("ray", "down", "-y", "aws.yaml", environment={"AWS_ENDPOINT_URL": ec2.endpoint})
        assert not ec2.machines("pending", "running", "stopping", "stopped")
        terminal.note(f"# machines left: none of {len(ec2.machines('terminated'))}")


def run_and_lose(terminal: Terminal, url: str, dashboard: Dashboard, ec2: Ec2, metadata: Metadata) -> None:
    """Submit a run to a cluster without workers, take away one of the machines that come,
    and see the run to its end.
    """
    there = submit(terminal, url, dashboard, "first", "--set", "resources.gpus=0")
    terminal.wait_until("a spot machine is asked for", lambda: ec2.spot, 120)
    terminal.note(f"# machines so far: {ec2.kinds}")
    terminal.wait_until("it has joined", lambda: len(dashboard.nodes()) > 1, 180)
    terminal.wait_until("a fit has left a checkpoint in the store", lambda: checkpoints(url, "first"), 120)
    lost = min(terminal.wait_until("a fit runs on it", lambda: dashboard.busy() & set(ec2.spot), 60))
    terminal.wait_until("it asks whether it may stay", lambda: lost in metadata.asked, 60)
    metadata.notices[lost] = time.time() + NOTICE_S
    terminal.note(f"# AWS gives notice: {lost} will be taken away in {NOTICE_S:g} s")
    terminal.wait_until("no fit runs there any more", lambda: lost not in dashboard.busy(), NOTICE_S)
    ec2.terminate(lost)
    # Its address may be given to a machine that comes in its place.
    del metadata.notices[lost]
    terminal.note("# AWS takes it away")
    see_to_the_end(terminal, there, "first")


def adapt_to_here(cluster: dict[str, Any], group: str) -> None:
    """Adapt the file to our hosts instead of AWS's machines, and fill in the user's part."""
    # Moto gives its machines public addresses, which are somebody's: no packet may go there.
    cluster["provider"]["use_internal_ips"] = True
    cluster["auth"]["ssh_user"] = "root"
    cluster["idle_timeout_minutes"] = 1
    cluster["max_workers"] = 2
    for name, kind in cluster["available_node_types"].items():
        kind["node_config"]["SecurityGroupIds"] = [group]
        if name == "cpu":
            kind["resources"]["CPU"] = 1
