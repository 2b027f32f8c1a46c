package doc

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a JSON text, as encoding/json does.
const maxDepth = 10000

type jsonText struct {
	src  []byte
	i    int
	lone bool // the last string had a lone surrogate

	anyLone bool // some string had
	made    slab
	nodes   int
	spare   int  // nodes that do not count
	dense   bool // there are too many, and those that came last are not in the tree
	tiny    int  // numbers that take long to read
}

func (p *jsonText) fail(msg string) error {
	line, col := lineCol(p.src, p.i)
	return &SyntaxError{Format: "JSON", Line: line, Col: col, Msg: msg}
}

func (p *jsonText) space() {
	for p.i < len(p.src) {
		switch p.src[p.i] {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return
		}
	}
}

// readJSON reads a whole text: one value. The error is ErrDense for a text in which
// nothing else is wrong; what of the tree was made is returned with it.
func readJSON(src []byte) (*Node, error) { return (&jsonText{src: src}).read() }

func (p *jsonText) read() (*Node, error) {
	p.space()
	if p.i == len(p.src) {
		return nil, ErrEmpty
	}
	n, err := p.value(0)
	if err != nil {
		return nil, err
	}
	p.space()
	if p.i < len(p.src) {
		return nil, p.fail("text after the value")
	}
	if p.dense {
		return n, ErrDense
	}
	return n, nil
}

// isIn reports whether an item that was read goes into the tree.
func (p *jsonText) isIn(item *Node, depth int) bool {
	return !p.dense || depth == 0 && item.Key == metaKey
}

func (p *jsonText) value(depth int) (*Node, error) {
	if depth > maxDepth {
		return nil, p.fail("nested too deeply")
	}
	if p.i >= len(p.src) {
		return nil, p.fail("ends in the middle of a value")
	}
	if p.nodes++; !p.dense && tooDense(p.src, p.nodes-p.spare) {
		p.dense = true
	}
	n := p.made.new(Node{start: p.i, Span: Span{p.i, 0}})
	var err error
	switch c := p.src[p.i]; {
	case c == '{':
		n.Kind = Map
		err = p.object(n, depth)
	case c == '[':
		n.Kind = List
		err = p.array(n, depth)
	case c == '"':
		n.Text, err = p.str()
	case c == '-' || c >= '0' && c <= '9':
		n.Type, n.Text, err = p.number()
	default:
		n.Type = Null
		switch rest := p.src[p.i:]; {
		case bytes.HasPrefix(rest, []byte("true")):
			n.Type, n.Text, p.i = Bool, "True", p.i+4
		case bytes.HasPrefix(rest, []byte("false")):
			n.Type, n.Text, p.i = Bool, "False", p.i+5
		case bytes.HasPrefix(rest, []byte("null")):
			p.i += 4
		case c == '/' || c == '#':
			err = p.fail("comments are not allowed")
		case c == '\'':
			err = p.fail("strings need double quotes")
		default:
			err = p.fail("a value must start here")
		}
	}
	n.Span.End = p.i
	return n, err
}

func (p *jsonText) object(n *Node, depth int) error {
	p.i++
	p.space()
	if p.i < len(p.src) && p.src[p.i] == '}' {
		p.i++
		return nil
	}
	for {
		p.space()
		if p.i >= len(p.src) || p.src[p.i] != '"' {
			return p.fail("a key in double quotes must start here")
		}
		key := Span{p.i, 0}
		name, err := p.str()
		if err != nil {
			return err
		}
		key.End = p.i
		mark := ""
		if p.lone {
			// Its text does not tell which surrogate it was.
			mark = string(p.src[key.Start:key.End])
		}
		p.space()
		if p.i >= len(p.src) || p.src[p.i] != ':' {
			return p.fail("a colon must stand here")
		}
		p.i++
		p.space()
		item, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		item.Key, item.key, item.Mark = name, key, mark
		if p.isIn(item, depth) {
			n.Items = append(n.Items, item)
		}
		p.space()
		if p.i < len(p.src) && p.src[p.i] == ',' {
			p.i++
			continue
		}
		if p.i < len(p.src) && p.src[p.i] == '}' {
			p.i++
			return nil
		}
		return p.fail("a comma or closing brace must stand here")
	}
}

func (p *jsonText) array(n *Node, depth int) error {
	p.i++
	p.space()
	if p.i < len(p.src) && p.src[p.i] == ']' {
		p.i++
		return nil
	}
	for {
		p.space()
		item, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		if p.isIn(item, depth) {
			n.Items = append(n.Items, item)
		}
		p.space()
		if p.i < len(p.src) && p.src[p.i] == ',' {
			p.i++
			continue
		}
		if p.i < len(p.src) && p.src[p.i] == ']' {
			p.i++
			return nil
		}
		return p.fail("a comma or closing bracket must stand here")
	}
}

