// Package calculator is the tool "calculator": exact arithmetic on one expression.
//
// Arguments: {"expression": "…"}. The language: decimal numbers (12, 0.5, .5, 1e6), + - * / % **,
// parentheses, and the functions min, max, abs, round(x) or round(x, digits), sqrt, sum. Precedence is
// that of mathematics and Python: ** binds tightest and to the right (2**3**2 = 512, -2**2 = -4), then
// the signs, then * / %, then + -. The result of % has the sign of the divisor (-7 % 3 = 2). round goes
// half away from zero.
//
// Result: the number alone, no newline. Numbers are rationals, so 0.1+0.2 is "0.3" and 1/3*3 is "1".
// A value whose decimals end within 40 places is written out in full ("2500", "0.375", "-12.5"); any
// other is rounded to 15 significant digits first, with the zeros at the end dropped
// ("0.333333333333333"). What has more than 40 places even then is written with an exponent ("1e-50").
// There is never a plus sign, a group separator or "-0". sqrt and powers with a fraction in the exponent
// are computed to at least 15 digits; exact roots are exact ("3", "0.5").
package calculator

import (
	"context"
	"encoding/json"

	"github.com/agentos-kernel/agentos/events/chat"
	toolevent "github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool"
)

// Name is what the model calls the tool.
const Name = "calculator"

// Calculator is the tool. The zero value is ready.
type Calculator struct{}

type arguments struct {
	Expression string `json:"expression"`
}

// Spec implements [tool.Tool].
func (Calculator) Spec() chat.ToolSpec {
	return chat.ToolSpec{
		Name: Name,
		Description: "Evaluates one arithmetic expression exactly. Numbers, + - * / % **, parentheses, " +
			"min, max, abs, round(x, digits), sqrt, sum. Returns the number.",
		Parameters: json.RawMessage(`{"type":"object","properties":{"expression":{"type":"string","minLength":1,"maxLength":2000,` +
			`"description":"for example (19.99*3 + 5) / 2"}},"required":["expression"],"additionalProperties":false}`),
	}
}

// Class implements [tool.Tool]: calculating changes nothing.
func (Calculator) Class() string { return toolevent.Pure }

// Call implements [tool.Tool]. Errors are Invalid: the expression is wrong or too large.
func (Calculator) Call(ctx context.Context, _ tool.Env, args json.RawMessage) (string, error) {
	var a arguments
	if err := tool.Decode(args, &a); err != nil {
		return "", err
	}
	return Evaluate(ctx, a.Expression)
}

// Evaluate computes one expression; the package comment describes language and result.
func Evaluate(ctx context.Context, expression string) (string, error) {
	if len(expression) > maxLength {
		return "", invalid("the expression is longer than %d characters", maxLength).WithFix("Split it.")
	}
	p := parser{ctx: ctx, text: expression}
	value, err := p.parse()
	if err != nil {
		return "", err
	}
	return format(value), nil
}

const (
	maxLength = 2000 // bytes of an expression
	maxDepth  = 100  // nesting
	maxBits   = 8192 // of numerator and of denominator, everywhere: about 2,466 digits
	maxPlaces = 2500 // decimal exponent of a literal, digits of round
)

func invalid(format string, args ...any) *fault.Error {
	return fault.Newf(fault.Invalid, "calculator", format, args...)
}

func tooLarge() error {
	return invalid("a number grows beyond %d bits", maxBits).WithFix("Use smaller numbers or exponents.")
}
