package bustest

import (
	"fmt"
	"net"
	"testing"
)

// command is a command line that has f called in this process and fails when f does. The suite restarts
// its broker with one, but the broker's owner is the test.
func command(t *testing.T, f func() error) []string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed by the cleanup
			}
			if err := f(); err != nil {
				t.Errorf("restart the broker: %v", err)
			} else {
				_, _ = fmt.Fprintln(conn, "done") // what is not read fails the command
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close() // nothing was written to it
		<-done
	})
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("listens on a %T", l.Addr())
	}
	return []string{"bash", "-c", fmt.Sprintf(`read -r answer < /dev/tcp/127.0.0.1/%d && [ "$answer" = done ]`, addr.Port)}
}
