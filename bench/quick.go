package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/agentos-kernel/agentos/examples/drive"
	"github.com/agentos-kernel/agentos/libs/cassette"
	"github.com/agentos-kernel/agentos/libs/client"
)

func main() {
	key, _ := os.ReadFile("/tmp/h3/api.key")
	c, err := client.New(client.Config{URL: "http://127.0.0.1:7450", Key: strings.TrimSpace(string(key))})
	if err != nil {
		panic(err)
	}
	tape, err := cassette.Open("examples/airline/airline.jsonl.gz")
	if err != nil {
		panic(err)
	}
	n := 20
	if len(os.Args) > 1 {
		fmt.Sscan(os.Args[1], &n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	r, err := drive.Run(ctx, c, tape, tape.Conversations[:n], drive.Options{Prefix: fmt.Sprint(time.Now().UnixNano()), Line: func(l string) { fmt.Println(l) }})
	fmt.Println(r.Summary(), err)
	fmt.Println(c.VerifyAudit(ctx))
}
