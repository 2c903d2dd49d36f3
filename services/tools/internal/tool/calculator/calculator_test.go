package calculator_test

import (
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool/calculator"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool/tooltest"
)

func TestSuite(t *testing.T) {
	t.Parallel()
	tooltest.Run(t, tooltest.Suite{
		Tool: calculator.Calculator{}, Valid: `{"expression":"1+1"}`, Long: `{"expression":"9**1000"}`,
	})
}

func TestEvaluate(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		"1":                           "1",
		" 0.1 + 0.2 ":                 "0.3",
		"1/3":                         "0.333333333333333",
		"2/3":                         "0.666666666666667",
		"1/3*3":                       "1",
		"-7 % 3":                      "2",
		"7 % -3":                      "-2",
		"7.5 % 2":                     "1.5",
		"2**3**2":                     "512",
		"-2**2":                       "-4",
		"(-2)**2":                     "4",
		"2**-2":                       "0.25",
		"2*-3":                        "-6",
		"--3":                         "3",
		"+-+3":                        "-3",
		"2 - 3 - 4":                   "-5",
		"100/10/2":                    "5",
		".5+1.":                       "1.5",
		"1e3":                         "1000",
		"1.5E-3":                      "0.0015",
		"007":                         "7",
		"min(3, 1, 2)":                "1",
		"MAX(3, 1, 2)":                "3",
		"sum(1, 2, 3.5)":              "6.5",
		"sum(1)":                      "1",
		"abs(-2.5)":                   "2.5",
		"round(2.5)":                  "3",
		"round(-2.5)":                 "-3",
		"round(19.995, 2)":            "20",
		"round(3.14159, 2)":           "3.14",
		"round(1234, -2)":             "1200",
		"sqrt(9)":                     "3",
		"sqrt(0.25)":                  "0.5",
		"sqrt(2)":                     "1.4142135623731",
		"sqrt(2)**2":                  "2",
		"4**0.5":                      "2",
		"8**(1/3)":                    "2",
		"2**0.3":                      "1.23114441334492",
		"0**0":                        "1",
		"0**5":                        "0",
		"(-1)**99999999999999999999":  "-1",
		"1**-99999999999999999999999": "1",
		"0*-1":                        "0",
		"-0":                          "0",
		"1e-40":                       "0." + strings.Repeat("0", 39) + "1",
		"1e-50":                       "1e-50",
		"1/3e20":                      "0.00000000000000000000333333333333333",
		"1/3e40":                      "3.33333333333333e-41",
		"4*.4**44":                    "0.0000000000000000123794003928538",
		"-0.0**3":                     "0",
		"2**100":                      "1267650600228229401496703205376",
		"2**100/3":                    "422550200076076467165567735125",
		"1000000*19.99":               "19990000",
		"(19.99*3 + 5) / 2":           "32.485",
		"((((((((((1))))))))))":       "1",
	} {
		t.Run(expression, func(t *testing.T) {
			t.Parallel()
			got, err := calculator.Evaluate(t.Context(), expression)
			if err != nil || got != want {
				t.Errorf("Evaluate(%q) = %q, %v, want %q", expression, got, err, want)
			}
		})
	}
}

func TestEvaluateRefuses(t *testing.T) {
	t.Parallel()
	for _, expression := range []string{
		"", " ", "1+", "1 2", "(1", "1)", "()", "1//2", "1***2", "2^3", "1,000", "$5", "1+1=2", "x", "x(1)", "pi", "min()",
		"abs(1,2)", "sqrt(-1)", "(-8)**(1/3)", "1/0", "1%0", "0**-1", "0**-0.5", "1e", "1e+", "1e9999999999999999999", "1e2501", "1e-2500",
		"9**9**9", "10**1e100", "2**8193", "1.2.3", "1e5e5", "0x10", "1_000", "round(1, 0.5)", "round(1, 2501)", "round(1,2,3)",
		"import os", "__import__('os')", "1;2", "1\x00", "\xff", "１", "NaN", "Inf", "1..2", ".",
		strings.Repeat("(", 101) + "1" + strings.Repeat(")", 101), strings.Repeat("-(", 300) + "1" + strings.Repeat(")", 300),
		strings.Repeat("1+", 1001) + "1", "1" + strings.Repeat("*9**2000", 100),
	} {
		t.Run(expression[:min(len(expression), 30)], func(t *testing.T) {
			t.Parallel()
			got, err := calculator.Evaluate(t.Context(), expression)
			if !fault.Is(err, fault.Invalid) || fault.FixOf(err) == "" {
				t.Errorf("Evaluate(%q) = %q, %v, want Invalid with a fix", expression, got, err)
			}
		})
	}
}

// Decimals with few places are exact, whatever is done with them.
func TestExactDecimals(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.Int64Range(-1e15, 1e15).Draw(t, "a")
		b := rapid.Int64Range(-1e15, 1e15).Draw(t, "b")
		ra, rb := big.NewRat(a, 10000), big.NewRat(b, 1000)
		operator := rapid.SampledFrom([]string{"+", "-", "*"}).Draw(t, "operator")
		want := new(big.Rat)
		switch operator {
		case "+":
			want.Add(ra, rb)
		case "-":
			want.Sub(ra, rb)
		case "*":
			want.Mul(ra, rb)
		}
		got, err := calculator.Evaluate(t.Context(), ra.FloatString(4)+operator+"("+rb.FloatString(3)+")")
		if err != nil {
			t.Fatal(err)
		}
		if value, ok := new(big.Rat).SetString(got); !ok || value.Cmp(want) != 0 {
			t.Fatalf("got %s, want %s", got, want.FloatString(10))
		}
	})
}

func FuzzEvaluate(f *testing.F) {
	for _, s := range []string{"1+2*3", "-2**-2", "round(sqrt(2), 3)", "1e-50/3", "min(1,2)%max(3,.5)", "9**9**9", "((", "2**0.3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, expression string) {
		got, err := calculator.Evaluate(t.Context(), expression)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("Evaluate(%q) = %v", expression, err)
			}
			return
		}
		// A result is itself an expression that means the same.
		if len(got) > 2000 {
			return
		}
		again, err := calculator.Evaluate(t.Context(), got)
		if err != nil && strings.Contains(got, "e-2") {
			return // at the edge of what is small enough to be written
		}
		if err != nil || again != got {
			t.Fatalf("Evaluate(%q) = %q, which evaluates to %q, %v", expression, got, again, err)
		}
	})
}
