package embedded_test

import (
	"context"
	"fmt"
	"net"

	"github.com/agentos-kernel/agentos/libs/embedded"
)

func ExampleStartBroker() {
	b, err := embedded.StartBroker(context.Background(), embedded.BrokerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	host, _, _ := net.SplitHostPort(b.Addr())
	fmt.Println(host)
	// Output: 127.0.0.1
}
