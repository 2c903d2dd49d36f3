package openai

import (
	"regexp"
	"strconv"
	"sync"
)

// contexts is how many tokens models take, learned from the errors of servers that do not say it
// elsewhere.
type contexts struct {
	mu    sync.Mutex
	sizes map[string]int
	re    *regexp.Regexp
}

func newContexts() *contexts {
	return &contexts{sizes: map[string]int{}, re: regexp.MustCompile(`(?i)(?:context (?:length|window|size)|n_ctx)\D{1,40}(\d{3,9})`)}
}

// learn takes the size out of a server's complaint about too long a request.
func (c *contexts) learn(model string, f *failure) (int, bool) {
	if f.status != 400 {
		return 0, false
	}
	m := c.re.FindStringSubmatch(f.message)
	if m == nil {
		return 0, false
	}
	n, err := strconv.Atoi(m[1])
	if err != nil || n < 256 {
		return 0, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sizes[model] = n
	return n, true
}

func (c *contexts) size(model string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sizes[model]
}

// ContextTokens is how many tokens prompt and answer of a model may have together, as far as the server
// has told by refusing more; 0 when it has not.
func (p *Provider) ContextTokens(model string) int { return p.contexts.size(model) }

// smaller is an output limit that leaves room for a prompt within size tokens; ok is false when the
// limit is not what makes the request too long.
func smaller(limit, size int) (int, bool) {
	next := size / 4
	if limit <= next {
		next = size / 16
	}
	return next, next > 0 && next < limit
}
