package toolset_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/toolset"
)

type store struct {
	published []tool.RegistryPublished
	reads     int
	err       error
}

func (s *store) ReadStream(_ context.Context, tenant, stream string, from int64) ([]events.Record, error) {
	s.reads++
	if s.err != nil || tenant != events.DefaultTenant || stream != "tool/registry" {
		return nil, s.err
	}
	var recs []events.Record
	for v := from; v <= int64(len(s.published)); v++ {
		recs = append(recs, events.Record{StreamVersion: v})
	}
	return recs, nil
}

func (s *store) Decode(r events.Record) (events.Event, error) {
	return s.published[r.StreamVersion-1], nil
}

func set(name string, tools ...string) tool.Set {
	s := tool.Set{Name: name}
	for _, t := range tools {
		s.Tools = append(s.Tools, tool.Tool{Spec: chat.ToolSpec{Name: t}})
	}
	return s
}

func TestSpecsOfToolsAndSets(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	s := &store{}
	tools := toolset.New(s, func() time.Time { return now })
	check := func(names, want, missing string) {
		t.Helper()
		specs, miss, err := tools.Specs(t.Context(), strings.Fields(names))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, spec := range specs {
			got = append(got, spec.Name)
		}
		if strings.Join(got, " ") != want || strings.Join(miss, " ") != missing {
			t.Errorf("%s: got %v, missing %v", names, got, miss)
		}
	}
	check("", "", "")
	check("calculator", "", "calculator")
	s.published = append(s.published, tool.RegistryPublished{Sets: []tool.Set{
		set("builtin", "calculator", "read_file"), set("replay/airline", "book", "calculator"),
	}})
	check("calculator", "", "calculator") // believed for a while
	now = now.Add(time.Minute)
	check("read_file calculator", "read_file calculator", "")
	check("replay/airline", "book calculator", "")
	check("calculator builtin book", "calculator read_file", "book")
	s.published = append(s.published, tool.RegistryPublished{Sets: []tool.Set{set("builtin", "search")}})
	now = now.Add(time.Minute)
	check("search read_file", "search", "read_file")
	if s.reads != 3 {
		t.Errorf("%d reads", s.reads)
	}
	s.err, now = errors.New("away"), now.Add(time.Minute)
	if _, _, err := tools.Specs(t.Context(), []string{"search"}); err == nil {
		t.Error("an event store that is away goes unnoticed")
	}
}
