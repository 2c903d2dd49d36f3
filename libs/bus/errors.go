package bus

import (
	"context"
	"errors"
	"math/rand/v2"
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
	case fromBroker && slices.Contains(denied(), k):
		return fault.Denied
	default:
		return fault.Unavailable
	}
}

// invalid are the broker's answers that no retry mends.
func invalid() []kafka.Error {
	return []kafka.Error{
		kafka.MessageSizeTooLarge, kafka.RecordListTooLarge, kafka.InvalidTopic, kafka.InvalidRecord,
		kafka.InvalidPartitionNumber, kafka.InvalidReplicationFactor, kafka.InvalidConfiguration,
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
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if _, ours := errors.AsType[*fault.Error](err); ours {
			return err
		}
		if last == nil || ctx.Err() == nil {
			last = err // an error after the deadline only says that time was up
		}
		if k := kindOf(err); k == fault.Invalid || k == fault.Denied {
			return fault.Wrap(k, op, msg, err)
		}
		l.refresh()
		if !pause.wait(ctx.Done()) {
			return fault.Wrap(gaveUp(ctx), op, msg, last)
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
