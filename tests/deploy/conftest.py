"""The tests of deploy/: what a file alone shows is here; what takes an engine is in containers/."""

collect_ignore = ["containers"]  # takes minutes: `make test-containers` names the folder
