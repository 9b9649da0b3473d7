"""A Ray cluster of one or more nodes on this machine, for tests of actors without flows."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from infra.local import supervised
from infra.local.ports import PortBook
from infra.local.ray_head import PORTS, ensure_token, ray_spec
from infra.settings import NodeGroup, Settings, child_environment
from tests.support import ports
from tests.support.night import wait_until
from tests.support.processes import descendants, is_actor, is_raylet
from tests.support.victims import kill_all
from workers.actors.cluster import connect

HEAD_CPUS = 3
SECOND_AGENT = "second_agent"
HEAD_TYPE = "ray.head.default"
"""What the provider of local raylets calls its head node."""
COMMANDS = (
    "initialization",
    "setup",
    "head_setup",
    "worker_setup",
    "head_start_ray",
    "worker_start_ray",
)
"""Required keys of an autoscaling configuration that local nodes do not need."""
IDLE_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Cluster:
    folder: Path
    address: str
    environment: dict[str, str]
    second_agent_port: int

    def actor_processes(self, actor: str, node: str = "") -> list[psutil.Process]:
        """The processes that run actors of this class or method, on all nodes or on one."""
        leaders = [
            supervised.find(name, self.folder) for name in ([node] if node else ["ray", "second"])
        ]
        children = [process for leader in leaders if leader for process in descendants(leader)]
        return [process for process in children if is_actor(process, actor)]

    def raylets(self) -> list[psutil.Process]:
        """The raylets of the head and of the nodes that its autoscaler has added, oldest first."""
        leader = supervised.find("ray", self.folder)
        found = filter(is_raylet, descendants(leader) if leader else [])
        return sorted(found, key=psutil.Process.create_time)

    @contextmanager
    def second_node(
        self, num_cpus: int, options: Sequence[str] = (), **variables: str
    ) -> Iterator[str]:
        """A second raylet with `variables` in its environment; yields its name for the other
        methods."""
        spec = supervised.ProcessSpec(
            name="second",
            argv=[
                str(Path(sys.executable).parent / "ray"),
                "start",
                "--block",
                f"--address={self.address}",
                f"--num-cpus={num_cpus}",
                "--object-store-memory=100000000",
                "--min-worker-port=0",
                "--max-worker-port=0",
                f"--dashboard-agent-listen-port={self.second_agent_port}",
                "--disable-usage-stats",
                *options,
            ],
            env=self.environment | variables,
            is_ready=lambda: num_live_nodes() == 2,
        )
        supervised.start(spec, self.folder)
        try:
            yield spec.name
        finally:
            supervised.stop(spec.name, self.folder, timeout_s=20)
            wait_until(lambda: num_live_nodes() == 1, "the head's knowledge that the node is gone")

    def kill_node(self, node: str) -> None:
        """Kills the raylet and its processes, as if the machine lost power."""
        leader = supervised.find(node, self.folder)
        assert leader is not None
        kill_all([*descendants(leader), leader])


def end_named_actors() -> None:
    """Ends all named actors, including those that Ray's libraries leave behind.

    A node that shuts down would wait for them for up to half a minute.
    """
    for actor in ray.util.list_named_actors(all_namespaces=True):
        ray.kill(ray.get_actor(**actor))


def num_live_nodes() -> int:
    return sum(node["Alive"] for node in ray.nodes())


@contextmanager
def running_cluster(
    folder: Path, *, num_cpus: int = HEAD_CPUS, options: Sequence[str] = (), **variables: str
) -> Iterator[Cluster]:
    """Starts a head node with `num_cpus` CPUs and connects this process to it.

    `folder` comes from the session's `tmp_path_factory`: all clusters share a token beside it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    book = PortBook(folder / "ports.json")
    chosen = {
        name: book.choose(name, wished=ports.RAY + place)
        for place, name in enumerate((*PORTS, SECOND_AGENT))
    }
    # Ray reads the token once per process, so all clusters of a session share one.
    token = ensure_token(folder.parent / "ray_token")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        environment = child_environment()
        spec = ray_spec(stack_dir=folder, ports=chosen, env=environment | variables)
        others = [word for word in spec.argv if not word.startswith("--num-cpus")]
        supervised.start(replace(spec, argv=[*others, f"--num-cpus={num_cpus}", *options]), folder)
        try:
            address = f"127.0.0.1:{chosen['ray']}"
            connect(Settings(ray_address=address))
            yield Cluster(folder, address, environment, chosen[SECOND_AGENT])
            end_named_actors()
        finally:
            ray.shutdown()
            supervised.stop(spec.name, folder, timeout_s=spec.stop_timeout_s)


@contextmanager
def autoscaling_cluster(
    folder: Path, groups: Sequence[NodeGroup], autoscaler: str
) -> Iterator[Cluster]:
    """A head node with one CPU and Ray's autoscaler (`v1` or `v2`), which adds local raylets.

    Replaces `ray.cluster_utils.AutoscalingCluster`, which begins and ends by killing every Ray
    process of the machine, and needs a file that Ray's package lacks.
    """
    head_node = "f" * 51 + "00000"
    types = {group.name: _node_type(group) for group in groups}
    config: dict[str, Any] = {
        "auth": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        **{f"{when}_commands": [] for when in COMMANDS},
        "cluster_name": "night",
        "max_workers": sum(group.max_nodes for group in groups),
        "idle_timeout_minutes": IDLE_TIMEOUT_S / 60,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "launch_multiple": True,
            "head_node_id": head_node,
        },
        "available_node_types": types
        | {HEAD_TYPE: {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0}},
        "head_node_type": HEAD_TYPE,
    }
    folder.mkdir(parents=True, exist_ok=True)
    port = PortBook(folder / "ports.json").choose("ray", wished=ports.RAY)
    config["provider"]["gcs_address"] = f"{ray.util.get_node_ip_address()}:{port}"
    path = folder / "autoscaling.json"
    path.write_text(json.dumps(config))
    variables = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    if autoscaler == "v2":
        nodes = dict.fromkeys(
            ("RAY_CLOUD_INSTANCE_ID", "RAY_OVERRIDE_NODE_ID_FOR_TESTING"), head_node
        )
        variables |= nodes | {"RAY_enable_autoscaler_v2": "1"}
    with running_cluster(
        folder, num_cpus=1, options=[f"--autoscaling-config={path}"], **variables
    ) as cluster:
        yield cluster


def _node_type(group: NodeGroup) -> dict[str, Any]:
    """The group as a node type of an autoscaling configuration."""
    return {
        "resources": group.resources | {"object_store_memory": 100_000_000},
        "labels": group.labels,
        "max_workers": group.max_nodes,
        "min_workers": 0,
        "node_config": {},
    }
