package calculator

import (
	"context"
	"math"
	"math/big"
	"strings"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// bounded refuses a value too large to go on with, so that no expression costs more than a moment.
func bounded(v *big.Rat) (*big.Rat, error) {
	if v.Num().BitLen() > maxBits || v.Denom().BitLen() > maxBits {
		return nil, tooLarge()
	}
	return v, nil
}

func binary(ctx context.Context, operator string, a, b *big.Rat) (*big.Rat, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap(fault.Canceled, "calculator", "the calculation was stopped", err)
	}
	v := new(big.Rat)
	switch operator {
	case "+":
		return bounded(v.Add(a, b))
	case "-":
		return bounded(v.Sub(a, b))
	case "*":
		return bounded(v.Mul(a, b))
	case "**":
		return power(a, b)
	}
	if b.Sign() == 0 {
		return nil, invalid("division by zero").WithFix("Check the divisor.")
	}
	if operator == "/" {
		return bounded(v.Quo(a, b))
	}
	quotient := new(big.Rat).SetInt(floor(v.Quo(a, b)))
	return bounded(new(big.Rat).Sub(a, quotient.Mul(quotient, b)))
}

func floor(v *big.Rat) *big.Int {
	// Denominators are positive, so Euclidean division rounds down.
	return new(big.Int).Div(v.Num(), v.Denom())
}

func power(base, exponent *big.Rat) (*big.Rat, error) {
	if !exponent.IsInt() {
		return fractionalPower(base, exponent)
	}
	if base.Sign() == 0 && exponent.Sign() < 0 {
		return nil, invalid("zero cannot have a negative exponent").WithFix("Check the base.")
	}
	// Base 0, 1 and -1 stay small whatever the exponent.
	bits := max(base.Num().BitLen(), base.Denom().BitLen()) - 1
	if bits > 0 && (!exponent.Num().IsInt64() || abs64(exponent.Num().Int64()) > int64(maxBits/bits)+1) {
		return nil, tooLarge()
	}
	n := new(big.Int).Abs(exponent.Num())
	if bits <= 0 {
		n.And(n, big.NewInt(1)).Add(n, big.NewInt(2)) // parity is all that counts
		if exponent.Sign() == 0 {
			n.SetInt64(0)
		}
	}
	num := new(big.Int).Exp(base.Num(), n, nil)
	den := new(big.Int).Exp(base.Denom(), n, nil)
	if exponent.Sign() < 0 {
		num, den = den, num
	}
	return bounded(new(big.Rat).SetFrac(num, den))
}

func abs64(n int64) int64 {
	if n == math.MinInt64 {
		return math.MaxInt64
	}
	return max(n, -n)
}

// fractionalPower has no exact value in general. Exponents with a half are roots of exact powers; the
// rest goes through float64, whose 15 digits are what format shows.
func fractionalPower(base, exponent *big.Rat) (*big.Rat, error) {
	if base.Sign() < 0 {
		return nil, invalid("a negative number cannot have a fraction as exponent").WithFix("Check base and exponent.")
	}
	if base.Sign() == 0 && exponent.Sign() < 0 {
		return nil, invalid("zero cannot have a negative exponent").WithFix("Check the base.")
	}
	if exponent.Denom().Cmp(big.NewInt(2)) == 0 {
		whole, err := power(base, new(big.Rat).SetInt(exponent.Num()))
		if err != nil {
			return nil, err
		}
		return root(whole)
	}
	b, _ := base.Float64()
	e, _ := exponent.Float64()
	f := math.Pow(b, e)
	if math.IsInf(f, 0) || math.IsNaN(f) || f == 0 && b != 0 {
		return nil, tooLarge()
	}
	return bounded(rounded15(new(big.Rat).SetFloat64(f)))
}

// root is exact when numerator and denominator are squares, else good to about 60 digits.
func root(v *big.Rat) (*big.Rat, error) {
	if v.Sign() < 0 {
		return nil, invalid("a negative number has no square root").WithFix("Check the argument.")
	}
	num, den := new(big.Int).Sqrt(v.Num()), new(big.Int).Sqrt(v.Denom())
	exact := new(big.Rat).SetFrac(num, den)
	if new(big.Rat).Mul(exact, exact).Cmp(v) == 0 {
		return exact, nil
	}
	const precision = 200
	f := new(big.Float).SetPrec(precision).SetRat(v)
	r, _ := f.Sqrt(f).Rat(nil)
	return bounded(r)
}

func function(name string, args []*big.Rat) (*big.Rat, error) {
	if len(args) == 0 {
		return nil, invalid("%s() has no arguments", name).WithFix("Give it at least one number.")
	}
	switch name {
	case "min", "max", "sum":
		return fold(name, args)
	case "round":
		return round(args)
	case "abs", "sqrt":
		if len(args) != 1 {
			return nil, invalid("%s takes one argument, not %d", name, len(args)).WithFix("Give it one number.")
		}
		if name == "abs" {
			return new(big.Rat).Abs(args[0]), nil
		}
		return root(args[0])
	}
	return nil, invalid("there is no function %q", name).WithFix("Use " + strings.Join(functions(), ", ") + ".")
}

func functions() []string { return []string{"min", "max", "abs", "round", "sqrt", "sum"} }

func fold(name string, args []*big.Rat) (*big.Rat, error) {
	v := new(big.Rat).Set(args[0])
	for _, a := range args[1:] {
		switch {
		case name == "sum":
			if _, err := bounded(v.Add(v, a)); err != nil {
				return nil, err
			}
		case name == "min" && a.Cmp(v) < 0, name == "max" && a.Cmp(v) > 0:
			v.Set(a)
		}
	}
	return v, nil
}

func round(args []*big.Rat) (*big.Rat, error) {
	digits := 0
	switch len(args) {
	case 1:
	case 2:
		if !args[1].IsInt() || !args[1].Num().IsInt64() || abs64(args[1].Num().Int64()) > maxPlaces {
			return nil, invalid("the digits of round must be a whole number up to %d", maxPlaces).WithFix("Use round(x, 2).")
		}
		digits = int(args[1].Num().Int64())
	default:
		return nil, invalid("round takes one or two arguments, not %d", len(args)).WithFix("Use round(x) or round(x, 2).")
	}
	return bounded(roundTo(args[0], digits))
}

// roundTo rounds half away from zero to digits behind the point; before it when digits is negative.
func roundTo(v *big.Rat, digits int) *big.Rat {
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(digits, -digits))), nil)
	factor := new(big.Rat).SetInt(scale)
	if digits < 0 {
		factor.Inv(factor)
	}
	shifted := new(big.Rat).Mul(new(big.Rat).Abs(v), factor)
	whole := new(big.Rat).SetInt(floor(shifted.Add(shifted, big.NewRat(1, 2))))
	whole.Quo(whole, factor)
	if v.Sign() < 0 {
		whole.Neg(whole)
	}
	return whole
}
