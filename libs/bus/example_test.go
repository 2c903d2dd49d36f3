package bus_test

import (
	"context"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/agentos-kernel/agentos/libs/bus"
)

// printer is a Handler that prints and then ends the consumer.
type printer struct{ end context.CancelFunc }

func (p printer) Assigned(context.Context, []int) error { return nil }
func (p printer) Revoked([]int)                         {}
func (p printer) Handle(_ context.Context, _ int, msgs []*message.Message) error {
	for _, m := range msgs {
		fmt.Println(m.Metadata.Get(bus.KeyMetadata), string(m.Payload))
	}
	p.end()
	return nil
}

func Example() {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer broker.Close()
	cfg := bus.Config{Brokers: broker.ListenAddrs()}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	if err := bus.EnsureTopics(ctx, cfg, []bus.TopicSpec{{Name: "greetings", Partitions: 4}}); err != nil {
		fmt.Println(err)
		return
	}
	pub, err := bus.NewPublisher(cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = pub.Close() }() // always nil
	hello, again := message.NewMessage("1", []byte("hello")), message.NewMessage("2", []byte("hello again"))
	hello.Metadata.Set(bus.KeyMetadata, "alice")
	again.Metadata.Set(bus.KeyMetadata, "alice")
	if err := pub.Publish("greetings", hello, again); err != nil {
		fmt.Println(err)
		return
	}

	consumer, err := bus.NewConsumer(cfg, "readers", []string{"greetings"}, printer{cancel})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := consumer.Run(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// alice hello
	// alice hello again
}
