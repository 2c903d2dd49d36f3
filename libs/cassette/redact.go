package cassette

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/agentos-kernel/agentos/events/chat"
)

// Redacted stands where a secret was.
const Redacted = "[REDACTED]"

// minSecret is the length below which a given value is not treated as a secret: replacing "true" or
// "8080" everywhere would destroy the recording and protect nothing.
const minSecret = 8

// Redactor takes secrets out of texts: values it was given and strings that look like credentials.
type Redactor struct {
	exact    []string
	patterns []pattern
}

type pattern struct {
	re   *regexp.Regexp
	with string
}

// NewRedactor also removes the given values (those of at least eight bytes), for example the values of
// the environment variables that hold keys.
func NewRedactor(secrets ...string) *Redactor {
	r := &Redactor{patterns: []pattern{
		{regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----`), Redacted},
		{regexp.MustCompile(`(?i)\b((?:proxy-)?authorization\\?["']?\s*[:=]\s*\\?["']?(?:(?:bearer|basic|token)\s+)?)[^\s"'\\,;]+`), "${1}" + Redacted},
		{regexp.MustCompile(`(?i)\b(bearer\s+)[a-z0-9._~+/=-]{16,}`), "${1}" + Redacted},
		{regexp.MustCompile(`(?i)\b(x-api-key|api[_-]?key)(\\?["']?\s*[:=]\s*\\?["']?)[^\s"'\\,;]{8,}`), "${1}${2}" + Redacted},
		{regexp.MustCompile(`\bsk-[A-Za-z0-9_-]{16,}`), Redacted},
		{regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z0-9]{16}\b`), Redacted},
		{regexp.MustCompile(`\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})`), Redacted},
		{regexp.MustCompile(`\bglpat-[A-Za-z0-9_-]{16,}`), Redacted},
		{regexp.MustCompile(`\bxox[abprs]-[A-Za-z0-9-]{10,}`), Redacted},
		{regexp.MustCompile(`\bAIza[A-Za-z0-9_-]{30,}`), Redacted},
		{regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}`), Redacted},
	}}
	for _, s := range secrets {
		if len(s) < minSecret {
			continue
		}
		r.exact = append(r.exact, s)
		// Tool arguments are JSON inside a string: there the value stands escaped.
		if quoted, err := json.Marshal(s); err == nil {
			if escaped := strings.Trim(string(quoted), `"`); escaped != s {
				r.exact = append(r.exact, escaped)
			}
		}
	}
	// The longest first: a secret may be part of another one.
	slices.SortFunc(r.exact, func(a, b string) int { return len(b) - len(a) })
	return r
}

// Text is s without its secrets.
func (r *Redactor) Text(s string) string {
	for _, secret := range r.exact {
		s = strings.ReplaceAll(s, secret, Redacted)
	}
	for _, p := range r.patterns {
		s = p.re.ReplaceAllString(s, p.with)
	}
	return s
}

// Message is a copy of m without secrets. Ids and names stay: they tie messages together.
func (r *Redactor) Message(m chat.Message) chat.Message {
	m.Content = r.optional(m.Content)
	m.Reasoning = r.optional(m.Reasoning)
	m.ToolCalls = slices.Clone(m.ToolCalls)
	for i := range m.ToolCalls {
		m.ToolCalls[i].Function.Arguments = r.Text(m.ToolCalls[i].Function.Arguments)
	}
	return m
}

func (r *Redactor) optional(s *string) *string {
	if s == nil {
		return nil
	}
	clean := r.Text(*s)
	return &clean
}

// Redact is a copy of the cassette without secrets: without the given values and without what looks
// like a key. The same secret is replaced by the same text everywhere, so that the recording still
// agrees with itself.
func Redact(c *Cassette, secrets ...string) *Cassette {
	r := NewRedactor(secrets...)
	clean := &Cassette{Header: c.Header, Conversations: make([]Conversation, len(c.Conversations))}
	clean.Header.Source = r.Text(c.Header.Source)
	for i, conv := range c.Conversations {
		clean.Conversations[i] = Conversation{
			ID: conv.ID, Meta: conv.Meta, Messages: make([]chat.Message, len(conv.Messages)),
		}
		for j, m := range conv.Messages {
			clean.Conversations[i].Messages[j] = r.Message(m)
		}
	}
	return clean
}
