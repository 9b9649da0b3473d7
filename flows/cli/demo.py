"""`nightshift demo`: a whole first night on made-up inputs."""
