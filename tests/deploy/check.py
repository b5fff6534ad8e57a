"""Checks deploy/'s manifests for Kubernetes by its own schemas, strictly; the Dockerfile by hadolint; and that compose.yaml
names only what it declares."""

import os
import pathlib
import subprocess
import sys

TOOLS = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "feebox/manifests-1"
sys.path.insert(0, str(TOOLS))
try:
    import kubernetes_validate
    import yaml
except ImportError:
    sys.exit("the schemas are not installed: run tests/servers/install manifests")

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
KUBERNETES_VERSION = "1.29"  # the oldest that the manifests are meant for


def check_kubernetes(faults):
    folder = DEPLOY / "kubernetes"
    documents = {}
    for file in sorted(folder.glob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            kind = document["kind"]
            if kind != "Kustomization":
                documents[kind, document["metadata"]["name"]] = document
                try:
                    kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)
                except kubernetes_validate.ValidationError as error:
                    faults.append(f"{file.name}: {kind}: {'.'.join(map(str, error.path))}: {error.message}")
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    unlisted = {file.name for file in folder.glob("*.yaml")} - set(listed) - {"kustomization.yaml", "secret.example.yaml"}
    faults += [f"kustomization.yaml does not list {name}" for name in unlisted]
    faults += [f"kustomization.yaml lists {name}, which is missing" for name in listed if not (folder / name).exists()]

    pods = {name: document["spec"]["template"] for (kind, name), document in documents.items() if kind in ("Deployment", "Job")}
    for name, pod in pods.items():
        spec = pod["spec"]
        for volume in spec["volumes"]:
            source = ("ConfigMap", volume["configMap"]["name"]) if "configMap" in volume else ("Secret", volume["secret"]["secretName"])
            if source not in documents:
                faults.append(f"{name} mounts {source}, which is missing")
        if not spec["securityContext"]["runAsNonRoot"]:
            faults.append(f"{name} runs as root")
        for container in spec["containers"]:
            if "limits" not in container["resources"] or not container["securityContext"]["readOnlyRootFilesystem"]:
                faults.append(f"{name} has no limits, or may write")
    # What selects pods selects some.
    selectors = {
        (kind, name): document["spec"]["selector"].get("matchLabels", document["spec"]["selector"])
        for (kind, name), document in documents.items()
        if kind in ("Deployment", "Service", "PodDisruptionBudget")
    }
    for key, wanted in selectors.items():
        if not any(wanted.items() <= pod["metadata"]["labels"].items() for pod in pods.values()):
            faults.append(f"{key} selects no pod")


def check_compose(faults):
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = compose["services"]
    for name, service in services.items():
        faults += [f"{name} depends on {other}, which is missing" for other in service.get("depends_on", {}) if other not in services]
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy" and "healthcheck" not in services.get(other, {}):
                faults.append(f"{name} waits for the health of {other}, which has no check")
        faults += [f"{name} wants the secret {secret}" for secret in service.get("secrets", []) if secret not in compose["secrets"]]
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./") and not (DEPLOY / source).exists():
                faults.append(f"{name} mounts {source}, which is missing")
            elif not source.startswith("./") and source not in compose["volumes"]:
                faults.append(f"{name} mounts {source}, which is not declared")
        for port in service.get("ports", []):
            if not port.startswith("127.0.0.1:"):
                faults.append(f"{name} publishes {port} on all addresses")
    targets = yaml.safe_load((DEPLOY / "targets.yml").read_text())[0]["targets"]
    faults += [f"targets.yml names {target}" for target in targets if target.split(":")[0] not in services]


def main():
    faults = []
    check_kubernetes(faults)
    check_compose(faults)
    for file in sorted(DEPLOY.glob("*.yml")):
        yaml.safe_load(file.read_text())
    hadolint = subprocess.run([TOOLS / "bin/hadolint", DEPLOY / "Dockerfile"], capture_output=True, text=True)
    faults += (hadolint.stdout + hadolint.stderr).splitlines()
    sys.exit("\n".join(faults) or None)


main()
