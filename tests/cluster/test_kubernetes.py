"""The files for Kubernetes: checked against the schemas of Kubernetes and of KubeRay, against KubeRay's own further
rules, and against Ray and this project. There is no Kubernetes here.
"""

import copy
import ipaddress
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import jsonschema
import kubernetes_validate
import pytest
import yaml
from ray.dashboard.http_server_agent import PUBLIC_EXACT_PATHS
from ray.scripts.scripts import start as ray_start

from orchestrator.cli import build_parser

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "cluster/kuberay.yaml", ROOT / "cluster/kuberay-job.yaml"]
KUBERAY = json.loads((ROOT / "tests/data/kuberay_v1.json").read_text())
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
RAY = re.findall(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[0]
KUBERNETES = ("1.30", "1.37")
OPERATOR = {"app.kubernetes.io/component": "kuberay-operator"}

Json = Any


def documents(path: Path) -> list[dict[str, Json]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def ray_of(path: Path) -> dict[str, Json]:
    """The file's RayCluster or RayJob."""
    (document,) = [document for document in documents(path) if document["apiVersion"] == "ray.io/v1"]
    return document


def cluster_spec(document: Mapping[str, Json]) -> dict[str, Json]:
    spec: dict[str, Json] = document["spec"]
    return spec["rayClusterSpec"] if document["kind"] == "RayJob" else spec


def kubernetes_parts(value: Json, schema: Json) -> Iterator[tuple[str, str, Json]]:
    """The parts of a value that are Kubernetes's own: the kind, its name and the part."""
    if "$ref" in schema:
        schema = KUBERAY["$defs"][schema["$ref"].rpartition("/")[2]]
    for name, part in schema.get("properties", {}).items():
        if name in value and "x-kubernetes" in part:
            yield part["x-kubernetes"], name, value[name]
        elif name in value and part.get("type") == "array":
            for item in value[name]:
                yield from kubernetes_parts(item, part["items"])
        elif name in value:
            yield from kubernetes_parts(value[name], part)


def as_kubernetes(part: str, name: str, value: Json) -> dict[str, Json]:
    """A document of Kubernetes's own around a part of one of KubeRay's."""
    template: dict[str, Json] = {"metadata": {}, "spec": {"containers": [{"name": "any", "image": "any"}]}}
    if part == "PodTemplate":
        template = value
    elif part == "metadata":
        template["metadata"] = value
    else:
        template["spec"]["containers"][0][name] = value
    return {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "any"}, "template": template}


def check(document: Mapping[str, Json]) -> None:
    """Raise where Kubernetes, with KubeRay, would not take a document."""
    own = [dict(document)]
    if document["apiVersion"] == "ray.io/v1":
        schema = {"$defs": KUBERAY["$defs"], "$ref": f"#/$defs/{document['kind']}"}
        jsonschema.Draft202012Validator(schema).validate(document)
        own = [as_kubernetes(*part) for part in kubernetes_parts(document, KUBERAY["$defs"][document["kind"]])]
        assert own
    for one in own:
        for version in KUBERNETES:
            kubernetes_validate.validate(one, version, strict=True)


def pods(document: Mapping[str, Json]) -> dict[str, dict[str, Json]]:
    """The templates of a cluster's pods by the names of their groups, and that of the pod which submits a job."""
    spec = cluster_spec(document)
    found = {"head": spec["headGroupSpec"]["template"]}
    found |= {group["groupName"]: group["template"] for group in spec["workerGroupSpecs"]}
    if document["kind"] == "RayJob":
        found["submitter"] = document["spec"]["submitterPodTemplate"]
    return found


def workers(document: Mapping[str, Json]) -> list[dict[str, Json]]:
    return [template for name, template in pods(document).items() if name not in ("head", "submitter")]


def container(template: Mapping[str, Json]) -> dict[str, Json]:
    """A pod's only container."""
    (only,) = template["spec"]["containers"]
    return dict(only)


each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


@each_file
def test_every_document_keeps_to_its_schema(path: Path) -> None:
    kinds = [document["kind"] for document in documents(path)]
    assert kinds == ["Namespace", "ServiceAccount", "NetworkPolicy", ray_of(path)["kind"]]
    for document in documents(path):
        check(document)
        if document["kind"] != "Namespace":
            assert document["metadata"]["namespace"] == documents(path)[0]["metadata"]["name"]


HEAD = ["headGroupSpec", "template", "spec"]
WORKER = ["workerGroupSpecs", 1, "template", "spec"]


@each_file
@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        ([], "enableInTreeAutoscalling", True),
        ([], "rayVersion", 2.6),
        (["authOptions"], "mode", "tokens"),
        (["authOptions"], "token", "x"),
        (["autoscalerOptions"], "version", "v3"),
        (["autoscalerOptions"], "idleTimeoutSeconds", "120"),
        (["autoscalerOptions", "resources"], "limit", {"cpu": 1}),
        (["autoscalerOptions", "securityContext"], "runAsRoot", False),
        (["headGroupSpec"], "rayStartParam", {}),
        (["headGroupSpec", "rayStartParams"], "num-cpus", 0),
        (["headGroupSpec"], "serviceType", "Cluster"),
        (HEAD, "serviceAccount_name", "dip"),
        ([*HEAD, "containers", 0], "imagePull", "Always"),
        ([*HEAD, "containers", 0, "startupProbe", "httpGet"], "url", "/"),
        ([*HEAD, "containers", 0, "envFrom", 0], "secret", "dip"),
        ([*HEAD, "securityContext"], "runAsNonRoot", "yes"),
        (["workerGroupSpecs", 0], "maxReplica", 3),
        (["workerGroupSpecs", 0], "minReplicas", -1),
        ([*WORKER, "tolerations", 0], "effects", "NoSchedule"),
        ([*WORKER, "containers", 0, "resources", "limits"], "nvidia.com/gpu", [1]),
        ([*WORKER, "volumes", 0, "emptyDir"], "size", "1Gi"),
    ],
)
def test_a_mistake_would_be_found(path: Path, where: Sequence[Any], name: str, value: Json) -> None:
    document = copy.deepcopy(ray_of(path))
    place = cluster_spec(document)
    for step in where:
        place = place[step]
    place[name] = value
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(document)


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        ([], "backoffLimits", 3),
        ([], "submissionMode", "Job"),
        ([], "entrypoint", ["python"]),
        (["submitterConfig"], "retries", 3),
        (["submitterPodTemplate", "spec"], "restart", "Never"),
    ],
)
def test_a_mistake_in_the_job_would_be_found(where: Sequence[str], name: str, value: Json) -> None:
    document = copy.deepcopy(ray_of(FILES[1]))
    place = document["spec"]
    for step in where:
        place = place[step]
    place[name] = value
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(document)


