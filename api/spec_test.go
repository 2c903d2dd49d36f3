package api_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"
	"github.com/labstack/echo/v4"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/api/auditapi"
	"github.com/agentos-kernel/agentos/api/contextapi"
	"github.com/agentos-kernel/agentos/api/learningapi"
	"github.com/agentos-kernel/agentos/api/llmgatewayapi"
	"github.com/agentos-kernel/agentos/api/schedulerapi"
	"github.com/agentos-kernel/agentos/api/toolsapi"
	"github.com/agentos-kernel/agentos/events/agent"
)

func load(t *testing.T) *openapi3.T {
	t.Helper()
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(api.Spec())
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestSpecIsValid(t *testing.T) {
	t.Parallel()
	if err := load(t).Validate(context.Background(), openapi3.EnableExamplesValidation()); err != nil {
		t.Fatal(err)
	}
}

// TestOperations holds the rules that every route keeps.
func TestOperations(t *testing.T) {
	t.Parallel()
	doc := load(t)
	seen := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			t.Run(method+" "+path, func(t *testing.T) {
				t.Parallel()
				checkOperation(t, doc, method, path, op)
			})
			if seen[op.OperationID] {
				t.Errorf("operation id %s is used twice", op.OperationID)
			}
			seen[op.OperationID] = true
		}
	}
	if len(seen) < 18 {
		t.Errorf("only %d operations: the loop above missed some", len(seen))
	}
}

func checkOperation(t *testing.T, doc *openapi3.T, method, path string, op *openapi3.Operation) {
	t.Helper()
	if len(op.Tags) != 1 || doc.Tags.Get(op.Tags[0]) == nil {
		t.Errorf("tags %v: want one of the document's", op.Tags)
	}
	if op.OperationID == "" || op.Summary == "" {
		t.Error("no operation id or no summary")
	}
	system := slices.Contains(op.Tags, "system")
	health := op.OperationID == "getHealth" || op.OperationID == "getReady"
	if public := op.Security != nil && len(*op.Security) == 0; public != health {
		t.Errorf("public: %v, health: %v", public, health)
	}
	want := []string{"500"}
	if !system {
		want = append(want, "401", "503")
	}
	if strings.Contains(path, "{") {
		want = append(want, "404")
	}
	if method == "POST" {
		want = append(want, "400", "409", "413", "429")
		if op.Parameters.GetByInAndName("header", "Idempotency-Key") == nil {
			t.Error("no Idempotency-Key")
		}
		checkBody(t, op)
	}
	if path == "/readyz" {
		want = []string{"503"}
	}
	for _, status := range want {
		if op.Responses.Value(status) == nil {
			t.Errorf("no response %s", status)
		}
	}
	for status, res := range op.Responses.Map() {
		if status >= "400" && res.Value.Content["application/problem+json"] == nil {
			t.Errorf("response %s is no problem document", status)
		}
	}
}

func checkBody(t *testing.T, op *openapi3.Operation) {
	t.Helper()
	schema := op.RequestBody.Value.Content["application/json"].Schema.Value
	for name, s := range map[string]*openapi3.Schema{"body": schema, "limits": nested(schema, "limits")} {
		if s != nil && (s.AdditionalProperties.Has == nil || *s.AdditionalProperties.Has) {
			t.Errorf("%s takes unknown fields", name)
		}
	}
}

func nested(schema *openapi3.Schema, name string) *openapi3.Schema {
	if p := schema.Properties[name]; p != nil {
		return p.Value
	}
	return nil
}

// TestEveryRouteHasAnInterface compares the document with what the generated packages register.
func TestEveryRouteHasAnInterface(t *testing.T) {
	t.Parallel()
	e := echo.New()
	schedulerapi.RegisterHandlers(e, nil)
	contextapi.RegisterHandlers(e, nil)
	llmgatewayapi.RegisterHandlers(e, nil)
	toolsapi.RegisterHandlers(e, nil)
	auditapi.RegisterHandlers(e, nil)
	learningapi.RegisterHandlers(e, nil)
	var got, want []string
	for _, r := range e.Routes() {
		got = append(got, r.Method+" "+r.Path)
	}
	for path, item := range load(t).Paths.Map() {
		path = strings.NewReplacer("{", ":", "}", "").Replace(path)
		for method, op := range item.Operations() {
			if op.Tags[0] != "system" {
				want = append(want, method+" "+path)
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("routes (-document +generated):\n%s", diff)
	}
}

// TestNamesAgreeWithEvents keeps words that stand both here and in the events the same.
func TestNamesAgreeWithEvents(t *testing.T) {
	t.Parallel()
	if api.ModeTask != agent.ModeTask || api.ModeConversation != agent.ModeConversation {
		t.Error("modes differ")
	}
	for _, reason := range []string{agent.WaitMessage, agent.WaitModel, agent.WaitSlot, agent.WaitTool} {
		text := load(t).Components.Schemas["Wait"].Value.Properties["reason"].Value.Description
		if !strings.Contains(text, fmt.Sprintf("`%s`", reason)) {
			t.Errorf("reason %s is not documented: %s", reason, text)
		}
	}
}

func TestSpecIsTheFile(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(api.Spec()) {
		t.Error("Spec is not openapi.yaml")
	}
}
