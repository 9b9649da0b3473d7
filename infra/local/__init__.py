"""The local stack: SeaweedFS, Prefect server, Ray head and Prefect worker on this machine."""

from infra.local.stack import ProcessStatus, StackStatus, down, status, up

__all__ = ["ProcessStatus", "StackStatus", "down", "status", "up"]
