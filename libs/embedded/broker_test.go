package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"

	"github.com/agentos-kernel/agentos/libs/embedded"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// client makes a kafka-go client whose connections end with the test.
func client(t *testing.T, addr string) *kafka.Client {
	t.Helper()
	tr := &kafka.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &kafka.Client{Addr: kafka.TCP(addr), Transport: tr, Timeout: 10 * time.Second}
}

func createTopic(t *testing.T, c *kafka.Client, topic string) {
	t.Helper()
	res, err := c.CreateTopics(t.Context(), &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: 4, ReplicationFactor: 1}},
	})
	if err == nil {
		err = res.Errors[topic]
	}
	if err != nil {
		t.Fatalf("create topic: %v", err)
	}
}

func produce(t *testing.T, c *kafka.Client, topic string, values ...string) {
	t.Helper()
	w := &kafka.Writer{Addr: c.Addr, Transport: c.Transport, Topic: topic, Balancer: &toZero{}, RequiredAcks: kafka.RequireAll, BatchTimeout: time.Millisecond}
	defer w.Close()
	msgs := make([]kafka.Message, len(values))
	for i, v := range values {
		msgs[i] = kafka.Message{Key: []byte("k"), Value: []byte(v)}
	}
	if err := w.WriteMessages(t.Context(), msgs...); err != nil {
		t.Fatalf("produce: %v", err)
	}
}

type toZero struct{}

func (*toZero) Balance(kafka.Message, ...int) int { return 0 }

func fetch(t *testing.T, addr, topic string, n int) []string {
	t.Helper()
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{addr}, Topic: topic, Partition: 0, MaxWait: 100 * time.Millisecond})
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var out []string
	for range n {
		m, err := r.ReadMessage(ctx)
		if err != nil {
			t.Fatalf("fetch: %v", err)
		}
		out = append(out, string(m.Value))
	}
	return out
}

// A clean restart keeps data and port; a missing topic is an error, not a new topic.
func TestBrokerRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b, err := embedded.StartBroker(t.Context(), embedded.BrokerConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	_, port, _ := net.SplitHostPort(b.Addr())
	if n, err := strconv.Atoi(port); err != nil || n >= 32768 {
		t.Errorf("port %s is not below 32768", port)
	}
	c := client(t, b.Addr())
	createTopic(t, c, "facts")
	produce(t, c, "facts", "one", "two")
	if _, err := c.Produce(t.Context(), &kafka.ProduceRequest{
		Topic: "nobody-made-it", RequiredAcks: kafka.RequireAll,
		Records: kafka.NewRecordReader(kafka.Record{Value: kafka.NewBytes([]byte("x"))}),
	}); err == nil {
		t.Error("a topic was made on demand")
	}
	if _, err := embedded.StartBroker(t.Context(), embedded.BrokerConfig{Dir: dir}); !fault.Is(err, fault.Unavailable) || fault.FixOf(err) == "" {
		t.Errorf("second start on the same folder: %v; want Unavailable and a fix", err)
	}
	if err := errors.Join(b.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}

	b2, err := embedded.StartBroker(t.Context(), embedded.BrokerConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b2.Close() })
	if b2.Addr() != b.Addr() {
		t.Errorf("address %s after the restart; was %s", b2.Addr(), b.Addr())
	}
	if diff := cmp.Diff([]string{"one", "two"}, fetch(t, b2.Addr(), "facts", 2)); diff != "" {
		t.Error(diff)
	}
}

// What was acknowledged before kill -9 is there after it.
func TestBrokerSurvivesKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addr, kill := startRole(t, "broker", dir)
	c := client(t, addr)
	createTopic(t, c, "facts")
	var want []string
	for i := range 500 {
		want = append(want, fmt.Sprintf("fact %d", i))
	}
	produce(t, c, "facts", want...)
	kill()

	begin := time.Now()
	b, err := embedded.StartBroker(t.Context(), embedded.BrokerConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	t.Logf("up after %s", time.Since(begin))
	if b.Addr() != addr {
		t.Errorf("address %s after the kill; was %s", b.Addr(), addr)
	}
	if diff := cmp.Diff(want, fetch(t, addr, "facts", len(want))); diff != "" {
		t.Error(diff)
	}
}

// A remembered port that somebody took is replaced by another one.
func TestBrokerPortTaken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b, err := embedded.StartBroker(t.Context(), embedded.BrokerConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", b.Addr())
	if err != nil {
		t.Skipf("somebody else took the port: %v", err)
	}
	defer ln.Close()
	b2, err := embedded.StartBroker(t.Context(), embedded.BrokerConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer b2.Close()
	if b2.Addr() == b.Addr() {
		t.Error("two listeners on one port")
	}
	if _, err := embedded.StartBroker(t.Context(), embedded.BrokerConfig{Addr: b.Addr()}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a named port that is taken: %v; want Unavailable", err)
	}
}

func TestBrokerRefusesOpenAddresses(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"0.0.0.0:0", "192.0.2.1:9092", ":9092", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000"} {
		_, err := embedded.StartBroker(t.Context(), embedded.BrokerConfig{Addr: addr})
		if !fault.Is(err, fault.Invalid) || fault.FixOf(err) == "" {
			t.Errorf("%q: %v; want Invalid and a fix", addr, err)
		}
	}
}

func TestFreePort(t *testing.T) {
	t.Parallel()
	port, err := embedded.FreePort()
	if err != nil || port < 1024 || port >= 32768 {
		t.Errorf("port %d, %v; want one below 32768", port, err)
	}
}

func TestFsyncLatency(t *testing.T) {
	t.Parallel()
	d, err := embedded.FsyncLatency(t.TempDir())
	if err != nil || d <= 0 || d > 5*time.Second {
		t.Errorf("median %s, %v", d, err)
	}
	t.Logf("median fdatasync %s", d)
	if _, err := embedded.FsyncLatency("/nowhere"); err == nil || !strings.Contains(fault.FixOf(err), "writable") {
		t.Errorf("missing folder: %v", err)
	}
}
