package doc

import (
	"bytes"
	"strconv"
	"strings"
	"unicode"
)

// The kinds of iniItem.
const (
	iniComment = ';'
	iniHeader  = '['
	iniKey     = '='
	iniBare    = '?' // a line that sops refuses for want of a delimiter
)

// An iniItem is a line that says something, or several that a value spans.
type iniItem struct {
	Span       // its lines, without the last line break
	start int  // where it begins, behind the blanks
	kind  byte // see above

	name  string   // of a section or key
	after int      // behind the bracket or delimiter
	value iniValue // of a key
	note  Span     // a comment after a header or value, from its mark on
	odd   bool     // has text that is part of nothing
}

// An iniValue is a value as sops reads it, which is as gopkg.in/ini.v1 does.
type iniValue struct {
	Span // quotes included; empty behind the delimiter if there is no text
	text string
	how  style
	more bool // goes on behind a backslash
	note Span // as of an iniItem
	rest Span // what follows a raw value on its line: sops passes over it
	end  int  // of its last line, without the line break
}

// iniQuotes are the quotes of each style.
var iniQuotes = [...]string{single: "'", double: `"`, iniTick: "`", iniTriple: `"""`}

// lineEnd returns where the line at i ends and where the next one begins.
func lineEnd(src []byte, i int) (end, next int) {
	if n := bytes.IndexByte(src[i:], '\n'); n >= 0 {
		return i + n, i + n + 1
	}
	return len(src), len(src)
}

func spaceBefore(b []byte) int { return len(b) - len(bytes.TrimLeftFunc(b, unicode.IsSpace)) }

func trimmedEnd(src []byte, at Span) int {
	return at.Start + len(bytes.TrimRightFunc(src[at.Start:at.End], unicode.IsSpace))
}

// iniItems takes a text apart as sops does. The error is ErrDense for a text in which
// nothing else is wrong; what came first and the header of the metadata are there then.
func iniItems(src []byte) ([]iniItem, error) {
	items := make([]iniItem, 0, min(1+bytes.Count(src, []byte{'\n'}), freeNodes))
	dense := false
	count := 1 // of keys without a name in this section
	for i := len(src) - len(bytes.TrimPrefix(src, utf8BOM)); i < len(src); {
		end, next := lineEnd(src, i)
		it := iniItem{Span: Span{i, end}, start: i + spaceBefore(src[i:next])}
		i = next
		if it.start == next {
			continue
		}
		line := src[it.start:next]
		fail := func(msg string) error {
			n, _ := lineCol(src, it.start)
			return &SyntaxError{Format: "INI", Line: n, Msg: msg}
		}
		switch line[0] {
		case '#', ';':
			it.kind = iniComment
		case '[':
			it.kind = iniHeader
			bracket := bytes.LastIndexByte(line, ']')
			switch {
			case bracket < 0:
				return nil, fail("a section header without its closing bracket")
			case bracket == 1:
				return nil, fail("a section without a name")
			}
			count = 1
			it.name, it.after = string(line[1:bracket]), it.start+bracket+1
			behind := end
			if m := bytes.IndexAny(src[it.after:end], "#;"); m >= 0 {
				behind = it.after + m
				it.note = Span{behind, trimmedEnd(src, Span{behind, end})}
			}
			it.odd = len(bytes.TrimSpace(src[it.after:behind])) > 0
		default:
			name, after, odd, fault := iniKeyName(line)
			if fault != "" {
				return nil, fail(fault)
			}
			if it.kind = iniKey; after < 0 {
				it.kind = iniBare
				break
			}
			if name == "-" {
				name = "#" + strconv.Itoa(count)
				count++
			}
			it.name, it.after, it.odd = name, it.start+after, odd
			v, ok := iniValueAt(src, it.after)
			if !ok {
				return nil, fail("a value whose quote is not closed")
			}
			it.value, it.note, it.End = v, v.note, v.end
			i = min(v.end+1, len(src))
		}
		if dense = dense || tooDense(src, len(items)-metaNodes); dense && (it.kind != iniHeader || it.name != metaKey) {
			continue
		}
		items = append(items, it)
	}
	if dense {
		return items, ErrDense
	}
	return items, nil
}

