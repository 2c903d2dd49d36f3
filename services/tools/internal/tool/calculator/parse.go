package calculator

import (
	"context"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// parser is recursive descent over the bytes of an expression; it computes while it reads.
//
//	sum     = product { ("+" | "-") product }
//	product = signed { ("*" | "/" | "%") signed }
//	signed  = { "-" | "+" } power
//	power   = atom [ "**" signed ]          to the right
//	atom    = number | name "(" sum { "," sum } ")" | "(" sum ")"
type parser struct {
	ctx   context.Context //nolint:containedctx // the parser lives for one call
	text  string
	at    int
	depth int
}

func (p *parser) parse() (*big.Rat, error) {
	if p.skip(); p.at == len(p.text) {
		return nil, invalid("the expression is empty").WithFix("Write one, such as 2*(3+4).")
	}
	value, err := p.sum()
	if err != nil {
		return nil, err
	}
	if p.skip(); p.at < len(p.text) {
		return nil, p.unexpected("an operator")
	}
	return value, nil
}

func (p *parser) skip() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// take consumes token when it comes next. A single "*" is not taken out of "**".
func (p *parser) take(token string) bool {
	p.skip()
	rest := p.text[p.at:]
	if !strings.HasPrefix(rest, token) || token == "*" && strings.HasPrefix(rest, "**") {
		return false
	}
	p.at += len(token)
	return true
}

func (p *parser) unexpected(wanted string) error {
	p.skip()
	if p.at >= len(p.text) {
		return invalid("the expression ends where %s should be", wanted).WithFix("Complete it.")
	}
	r, _ := utf8.DecodeRuneInString(p.text[p.at:])
	fix := "Use numbers, + - * / % **, parentheses and min, max, abs, round, sqrt, sum."
	switch r {
	case '^':
		fix = "Write powers as **."
	case ',':
		fix = "Write numbers without group separators; commas stand between a function's arguments only."
	case '=', '$', '€':
		fix = "Write the arithmetic alone, without = or currency signs."
	}
	return invalid("unexpected %q at character %d, %s should be there", r, utf8.RuneCountInString(p.text[:p.at])+1, wanted).
		WithFix(fix)
}

// enter bounds the recursion; every cycle of the grammar passes through it.
func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return invalid("the expression is nested more than %d deep", maxDepth).WithFix("Split it.")
	}
	return nil
}

func (p *parser) sum() (*big.Rat, error) {
	return p.chain(p.product, "+", "-")
}

func (p *parser) product() (*big.Rat, error) {
	return p.chain(p.signed, "*", "/", "%")
}

// chain reads operands of the next level joined by operators of one precedence, left to right.
func (p *parser) chain(operand func() (*big.Rat, error), operators ...string) (*big.Rat, error) {
	value, err := operand()
	for err == nil {
		operator := ""
		for _, o := range operators {
			if p.take(o) {
				operator = o
				break
			}
		}
		if operator == "" {
			return value, nil
		}
		var right *big.Rat
		if right, err = operand(); err == nil {
			value, err = binary(p.ctx, operator, value, right)
		}
	}
	return nil, err
}

func (p *parser) signed() (*big.Rat, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	negative := false
	for {
		if p.take("-") {
			negative = !negative
		} else if !p.take("+") {
			break
		}
	}
	value, err := p.power()
	if err != nil || !negative {
		return value, err
	}
	return new(big.Rat).Neg(value), nil
}

func (p *parser) power() (*big.Rat, error) {
	base, err := p.atom()
	if err != nil || !p.take("**") {
		return base, err
	}
	exponent, err := p.signed()
	if err != nil {
		return nil, err
	}
	return binary(p.ctx, "**", base, exponent)
}

func (p *parser) atom() (*big.Rat, error) {
	p.skip()
	if p.at >= len(p.text) {
		return nil, p.unexpected("a number")
	}
	switch c := p.text[p.at]; {
	case c == '(':
		p.at++
		value, err := p.sum()
		if err != nil {
			return nil, err
		}
		if !p.take(")") {
			return nil, p.unexpected(`")"`)
		}
		return value, nil
	case isDigit(c) || c == '.':
		return p.number()
	case isLetter(c):
		return p.call()
	}
	return nil, p.unexpected("a number")
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }

func (p *parser) digits() string {
	start := p.at
	for p.at < len(p.text) && isDigit(p.text[p.at]) {
		p.at++
	}
	return p.text[start:p.at]
}

func (p *parser) number() (*big.Rat, error) {
	start := p.at
	whole := p.digits()
	fraction := ""
	if p.at < len(p.text) && p.text[p.at] == '.' {
		p.at++
		fraction = p.digits()
	}
	if whole+fraction == "" {
		p.at = start
		return nil, p.unexpected("a number")
	}
	if err := p.exponent(); err != nil {
		return nil, err
	}
	literal := p.text[start:p.at]
	if p.at < len(p.text) && (isLetter(p.text[p.at]) || p.text[p.at] == '.') {
		return nil, p.unexpected("an operator")
	}
	value, ok := new(big.Rat).SetString(literal)
	if !ok {
		return nil, invalid("%q is not a number", literal).WithFix("Write decimals such as 12.5.")
	}
	return bounded(value)
}

// exponent skips "e+12" behind a number; an exponent big.Rat would need much memory for is refused
// before it is computed.
func (p *parser) exponent() error {
	if p.at >= len(p.text) || p.text[p.at] != 'e' && p.text[p.at] != 'E' {
		return nil
	}
	p.at++
	if p.at < len(p.text) && (p.text[p.at] == '+' || p.text[p.at] == '-') {
		p.at++
	}
	digits := p.digits()
	if digits == "" {
		return p.unexpected("the digits of an exponent")
	}
	if n, err := strconv.Atoi(digits); err != nil || n > maxPlaces {
		return tooLarge()
	}
	return nil
}

func (p *parser) call() (*big.Rat, error) {
	start := p.at
	for p.at < len(p.text) && (isLetter(p.text[p.at]) || isDigit(p.text[p.at])) {
		p.at++
	}
	name := p.text[start:p.at]
	if !p.take("(") {
		return nil, invalid("%q is not a number", name).
			WithFix("Put values in place of names; functions are min, max, abs, round, sqrt, sum, each with parentheses.")
	}
	var args []*big.Rat
	if !p.take(")") {
		for {
			arg, err := p.sum()
			if err != nil {
				return nil, err
			}
			args = append(args, arg)
			if p.take(",") {
				continue
			}
			if !p.take(")") {
				return nil, p.unexpected(`"," or ")"`)
			}
			break
		}
	}
	return function(strings.ToLower(name), args)
}
