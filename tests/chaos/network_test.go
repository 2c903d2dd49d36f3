package chaos

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/agentos-kernel/agentos/libs/embedded"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

// network lies between the services and their broker and database.
type network struct {
	server          *toxiproxy.ApiServer // the proxies want one; it does not listen
	broker          *embedded.Broker
	kafka, postgres *toxiproxy.Proxy
}

// newNetwork starts a broker that tells its clients the address of the proxy before it.
func newNetwork(t *testing.T, home string) *network {
	t.Helper()
	n := &network{server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())}
	front := "127.0.0.1:" + kernel.Port(t)
	var err error
	n.broker, err = embedded.StartBroker(t.Context(), embedded.BrokerConfig{Dir: filepath.Join(home, "broker"), Advertise: front})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.broker.Close(); err != nil {
			t.Error(err)
		}
	})
	n.kafka = n.proxy(t, victimKafka, front, n.broker.Addr())
	return n
}

func (n *network) proxy(t *testing.T, name, front, back string) *toxiproxy.Proxy {
	t.Helper()
	p := toxiproxy.NewProxy(n.server, name, front, back)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// proxyPostgres is the URL of the database through a proxy. The private server listens on a socket in the
// file system only, so that a bridge stands between the two.
func (n *network) proxyPostgres(t *testing.T, direct string) string {
	t.Helper()
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	socket := filepath.Join(q.Get("host"), ".s.PGSQL."+q.Get("port"))
	n.postgres = n.proxy(t, victimPostgres, "127.0.0.1:"+kernel.Port(t), bridge(t, socket))
	u.Host = n.postgres.Listen
	q.Del("host")
	q.Del("port")
	q.Set("sslmode", "disable")
	u.RawQuery = q.Encode()
	return u.String()
}

// bridge carries loopback connections to a socket in the file system and gives its address.
func bridge(t *testing.T, socket string) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:"+kernel.Port(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // ends the loop below
	go func() {
		for {
			front, err := l.Accept()
			if err != nil {
				return
			}
			go carry(front, socket)
		}
	}()
	return l.Addr().String()
}

// carry copies both ways until either side ends.
func carry(front net.Conn, socket string) {
	defer front.Close()
	d := net.Dialer{Timeout: time.Second}
	back, err := d.Dial("unix", socket)
	if err != nil {
		return
	}
	defer back.Close()
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{front, back}, {back, front}} {
		go func() {
			_, _ = io.Copy(way[0], way[1]) // how it ends is not ours to judge
			ended <- struct{}{}
		}()
	}
	<-ended
}

// disturb cuts, slows or mutes the way to the broker or the database for some time.
func (n *network) disturb(ctx context.Context, f fault) error {
	p := n.kafka
	if f.Victim == victimPostgres {
		p = n.postgres
	}
	if f.What == faultCut {
		p.Stop()
		time.Sleep(f.Hold)
		return p.Start()
	}
	toxic := `{"name":"%s","type":"timeout","stream":"%s","attributes":{"timeout":0}}`
	if f.What == faultSlow {
		toxic = `{"name":"%s","type":"latency","stream":"%s","attributes":{"latency":80,"jitter":60}}`
	}
	for _, way := range []string{"upstream", "downstream"} {
		if _, err := p.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(toxic, f.What+way, way))); err != nil {
			return err
		}
	}
	time.Sleep(f.Hold)
	for _, way := range []string{"upstream", "downstream"} {
		if err := p.Toxics.RemoveToxic(ctx, f.What+way); err != nil {
			return err
		}
	}
	return nil
}
