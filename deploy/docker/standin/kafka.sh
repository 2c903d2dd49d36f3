#!/bin/bash
# /etc/kafka/docker/run of the stand-in: starts Apache Kafka with what the official image's start understands.
# Every KAFKA_ variable that is not one of the JVM's becomes a line of server.properties: _ is a dot, __ an underscore,
# ___ a dash. Without any the node is a broker and controller of its own on port 9092. CLUSTER_ID formats the log folder.
set -euo pipefail
properties=/opt/kafka/config/server.properties

write_properties() {
  local name key found=
  while IFS= read -r name; do
    case $name in
    KAFKA_VERSION | KAFKA_HEAP_OPTS | KAFKA_OPTS | KAFKA_JMX_* | KAFKA_JVM_PERFORMANCE_OPTS | KAFKA_GC_LOG_OPTS | KAFKA_LOG4J_* | KAFKA_TOOLS_*) continue ;;
    esac
    key=${name#KAFKA_}
    key=${key,,}
    key=${key//___/-}
    key=${key//__/%}
    key=${key//_/.}
    echo "${key//%/_}=${!name}"
    found=1
  done < <(compgen -e KAFKA_)
  [ -n "$found" ] || cat <<'END'
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
advertised.listeners=PLAINTEXT://localhost:9092
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=/tmp/kraft-combined-logs
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
END
}

write_properties >"$properties"
logs=$(sed -n 's/^log\.dirs=//p' "$properties")
logs=${logs:-/tmp/kafka-logs}
if [ ! -e "${logs%%,*}/meta.properties" ]; then
  java -Xmx128m -XX:TieredStopAtLevel=1 -cp '/opt/kafka/libs/*' kafka.tools.StorageTool \
    format --cluster-id "${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}" --config "$properties"
fi
# shellcheck disable=SC2086 # options are words
level=${KAFKA_LOG4J_ROOT_LOGLEVEL:-INFO}
exec java "-Dorg.slf4j.simpleLogger.defaultLogLevel=${level,,}" ${KAFKA_HEAP_OPTS:--Xms64m -Xmx512m} ${KAFKA_JVM_PERFORMANCE_OPTS:--XX:+UseSerialGC} ${KAFKA_OPTS:-} \
  -cp '/opt/kafka/libs/*' kafka.Kafka "$properties"
