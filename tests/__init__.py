import os

# Ray reads this when it is imported, and clusters of tests listen on every interface: they want a token.
os.environ["RAY_AUTH_MODE"] = "token"