// iniKeyName reads the key that a line starts with. after is behind the delimiter,
// -1 if there is none; odd says that something stands between a quote and it.
func iniKeyName(line []byte) (name string, after int, odd bool, fault string) {
	quote := ""
	switch {
	case len(line) > 6 && bytes.HasPrefix(line, []byte(`"""`)):
		quote = `"""`
	case line[0] == '"' || line[0] == '`':
		quote = string(line[:1])
	}
	closing := 0 // behind the quote
	if quote != "" {
		n := bytes.Index(line[len(quote):], []byte(quote))
		if n < 0 {
			return "", 0, false, "a key whose quote is not closed"
		}
		closing = len(quote) + n + len(quote)
	}
	n := bytes.IndexAny(line[closing:], "=:")
	if n < 0 {
		return "", -1, false, ""
	}
	text := line[:n]
	if quote != "" {
		text = line[len(quote) : closing-len(quote)]
		odd = len(bytes.TrimSpace(line[closing:closing+n])) > 0
	}
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return "", 0, false, "a value without a key"
	}
	return string(text), closing + n + 1, odd, ""
}

// iniValueAt reads the value behind the delimiter at i. ok is false if its quote is
// not closed.
func iniValueAt(src []byte, i int) (v iniValue, ok bool) {
	end, next := lineEnd(src, i)
	start := i + spaceBefore(src[i:next])
	v = iniValue{Span: Span{i, i}, end: end}
	if start == next {
		return v, true
	}
	switch line := src[start:next]; {
	case len(line) > 3 && bytes.HasPrefix(line, []byte(`"""`)):
		v.how = iniTriple
	case line[0] == '`':
		v.how = iniTick
	}
	if v.how != plain {
		return v, v.raw(src, start, next)
	}
	v.Span = Span{start, trimmedEnd(src, Span{start, end})}
	if src[v.End-1] == '\\' {
		v.continued(src, next)
		return v, true
	}
	if m := bytes.IndexAny(src[v.Start:v.End], "#;"); m >= 0 {
		v.note = Span{start + m, v.End}
		v.End = trimmedEnd(src, Span{start, start + m})
	}
	if v.Start == v.End {
		v.Span = Span{i, i}
	}
	v.text, v.how = iniUnquote(string(src[v.Start:v.End]))
	return v, true
}

func (v iniValue) isToken() bool { return strings.HasPrefix(v.text, "ENC[AES256_GCM,") }

// raw reads a value in quotes that keep everything, line breaks too. On its first
// line it goes to the last such quote, and else to the last one of the next line
// that has any.
func (v *iniValue) raw(src []byte, start, next int) (ok bool) {
	quote := []byte(iniQuotes[v.how])
	begin := start + len(quote)
	for at := begin; ; {
		n := bytes.LastIndex(src[at:next], quote)
		if n >= 0 && at > begin && bytes.HasSuffix(bytes.TrimSpace(src[at+n+len(quote):next]), []byte{'\\'}) {
			n = -1
		}
		if n >= 0 {
			v.Span = Span{start, at + n + len(quote)}
			v.text = string(src[begin : at+n])
			v.end, _ = lineEnd(src, v.End)
			v.rest = Span{v.End + spaceBefore(src[v.End:v.end]), trimmedEnd(src, Span{v.End, v.end})}
			if m := bytes.IndexAny(src[v.End:v.end], "#;"); m >= 0 && at > begin {
				v.note = Span{v.End + m, v.rest.End}
			}
			return true
		}
		if at = next; at == len(src) {
			return false
		}
		_, next = lineEnd(src, at)
	}
}

// continued reads on where a line ends with a backslash. Nothing in such a value is
// a comment or a quote.
func (v *iniValue) continued(src []byte, next int) {
	v.more = true
	var text strings.Builder
	text.Write(src[v.Start : v.End-1])
	for next < len(src) {
		at := next
		end, after := lineEnd(src, at)
		line := bytes.TrimSpace(src[at:end])
		if len(line) == 0 {
			v.End, v.end = at, end // without this line, the value would go on in the next
			break
		}
		next, v.end = after, end
		v.End = trimmedEnd(src, Span{at, end})
		more := line[len(line)-1] == '\\'
		if more {
			line = line[:len(line)-1]
		}
		text.Write(line)
		if !more {
			break
		}
	}
	v.text = text.String()
}

// iniUnquote takes off quotes around a text that has none of them within.
func iniUnquote(s string) (string, style) {
	for _, how := range [...]style{single, double} {
		if q := iniQuotes[how][0]; len(s) >= 2 && s[0] == q && strings.IndexByte(s[1:], q) == len(s)-2 {
			return s[1 : len(s)-1], how
		}
	}
	return s, plain
}
