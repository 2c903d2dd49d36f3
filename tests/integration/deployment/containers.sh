#!/usr/bin/env bash
# containers.sh [short]: this folder's suite on containers, with an engine and images that are seen to here. Short leaves
# out the slowest faults and the upgrade, for CI.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
case ${1:-whole} in
whole) form=all ;;
short) form=short ;;
*) echo "usage: containers.sh [short]" >&2; exit 2 ;;
esac
DOCKER_HOST=$(bash deploy/docker/engine.sh start)
export DOCKER_HOST
bash deploy/docker/images.sh
export AGENTOS_IMAGE=agentos:containers-$$
trap 'docker image rm -f "$AGENTOS_IMAGE" >/dev/null 2>&1 || true' EXIT
make --no-print-directory image AGENTOS_IMAGE="$AGENTOS_IMAGE"
AGENTOS_TEST_DEPLOYMENT=$form AGENTOS_REQUIRE=docker bash tests/run.sh -logs -count=1 -timeout 25m -run 'TestContainers' ./tests/integration/deployment
