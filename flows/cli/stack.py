"""The local stack: up, down, status, doctor."""
