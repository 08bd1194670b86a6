"""The shipped on-premises cluster on three hosts: up, a run that outlives one of them, down."""

import pytest
import yaml

from orchestrator.run.layout import RunLayout
from orchestrator.store import Store, open_store
from tests.cluster_system.conftest import (
    ORCHESTRATOR,
    ROOT,
    SETTINGS,
    Dashboard,
    Terminal,
    adapted,
    checkpoints,
    make_token,
    save_inputs,
    see_to_the_end,
    set_cpus,
    submit,
    tunnel,
)
from tests.cluster_system.hosts import Host, Hosts
from tests.seaweed import SeaweedFS

pytestmark = pytest.mark.timeout(1800)

# Ray gives up a silent host after about a minute.
LOST_S = 180


def test_a_cluster_of_three_hosts_loses_one_and_the_run_nothing(
    hosts: Hosts, server: SeaweedFS, terminal: Terminal, cluster_name: str
) -> None:
    head, *workers = [hosts.add(name, f"10.99.0.{number}") for number, name in enumerate(("head", "one", "two"), 2)]
    token = make_token(terminal.folder)
    save_inputs(terminal.folder)
    cluster = adapted(ROOT / "cluster/onprem.yaml", cluster_name, SeaweedFS.environment)
    cluster["provider"] |= {"head_ip": head.address, "worker_ips": [worker.address for worker in workers]}
    cluster["auth"] |= {"ssh_user": "root", "ssh_private_key": str(hosts.key)}
    cluster["head_start_ray_commands"] = set_cpus(cluster["head_start_ray_commands"], 0)
    cluster["worker_start_ray_commands"] = set_cpus(cluster["worker_start_ray_commands"], 1)
    (terminal.folder / "onprem.yaml").write_text(yaml.safe_dump(cluster))

    terminal.run("ray", "up", "-y", "--no-config-cache", "onprem.yaml")
    with tunnel(terminal, hosts.key, f"root@{head.address}", token) as dashboard:
        answers = [dashboard.ask("/nodes?view=summary", given)[0] for given in (None, "0" * 64, token)]
        terminal.note(f"# the dashboard answers without a token, with a wrong one, with ours: {answers}")
        assert answers == [401, 403, 200]
        terminal.wait_until("all hosts have joined", lambda: len(dashboard.nodes()) == 1 + len(workers), 300)
        url = server.url("images", "mine")
        terminal.run(*ORCHESTRATOR, "doctor", "--store", url, "--address", dashboard.address, shown=r"^\w+ +cluster")
        run_and_lose(terminal, url, dashboard, workers)
    terminal.run("ray", "down", "-y", "onprem.yaml")
    assert "gcs_server" not in processes(head, terminal)
    # As if nothing had happened, and on one machine.
    terminal.run(*ORCHESTRATOR, "submit", "--images", "noisy", "--config", SETTINGS, "--no-dashboard", "--run", "first")
    alone = restored(open_store(str(terminal.folder / "dip-store"), patience_s=1))
    assert restored(open_store(url, patience_s=60)) == alone
    terminal.note(f"# the same run without a cluster restores the same {len(alone)} files, byte for byte")


def run_and_lose(terminal: Terminal, url: str, dashboard: Dashboard, workers: list[Host]) -> None:
    """Submit a run, let a host that fits for it vanish, and see the run to its end."""
    by_address = {worker.address: worker for worker in workers}
    there = submit(terminal, url, dashboard, "first")
    terminal.wait_until("a fit has left a checkpoint in the store", lambda: checkpoints(url, "first"), 300)
    used = terminal.wait_until("a fit runs on a worker", lambda: dashboard.busy() & by_address.keys(), 60)
    lost = by_address[min(used)]
    lost.cut_off()
    terminal.note(f"# the host {lost.name} is cut off: no power, no network")
    gone = f"Ray has given up the host {lost.name}"
    terminal.wait_until(gone, lambda: lost.address not in dashboard.nodes().values(), LOST_S)
    assert "its machine was lost" in see_to_the_end(terminal, there, "first")


def restored(store: Store) -> dict[str, bytes]:
    """The files that the run has restored."""
    return {key: store.get(key) for key in store.keys(f"{RunLayout('first').root}/restored")}


def processes(host: Host, terminal: Terminal) -> str:
    """The processes of a host."""
    with terminal.start(*host.command("ps", "axo", "args")) as process:
        said, _ = process.communicate(timeout=60)
    return said