def test_what_is_missing_would_be_found() -> None:
    for where, name in (([], "headGroupSpec"), (["headGroupSpec"], "template"), (["workerGroupSpecs", 0], "groupName")):
        document = copy.deepcopy(ray_of(FILES[0]))
        place: Json = document["spec"]
        for step in where:
            place = place[step]
        del place[name]
        with pytest.raises(jsonschema.ValidationError):
            check(document)


@each_file
def test_the_operator_s_further_rules_are_kept(path: Path) -> None:
    """KubeRay 1.7 refuses what breaks these (ray-operator/controllers/ray/utils/validation.go)."""
    document = ray_of(path)
    spec = cluster_spec(document)
    # The name of a job's cluster is longer than the job's.
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,40}[a-z0-9])?", document["metadata"]["name"])
    assert spec["authOptions"] == {"mode": "token"}
    assert tuple(map(int, spec["rayVersion"].split("."))) >= (2, 52)
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["maxReplicas"]
        assert "suspend" not in group
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert "resources" not in group
        assert group["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v2"
    # These need feature gates of the operator.
    assert not {"networkPolicy", "tlsOptions", "historyServerOptions"} & set(spec)
    if document["kind"] == "RayJob":
        job = document["spec"]
        assert job["submissionMode"] == "K8sJobMode"
        assert job["shutdownAfterJobFinishes"] is True
        assert job["backoffLimit"] > 0
        assert not {"clusterSelector", "deletionStrategy", "suspend"} & set(job)


@each_file
def test_the_images_and_ray_are_those_of_this_project(path: Path) -> None:
    document = ray_of(path)
    assert cluster_spec(document)["rayVersion"] == RAY
    for name, template in pods(document).items():
        variant = "gpu" if name == "gpu" else "cpu"
        assert container(template)["image"].endswith(f"/dip-orchestrator:{VERSION}-{variant}")


@each_file
def test_ray_knows_what_it_is_started_with(path: Path) -> None:
    assert isinstance(ray_start, click.Command)
    flags = {option: parameter for parameter in ray_start.params for option in parameter.opts}
    spec = cluster_spec(ray_of(path))
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        for name, value in group["rayStartParams"].items():
            parameter = flags[f"--{name}"]
            # KubeRay gives "true" as a flag without a value.
            assert isinstance(parameter, click.Option)
            assert parameter.is_flag == (value == "true")
        assert group["rayStartParams"]["disable-usage-stats"] == "true"
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


@each_file
def test_pods_keep_to_the_restricted_standard_that_their_namespace_enforces(path: Path) -> None:
    document = ray_of(path)
    labels = documents(path)[0]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    securities = [container(template)["securityContext"] for template in pods(document).values()]
    securities.append(cluster_spec(document)["autoscalerOptions"]["securityContext"])
    for security in securities:
        assert security == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    for template in pods(document).values():
        pod = template["spec"]
        assert pod["securityContext"].items() >= {"runAsNonRoot": True, "runAsUser": 10001}.items()
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} <= {
            "emptyDir",
            "persistentVolumeClaim",
        }


