package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// kindOf classifies an error of kafka-go. What is not known to be for ever is Unavailable: network
// errors, moved leaders, topics whose metadata is not there yet, a full disk.
func kindOf(err error) fault.Kind {
	k, fromBroker := errors.AsType[kafka.Error](err)
	switch {
	case errors.Is(err, context.Canceled):
		return fault.Canceled
	case fromBroker && slices.Contains(invalid(), k):
		return fault.Invalid
	case fromBroker && slices.Contains(denied(), k), untrusted(err), refusedTLS(err):
		return fault.Denied
	default:
		return fault.Unavailable
	}
}

// untrusted reports a broker whose certificate is not good.
func untrusted(err error) bool {
	_, is := errors.AsType[*tls.CertificateVerificationError](err)
	return is
}

// refusedTLS reports a broker that refused our certificate, or that we have none.
func refusedTLS(err error) bool {
	_, is := errors.AsType[tls.AlertError](err)
	op, fromPeer := errors.AsType[*net.OpError](err)
	return is || fromPeer && op.Op == "remote error" // how crypto/tls reports an alert over TCP
}

// invalid are the broker's answers that no retry mends. InvalidReplicationFactor is not one of them: a
// cluster says so too while its brokers have only just started.
func invalid() []kafka.Error {
	return []kafka.Error{
		kafka.MessageSizeTooLarge, kafka.RecordListTooLarge, kafka.InvalidTopic, kafka.InvalidRecord,
		kafka.InvalidPartitionNumber, kafka.InvalidConfiguration,
		kafka.PolicyViolation, kafka.InvalidSessionTimeout, kafka.InvalidGroupId,
		kafka.InconsistentGroupProtocol, kafka.UnsupportedVersion, kafka.UnsupportedSASLMechanism,
	}
}

// denied are the broker's answers to a caller without the rights.
func denied() []kafka.Error {
	return []kafka.Error{
		kafka.TopicAuthorizationFailed, kafka.GroupAuthorizationFailed, kafka.ClusterAuthorizationFailed,
		kafka.SASLAuthenticationFailed, kafka.SecurityDisabled,
	}
}

// judge tells errors that no retry mends from those that pass, for one loop of tries.
type judge struct{ refused int }

// refusals is how often in a row a broker must refuse a password. kafka-go also reports a connection that
// breaks during the authentication as a refusal.
const refusals = 3

// final reports whether another try makes no sense, and the kind of the error.
func (j *judge) final(err error) (fault.Kind, bool) {
	k := kindOf(err)
	if errors.Is(err, kafka.SASLAuthenticationFailed) {
		j.refused++
		return k, j.refused >= refusals
	}
	j.refused = 0
	return k, k == fault.Invalid || k == fault.Denied
}

// fixOf is what to do about an error that lasts, or "".
func fixOf(err error) string {
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	_, opErr := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, kafka.SASLAuthenticationFailed):
		return "check KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
	case errors.Is(err, kafka.UnsupportedSASLMechanism), errors.Is(err, kafka.IllegalSASLState):
		return "check KAFKA_SASL_MECHANISM: the broker does not offer it"
	case errors.Is(err, kafka.InvalidReplicationFactor):
		return "start more brokers, or set KAFKA_REPLICATION_FACTOR to at most their number"
	case errors.Is(err, kafka.InvalidSessionTimeout):
		return "set KAFKA_SESSION_TIMEOUT to a time between the broker's group.min.session.timeout.ms and group.max.session.timeout.ms"
	case refusedTLS(err):
		return "set KAFKA_TLS_CERT_FILE and KAFKA_TLS_KEY_FILE to a certificate the broker knows, and its key"
	case untrusted(err):
		return "set KAFKA_TLS_CA_FILE to the authority of the broker's certificate, and name the broker in KAFKA_BROKERS as the certificate does"
	case noTLS:
		return "unset KAFKA_TLS, or give a port of the broker's that speaks TLS"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "check KAFKA_BROKERS, and that KAFKA_TLS and KAFKA_SASL_MECHANISM suit the broker's port"
	case opErr:
		return "check KAFKA_BROKERS, and that Kafka runs there"
	default:
		return ""
	}
}

// backoff is a pause that doubles up to a limit, with a fifth of it at random so that loops that
// failed together do not come back together.
type backoff struct{ first, last, next time.Duration }

func (b *backoff) reset() { b.next = 0 }

// wait sleeps and reports whether it slept to the end.
func (b *backoff) wait(done ...<-chan struct{}) bool {
	if b.next == 0 {
		b.next = b.first
	}
	d := b.next - rand.N(b.next/5+1) //nolint:gosec // jitter needs no secret
	b.next = min(2*b.next, b.last)
	return sleep(d, done...)
}

// sleep reports whether it slept to the end. It takes at most two channels.
func sleep(d time.Duration, done ...<-chan struct{}) bool {
	var a, b <-chan struct{}
	if len(done) > 0 {
		a = done[0]
	}
	if len(done) > 1 {
		b = done[1]
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-a:
		return false
	case <-b:
		return false
	}
}

// retry calls f until it succeeds, fails for good or time is up, and then gives f's last error as
// a fault of operation op.
func retry(ctx context.Context, op, msg string, l *link, f func(context.Context) error) error {
	pause := backoff{first: 20 * time.Millisecond, last: 500 * time.Millisecond}
	var last error
	var j judge
	for {
		err := l.cause(ctx, f(ctx))
		if err == nil {
			return nil
		}
		if _, ours := errors.AsType[*fault.Error](err); ours {
			return err
		}
		if last == nil || ctx.Err() == nil {
			last = err // an error after the deadline only says that time was up
		}
		if k, final := j.final(err); final {
			return fault.Wrap(k, op, msg, err).WithFix(fixOf(err))
		}
		l.refresh()
		if !pause.wait(ctx.Done()) {
			return fault.Wrap(gaveUp(ctx), op, msg, last).WithFix(fixOf(last))
		}
	}
}

// gaveUp tells a caller who left from a bound that was reached.
func gaveUp(ctx context.Context) fault.Kind {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fault.Canceled
	}
	return fault.Unavailable
}
