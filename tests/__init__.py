import os

# Ray reads this when it is imported. The clusters of tests listen on all interfaces, so they need a
# token.
os.environ["RAY_AUTH_MODE"] = "token"