@each_file
def test_the_image_s_user_and_cache_are_the_pods(path: Path) -> None:
    dockerfile = (ROOT / "docker/Dockerfile").read_text()
    assert "USER 10001:10001" in dockerfile
    (cache,) = re.findall(r"DIP_CACHE=(\S+)", dockerfile)
    for name, template in pods(ray_of(path)).items():
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        mounts = {mount["mountPath"]: mount for mount in container(template)["volumeMounts"]}
        assert {mount["name"] for mount in mounts.values()} == set(volumes)
        assert "/tmp" in mounts  # noqa: S108
        for mount in mounts.values():
            volume = volumes[mount["name"]]
            assert mount.get("readOnly", False) == ("persistentVolumeClaim" in volume)
            if "emptyDir" in volume:
                assert volume["emptyDir"]["sizeLimit"]
        if name != "submitter":
            assert cache in mounts
            assert volumes[mounts["/dev/shm"]["name"]]["emptyDir"]["medium"] == "Memory"  # noqa: S108
    options = cluster_spec(ray_of(path))["autoscalerOptions"]
    assert options["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108


@each_file
def test_a_pod_gets_all_that_it_asks_for_and_no_more(path: Path) -> None:
    document = ray_of(path)
    resources = {name: container(template)["resources"] for name, template in pods(document).items()}
    for one in (*resources.values(), cluster_spec(document)["autoscalerOptions"]["resources"]):
        assert one["requests"] == one["limits"]
        assert {"cpu", "memory"} <= set(one["limits"])
    assert {name for name, one in resources.items() if "nvidia.com/gpu" in one["limits"]} == {"gpu"}
    tolerations = pods(document)["gpu"]["spec"]["tolerations"]
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in tolerations
    groups = {group["groupName"]: group for group in cluster_spec(document)["workerGroupSpecs"]}
    assert groups["gpu"]["minReplicas"] == groups["cpu"]["minReplicas"] == 0


@each_file
def test_a_node_is_asked_how_it_is_where_it_answers_without_a_token(path: Path) -> None:
    for name, template in pods(ray_of(path)).items():
        probes = {key: value for key, value in container(template).items() if key.endswith("Probe")}
        assert set(probes) == (set() if name == "submitter" else {"startupProbe", "readinessProbe", "livenessProbe"})
        for probe in probes.values():
            assert probe["httpGet"]["path"] in PUBLIC_EXACT_PATHS
            assert probe["httpGet"]["port"] == 52365
    # It is not killed for being slow while all its CPUs compute.
    probe = container(pods(ray_of(path))["cpu"])["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 120


@each_file
def test_a_worker_has_time_to_drain_before_it_is_killed(path: Path) -> None:
    def drains(template: Mapping[str, Json]) -> float:
        (value,) = [
            variable["value"]
            for variable in container(template)["env"]
            if variable["name"] == "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"
        ]
        return float(value)

    for template in workers(ray_of(path)):
        assert 30 <= drains(template) <= template["spec"]["terminationGracePeriodSeconds"] - 15
        assert "lifecycle" not in container(template)
    assert drains(pods(ray_of(path))["head"]) == 0


@each_file
def test_only_the_head_may_speak_to_kubernetes(path: Path) -> None:
    for name, template in pods(ray_of(path)).items():
        assert template["spec"]["automountServiceAccountToken"] == (name == "head")
    account = documents(path)[1]["metadata"]["name"]
    for template in (pods(ray_of(path))["head"], *workers(ray_of(path))):
        assert template["spec"]["serviceAccountName"] == account


@each_file
def test_there_is_no_secret_in_the_file(path: Path) -> None:
    assert "Secret" not in {document["kind"] for document in documents(path)}
    for name, template in pods(ray_of(path)).items():
        for variable in container(template)["env"]:
            assert not re.search(r"TOKEN|KEY|SECRET|PASSWORD", variable["name"])
        if name != "submitter":
            assert container(template)["envFrom"] == [{"secretRef": {"name": "dip-s3", "optional": True}}]


# Where clouds give out the credentials of the node: Amazon, Google and Azure; Amazon and Google by IPv6; EKS's agent.
METADATA = ("169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "169.254.170.2", "169.254.170.23", "fd00:ec2::23")


@each_file
def test_pods_reach_each_other_names_the_store_and_no_metadata_service(path: Path) -> None:
    policy = documents(path)[2]["spec"]
    own, names, outside = policy["egress"]
    assert own == {"to": [{"podSelector": policy["podSelector"]}]}
    (resolver,) = names["to"]
    assert resolver["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "kube-system"}
    assert {(port["protocol"], port["port"]) for port in names["ports"]} == {("UDP", 53), ("TCP", 53)}
    assert [port["port"] for port in outside["ports"]] == [443, 6443]
    for address in map(ipaddress.ip_address, (*METADATA, "52.216.1.1", "2600:1fa0::1", "10.0.0.1")):
        blocks = [block["ipBlock"] for block in outside["to"]]
        let_through = any(
            address in ipaddress.ip_network(block["cidr"])
            and not any(address in ipaddress.ip_network(left_out) for left_out in block["except"])
            for block in blocks
        )
        assert let_through == (str(address) not in METADATA), address
    # The other choice is written beside it.
    assert "#   - to: [{ipBlock: {cidr: 169.254.0.0/16}}]" in path.read_text(encoding="utf-8")


@each_file
def test_nobody_but_the_cluster_and_its_operator_gets_in(path: Path) -> None:
    document, policy = ray_of(path), documents(path)[2]["spec"]
    selected = policy["podSelector"]["matchLabels"]
    for template in pods(document).values():
        # KubeRay puts the first on the pods of a cluster.
        labels = {"ray.io/cluster": document["metadata"]["name"]} | template.get("metadata", {}).get("labels", {})
        assert selected.items() <= labels.items()
    if document["kind"] == "RayJob":
        # Its clusters have names of their own.
        assert "ray.io/cluster" not in selected
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    own, operator = policy["ingress"]
    assert own == {"from": [{"podSelector": {"matchLabels": selected}}]}
    namespace = {"matchLabels": {"kubernetes.io/metadata.name": "ray-system"}}
    assert operator["from"] == [{"namespaceSelector": namespace, "podSelector": {"matchLabels": OPERATOR}}]
    assert "--namespace ray-system" in (ROOT / "docs/clusters.md").read_text(encoding="utf-8")
    dashboard = {port["name"]: port["containerPort"] for port in container(pods(document)["head"])["ports"]}
    assert operator["ports"] == [{"protocol": "TCP", "port": dashboard["dashboard"]}]


def test_the_job_s_images_are_where_its_driver_looks_and_nowhere_else() -> None:
    document = ray_of(FILES[1])
    places = {
        name: [mount["mountPath"] for mount in container(template)["volumeMounts"] if mount["name"] == "images"]
        for name, template in pods(document).items()
    }
    assert places == {"head": ["/images"], "cpu": [], "gpu": [], "submitter": []}


def carried_out(entrypoint: str, folder: Path, status: int) -> tuple[int, list[str]]:
    """How an entrypoint ends, and the arguments of ``python`` in it, if that ends with a status.

    KubeRay puts the entrypoint behind ``ray job submit --`` into a script for bash; Ray quotes the words that it gets
    and has a shell read them again.
    """
    (folder / "python").write_text(f'#!/bin/bash\nprintf "%s\\0" "$@" > "$0.arguments"\nexit {status}\n')
    (folder / "python").chmod(0o755)
    script = f"printf '%s\\0' {entrypoint} ;"
    words = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split("\0")[:-1]
    path = {"PATH": f"{folder}:/usr/bin:/bin"}
    done = subprocess.run(["/bin/sh", "-c", shlex.join(words)], env=path, check=False)
    return done.returncode, (folder / "python.arguments").read_text().split("\0")[:-1]


@pytest.mark.parametrize(
    ("status", "well"), [(0, True), (65, True), (1, False), (2, False), (75, False), (130, False), (137, False)]
)
def test_the_job_is_tried_again_unless_the_run_has_come_to_its_end(tmp_path: Path, status: int, well: bool) -> None:
    ended, arguments = carried_out(ray_of(FILES[1])["spec"]["entrypoint"], tmp_path, status)
    assert (ended == 0) == well
    assert arguments[:2] == ["-m", "orchestrator"]
    options = build_parser().parse_args(arguments[2:])
    assert (options.command, options.images, options.address) == ("submit", "/images", "auto")
    # The next attempt finds the run by its name, in a store that outlives the cluster.
    assert options.run
    assert options.store.startswith("s3://")


@each_file
def test_the_commands_that_a_file_tells_of_are_understood(path: Path) -> None:
    comments = "\n".join(re.findall(r"^\s*#\s?(.*)$", path.read_text(), re.MULTILINE))
    told = re.findall(r"python -m orchestrator ([^\n`]+)", comments)
    for command in told:
        build_parser().parse_args(shlex.split(command))
    assert bool(told) == (path == FILES[0])
