package age

import (
	"slices"
	"testing"
)

func TestWords(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []string // nil for an error
	}{
		{"op read x", []string{"op", "read", "x"}},
		{"  a \t b\nc ", []string{"a", "b", "c"}},
		{`cat 'a b' "c d" e\ f`, []string{"cat", "a b", "c d", "e f"}},
		{`a"b"'c'\d`, []string{"abcd"}},
		{`'' ""`, []string{"", ""}},
		{`"a\"b\\c\d$x" '\'`, []string{`a"b\c\d$x`, `\`}},
		{"$HOME `x` ~ * | ; > # é", []string{"$HOME", "`x`", "~", "*", "|", ";", ">", "#", "é"}},
		{"", nil}, {" \n", nil}, {"'a", nil}, {`"a`, nil}, {`a\`, nil},
	} {
		got, err := words(tt.line)
		if (err != nil) != (tt.want == nil) || !slices.Equal(got, tt.want) {
			t.Errorf("words(%q) = %q, %v; want %q", tt.line, got, err, tt.want)
		}
	}
}
