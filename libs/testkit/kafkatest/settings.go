package kafkatest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// settings is server.properties.
func (b *Broker) settings() string {
	plain, controller := loopback(b.ports.plain), loopback(b.ports.controller)
	p := map[string]string{
		"process.roles":                            "broker,controller",
		"node.id":                                  "1",
		"controller.quorum.voters":                 "1@" + controller,
		"listeners":                                fmt.Sprintf("PLAINTEXT://%s,CONTROLLER://%s", plain, controller),
		"advertised.listeners":                     "PLAINTEXT://" + plain,
		"listener.security.protocol.map":           "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SASL_PLAINTEXT:SASL_PLAINTEXT",
		"controller.listener.names":                "CONTROLLER",
		"inter.broker.listener.name":               "PLAINTEXT",
		"log.dirs":                                 b.data(),
		"offsets.topic.replication.factor":         "1",
		"offsets.topic.num.partitions":             "4",
		"transaction.state.log.replication.factor": "1",
		"transaction.state.log.min.isr":            "1",
		"auto.create.topics.enable":                "false",
	}
	if !b.cfg.KafkaTimes {
		p["group.initial.rebalance.delay.ms"] = "0"
		p["broker.heartbeat.interval.ms"] = "500"
		p["broker.session.timeout.ms"] = "2000"
	}
	if b.cfg.Secure {
		maps.Copy(p, b.secureSettings(p))
	}
	maps.Copy(p, b.cfg.Properties)
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&text, "%s=%s\n", name, p[name])
	}
	return text.String()
}

// format makes the data folder with its cluster's id and, where passwords are wanted, the users.
func (b *Broker) format(ctx context.Context) error {
	var id [16]byte
	_, _ = rand.Read(id[:]) // crypto/rand.Read never fails
	id[0] &= 0x7f           // the text must begin with a letter: one that begins with "-" is taken for an option
	args := []string{
		"-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", b.classes, "kafka.tools.StorageTool", "format",
		"-t", base64.RawURLEncoding.EncodeToString(id[:]), "-c", b.properties,
	}
	if b.cfg.Secure {
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			args = append(args, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, User, Password))
		}
	}
	return run(ctx, "java", args...)
}