// str reads a string. A lone surrogate becomes U+FFFD, as in Go and sops.
func (p *jsonText) str() (string, error) {
	p.i++
	p.lone = false
	start := p.i
	for p.i < len(p.src) && p.src[p.i] != '"' && p.src[p.i] != '\\' && p.src[p.i] >= 0x20 && p.src[p.i] < 0x80 {
		p.i++
	}
	if p.i < len(p.src) && p.src[p.i] == '"' {
		p.i++
		return string(p.src[start : p.i-1]), nil
	}
	out := append([]byte(nil), p.src[start:p.i]...)
	for p.i < len(p.src) {
		c := p.src[p.i]
		switch {
		case c == '"':
			p.i++
			return string(out), nil
		case c < 0x20:
			return "", p.fail("control character in a string")
		case c != '\\':
			r, n := utf8.DecodeRune(p.src[p.i:])
			if r == utf8.RuneError && n == 1 {
				return "", p.fail("not UTF-8")
			}
			out = append(out, p.src[p.i:p.i+n]...)
			p.i += n
			continue
		}
		if p.i+1 >= len(p.src) {
			break
		}
		p.i++
		switch e := p.src[p.i]; e {
		case '"', '\\', '/':
			out = append(out, e)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := hex4(p.src, p.i+1)
			if !ok {
				return "", p.fail("\\u needs four hexadecimal digits")
			}
			p.i += 4
			if utf16.IsSurrogate(r) {
				low, ok := rune(0), false
				if p.i+2 < len(p.src) && p.src[p.i+1] == '\\' && p.src[p.i+2] == 'u' {
					low, ok = hex4(p.src, p.i+3)
				}
				if pair := utf16.DecodeRune(r, low); ok && pair != utf8.RuneError {
					r = pair
					p.i += 6
				} else {
					r = utf8.RuneError
					p.lone, p.anyLone = true, true
				}
			}
			out = utf8.AppendRune(out, r)
		default:
			return "", p.fail("unknown escape in a string")
		}
		p.i++
	}
	return "", p.fail("string without an end")
}

func hex4(src []byte, i int) (rune, bool) {
	if i+4 > len(src) {
		return 0, false
	}
	v, err := strconv.ParseUint(string(src[i:i+4]), 16, 16)
	return rune(v), err == nil && src[i] != '+' && src[i] != '-'
}

func (p *jsonText) digits() bool {
	start := p.i
	for p.i < len(p.src) && p.src[p.i] >= '0' && p.src[p.i] <= '9' {
		p.i++
	}
	return p.i > start
}

// number reads a number: an int if it is written as one and fits 64 bits.
func (p *jsonText) number() (Type, string, error) {
	start, integer := p.i, true
	if p.src[p.i] == '-' {
		p.i++
	}
	first := p.i
	if !p.digits() {
		return 0, "", p.fail("a digit must stand here")
	}
	if p.src[first] == '0' && p.i > first+1 {
		p.i = first + 1
		return 0, "", p.fail("number with a leading zero")
	}
	if p.i < len(p.src) && p.src[p.i] == '.' {
		integer = false
		p.i++
		if !p.digits() {
			return 0, "", p.fail("a digit must stand here")
		}
	}
	if p.i < len(p.src) && (p.src[p.i] == 'e' || p.src[p.i] == 'E') {
		integer = false
		p.i++
		if p.i < len(p.src) && (p.src[p.i] == '+' || p.src[p.i] == '-') {
			p.i++
		}
		if !p.digits() {
			return 0, "", p.fail("a digit must stand here")
		}
	}
	if tinyNumber(p.src[start:p.i]) {
		if p.tiny++; p.tiny > maxTiny {
			return 0, "", p.fail(errTiny)
		}
	}
	t, text := jsonNumber(string(p.src[start:p.i]), integer)
	return t, text, nil
}

// Numbers so near to zero that a float has few digits left for them take a thousand
// times as long to read as others. Such exponents are some way off: zeros behind the point
// do the same, but take bytes.
const (
	maxTiny = 10000
	errTiny = "too many numbers with an exponent below -99"
)

// tinyNumber reports whether a number has an exponent below -99.
func tinyNumber(s []byte) bool {
	i := bytes.LastIndexByte(s, '-')
	return i >= 2 && s[i-1]|0x20 == 'e' && tinyExponent(s[i+1:])
}

// tinyExponent is tinyNumber for the digits behind e-.
func tinyExponent(digits []byte) bool { return len(bytes.TrimLeft(digits, "0")) > 2 }

func jsonNumber(s string, integer bool) (Type, string) {
	if integer {
		if v, err := strconv.ParseInt(s, 10, 64); err == nil {
			return Int, strconv.FormatInt(v, 10)
		}
	}
	f, _ := strconv.ParseFloat(s, 64) // out of range: ±Inf, see finite
	return Float, floatText(f)
}
