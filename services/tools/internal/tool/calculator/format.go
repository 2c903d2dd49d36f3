package calculator

import (
	"math/big"
	"strconv"
	"strings"
)

const (
	exactPlaces = 40 // decimals up to here are written out
	significant = 15 // digits of a value that has no end, or none that is worth reading
)

// format writes a value as the package comment says.
func format(v *big.Rat) string {
	if text, ok := exact(v); ok {
		return text
	}
	v = rounded15(v)
	if text, ok := exact(v); ok {
		return text
	}
	magnitude := exponent10(v)
	mantissa := new(big.Rat).Mul(v, pow10(-magnitude))
	return trim(mantissa.FloatString(significant-1)) + "e" + strconv.Itoa(magnitude)
}

// exact writes a value out in full when its decimals end soon enough.
func exact(v *big.Rat) (string, bool) {
	if v.IsInt() {
		return v.Num().String(), true
	}
	text := v.FloatString(exactPlaces)
	back, ok := new(big.Rat).SetString(text)
	return trim(text), ok && back.Cmp(v) == 0
}

func trim(text string) string {
	if strings.Contains(text, ".") {
		text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// rounded15 keeps 15 significant digits; digits before the point are all kept.
func rounded15(v *big.Rat) *big.Rat {
	return roundTo(v, max(0, significant-1-exponent10(v)))
}

// exponent10 is the place of the first digit: 0 for 1 to 9, -1 for 0.1, 2 for 100. Zero has 0.
func exponent10(v *big.Rat) int {
	if v.Sign() == 0 {
		return 0
	}
	a := new(big.Rat).Abs(v)
	// Bit lengths give the exponent to within one; log10(2) as a fraction.
	e := (a.Num().BitLen() - a.Denom().BitLen()) * 30103 / 100000
	for a.Cmp(pow10(e)) < 0 {
		e--
	}
	for a.Cmp(pow10(e+1)) >= 0 {
		e++
	}
	return e
}

func pow10(e int) *big.Rat {
	v := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(e, -e))), nil))
	if e < 0 {
		v.Inv(v)
	}
	return v
}
