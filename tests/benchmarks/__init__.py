"""What is claimed of the proxy's speed and memory, measured against nginx on the same machine in the same run.

`python -m tests.benchmarks` measures everything (`--help` says how to measure less). It needs Linux and nginx.
"""
