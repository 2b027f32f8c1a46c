package envelope

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/doc"
)

// M, S and C build trees: a map of keys and nodes, with comments between; a
// list; a string; a comment.
func M(items ...any) *doc.Node {
	m := &doc.Node{Kind: doc.Map}
	for i := 0; i < len(items); i++ {
		if key, ok := items[i].(string); ok {
			i++
			items[i].(*doc.Node).Key = key
		}
		m.Items = append(m.Items, items[i].(*doc.Node))
	}
	return m
}

func listOf(items ...*doc.Node) *doc.Node { return &doc.Node{Kind: doc.List, Items: items} }
func S(text string) *doc.Node             { return &doc.Node{Text: text} }
func C(text string) *doc.Node             { return &doc.Node{Kind: doc.Comment, Text: text} }
func nullNode() *doc.Node                 { return &doc.Node{Type: doc.Null} }

// visits returns what a walk visits, a line each: + for encrypted, aad, text.
func visits(t testing.TB, s Selector, root *doc.Node) []string {
	t.Helper()
	c, err := s.compile(true)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	err = c.walk(root, func(n *doc.Node, aad string, encrypted bool) error {
		out = append(out, visitLine(n, aad, encrypted))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func visitLine(n *doc.Node, aad string, encrypted bool) string {
	sign := map[bool]string{true: "+", false: "-"}[encrypted]
	if n.Kind == doc.Comment {
		return sign + " " + aad + " #" + n.Text
	}
	return sign + " " + aad + " " + n.Text
}

func TestWalkPaths(t *testing.T) {
	root := M(
		C("top"),
		"a", S("1"),
		"m", M(C("in m"), "x:y", S("2"), "", S("3"), "e", M(), "n", nullNode()),
		"l", listOf(C("in l"), S("4"), listOf(S("5"), M("k", S("6"))), M(C("in l's map"), "k", S(""))),
		"", M("", S("7"), "z", S("8")),
		C("end"),
	)
	want := []string{
		"+ : #top",
		"+ a: 1",
		"+ m: #in m", "+ m:x:y: 2", "+ m:: 3", "- m:n: ",
		"+ l: #in l", "+ l: 4", "+ l: 5", "+ l:k: 6", "+ l: #in l's map", "+ l:k: ",
		"+ :: 7", "+ :z: 8",
		"+ : #end",
	}
	if got := visits(t, Selector{}, root); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := visits(t, Selector{}, M("", S("x"))); !slices.Equal(got, []string{"+ : x"}) {
		t.Errorf("an empty key: %q", got)
	}
}

func TestWalkSelectors(t *testing.T) {
	tree := func() *doc.Node {
		return M(
			C("m top"),
			"pub_x", S("1"),
			"key_x", M(C("c"), "a", S("2"), "pub_y", listOf(S("3"), M("b", S("4")))),
			"l", listOf(C("c"), C("m item"), C("c"), S("5"), S("6"), listOf(C("m"), C("c"), M("a", S("7")))),
			C("m map"),
			"m", M("a", S("8"), C("c"), "b", nullNode(), "c", S("9")),
			"z", S("10"), C("c end"),
		)
	}
	all := visits(t, Selector{UnencryptedSuffix: "no such"}, tree())
	for name, tt := range map[string]struct {
		s Selector
		// The texts that are encrypted; null never is.
		want string
	}{
		"default": {Selector{}, "m top,1,c,2,3,4,c,m item,c,5,6,m,c,7,m map,8,c,9,10,c end"},
		// A match covers all that is below it, comments of the map included.
		"unencrypted_suffix":  {Selector{UnencryptedSuffix: "_x"}, "m top,c,m item,c,5,6,m,c,7,m map,8,c,9,10,c end"},
		"encrypted_suffix":    {Selector{EncryptedSuffix: "_x"}, "1,c,2,3,4"},
		"unencrypted_regex":   {Selector{UnencryptedRegex: "^pub_|^l$"}, "m top,c,2,m map,8,c,9,10,c end"},
		"encrypted_regex":     {Selector{EncryptedRegex: "^pub_|^l$"}, "1,3,4,c,m item,c,5,6,m,c,7"},
		"regex is unanchored": {Selector{EncryptedRegex: "ub"}, "1,3,4"},
		// The marker itself stays clear both ways. It ends with the item after it.
		"encrypted_comment_regex":   {Selector{EncryptedCommentRegex: "^m"}, "1,c,5,c,7,8,c,9"},
		"unencrypted_comment_regex": {Selector{UnencryptedCommentRegex: "^m"}, "c,2,3,4,c,6,10,c end"},
		"comment of the time":       {Selector{EncryptedCommentRegex: "end"}, ""},
		"invalid regex":             {Selector{EncryptedRegex: "("}, ""},
		"invalid regex, excluding":  {Selector{UnencryptedRegex: "("}, "m top,1,c,2,3,4,c,m item,c,5,6,m,c,7,m map,8,c,9,10,c end"},
	} {
		got := visits(t, tt.s, tree())
		var encrypted []string
		for i, l := range got {
			if l[1:] != all[i][1:] {
				t.Fatalf("%s: visited %q, want %q", name, l, all[i])
			}
			if l[0] == '+' {
				_, text, _ := strings.Cut(l[2:], " ")
				encrypted = append(encrypted, strings.TrimPrefix(text, "#"))
			}
		}
		if s := strings.Join(encrypted, ","); s != tt.want {
			t.Errorf("%s: encrypted %s\nwant %s", name, s, tt.want)
		}
	}
}

// A comment that stands in a list as a token is an item: it ends the comments
// before it, which a Comment node does not.
func TestWalkCommentAsItem(t *testing.T) {
	s := Selector{EncryptedCommentRegex: "^enc"}
	token := "ENC[AES256_GCM,data:AA==,iv:AA==,tag:AA==,type:comment]"
	got := visits(t, s, M("l", listOf(C("enc"), S(token), S("v"))))
	if want := []string{"- l: #enc", "+ l: " + token, "- l: v"}; !slices.Equal(got, want) {
		t.Errorf("as an item: %q", got)
	}
	got = visits(t, s, M("l", listOf(C("enc"), C(token), S("v"))))
	if want := []string{"- l: #enc", "+ l: #" + token, "+ l: v"}; !slices.Equal(got, want) {
		t.Errorf("as a comment: %q", got)
	}
}

// modelWalk is the rule as the format's description has it: the keys of the path and
// the stack of active comments, looked through for every leaf.
func modelWalk(s Selector, n *doc.Node, path []string, comments [][]string, out *[]string) {
	match := func(expr, text string) bool {
		ok, _ := regexp.MatchString(expr, text)
		return ok
	}
	visit := func(n *doc.Node, path []string, stack [][]string) {
		anyKey := func(f func(string) bool) bool { return slices.ContainsFunc(path, f) }
		anyComment := func(expr string) bool {
			return slices.ContainsFunc(slices.Concat(stack...), func(c string) bool { return match(expr, c) })
		}
		encrypted := !anyKey(func(k string) bool { return strings.HasSuffix(k, "_unencrypted") })
		switch {
		case s.UnencryptedSuffix != "":
			encrypted = !anyKey(func(k string) bool { return strings.HasSuffix(k, s.UnencryptedSuffix) })
		case s.EncryptedSuffix != "":
			encrypted = anyKey(func(k string) bool { return strings.HasSuffix(k, s.EncryptedSuffix) })
		case s.UnencryptedRegex != "":
			encrypted = !anyKey(func(k string) bool { return match(s.UnencryptedRegex, k) })
		case s.EncryptedRegex != "":
			encrypted = anyKey(func(k string) bool { return match(s.EncryptedRegex, k) })
		case s.UnencryptedCommentRegex != "":
			encrypted = !anyComment(s.UnencryptedCommentRegex)
		case s.EncryptedCommentRegex != "":
			if n.Kind == doc.Comment { // it does not count for itself
				stack = slices.Clone(stack)
				last := stack[len(stack)-1]
				stack[len(stack)-1] = last[:len(last)-1]
			}
			encrypted = anyComment(s.EncryptedCommentRegex)
		}
		*out = append(*out, visitLine(n, strings.Join(path, ":")+":", encrypted && n.Type != doc.Null))
	}
	comments = append(slices.Clone(comments), nil)
	for _, item := range n.Items {
		at := path
		if n.Kind == doc.Map && item.Kind != doc.Comment {
			at = append(slices.Clone(path), item.Key)
		}
		switch item.Kind {
		case doc.Comment:
			comments[len(comments)-1] = append(comments[len(comments)-1], item.Text)
			visit(item, at, comments)
			continue
		case doc.Scalar:
			visit(item, at, comments)
		default:
			modelWalk(s, item, at, comments, out)
		}
		comments[len(comments)-1] = nil
	}
}

func randomNode(r *rand.Rand, depth int) *doc.Node {
	word := func() string { return []string{"a", "b", "ab", "a_x", "", "x:y", "b_unencrypted"}[r.IntN(7)] }
	n := &doc.Node{Kind: doc.Kind(r.IntN(3)), Text: word()}
	if n.Kind == doc.Scalar || depth == 0 {
		n.Kind = doc.Scalar
		if r.IntN(5) == 0 {
			n.Type = doc.Null
		}
		return n
	}
	for range r.IntN(6) {
		item := C(word())
		if r.IntN(3) > 0 {
			item = randomNode(r, depth-1)
		}
		if n.Kind == doc.Map && item.Kind != doc.Comment {
			item.Key = word()
		}
		n.Items = append(n.Items, item)
	}
	return n
}

func TestWalkIsTheModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	selectors := []Selector{
		{}, {UnencryptedSuffix: "b"}, {EncryptedSuffix: "x"}, {UnencryptedRegex: "^a"}, {EncryptedRegex: "^a|y$"},
		{UnencryptedCommentRegex: "^a"}, {EncryptedCommentRegex: "^a"}, {EncryptedCommentRegex: "["}, {UnencryptedCommentRegex: "["},
	}
	for i := range 3000 {
		root := randomNode(r, 5)
		root.Kind = doc.Map
		s := selectors[i%len(selectors)]
		var want []string
		modelWalk(s, root, nil, nil, &want)
		if got := visits(t, s, root); !slices.Equal(got, want) {
			t.Fatalf("%+v: got\n%s\nwant\n%s", s, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func TestWalkStops(t *testing.T) {
	c, _ := Selector{}.compile(false)
	stop := errors.New("stop")
	visits := 0
	err := c.walk(M("a", S(""), "b", S("")), func(*doc.Node, string, bool) error { visits++; return stop })
	if err != stop || visits != 1 {
		t.Errorf("%d visits, %v", visits, err)
	}
}

func nestedMaps(levels int, key string) *doc.Node {
	n := S("deep")
	for range levels {
		n = M(key, n)
	}
	return n
}

func TestWalkDeep(t *testing.T) {
	got := visits(t, Selector{UnencryptedRegex: "x"}, nestedMaps(10_000, "k"))
	if want := "+ " + strings.Repeat("k:", 10_000) + " deep"; len(got) != 1 || got[0] != want {
		t.Errorf("%d visits", len(got))
	}
	c, _ := Selector{}.compile(false)
	err := c.walk(nestedMaps(2, strings.Repeat("k", maxPath/2)), func(*doc.Node, string, bool) error { return nil })
	if !errors.Is(err, errPathTooLong) {
		t.Errorf("a path of 64 KiB: %v", err)
	}
}

func TestCompile(t *testing.T) {
	two := Selector{EncryptedRegex: "SECRET", UnencryptedSuffix: "_x"}
	for _, lenient := range []bool{true, false} {
		_, err := two.compile(lenient)
		if err == nil || !strings.Contains(err.Error(), "encrypted_regex and unencrypted_suffix") {
			t.Errorf("two fields: %v", err)
		}
	}
	for _, f := range new(Selector).fields() {
		if !strings.HasSuffix(f.name, "_regex") {
			continue
		}
		var s Selector
		for _, g := range s.fields() {
			if g.name == f.name {
				*g.value = "("
			}
		}
		if _, err := s.compile(false); err == nil || !strings.Contains(err.Error(), f.name) {
			t.Errorf("%s: an invalid expression: %v", f.name, err)
		}
		if c, err := s.compile(true); err != nil || c.matches("(") {
			t.Errorf("%s: an invalid expression in a file of sops: %v", f.name, err)
		}
	}
}

func TestMarks(t *testing.T) {
	c, _ := Selector{UnencryptedCommentRegex: "ENC"}.compile(false)
	if !c.marks("ENC[…]") || c.marks("other") {
		t.Error("unencrypted_comment_regex")
	}
	if c, _ = (Selector{UnencryptedRegex: "ENC"}).compile(false); c.marks("ENC[…]") {
		t.Error("a rule for keys marks a comment")
	}
}

// The memory of keys is bounded and right when it is full.
func TestWalkManyKeys(t *testing.T) {
	root := M()
	for i := range 3 * maxMemo {
		n := S("")
		n.Key = fmt.Sprint(i)
		root.Items = append(root.Items, n)
	}
	c, _ := Selector{EncryptedRegex: "7$"}.compile(false)
	for range 2 {
		err := c.walk(root, func(n *doc.Node, aad string, encrypted bool) error {
			if encrypted != strings.HasSuffix(n.Key, "7") || aad != n.Key+":" {
				return fmt.Errorf("key %s: %s %v", n.Key, aad, encrypted)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(c.memo) > maxMemo {
		t.Errorf("%d keys are remembered", len(c.memo))
	}
}

func BenchmarkWalk100k(b *testing.B) {
	root := M()
	for i := range 1000 {
		m := M()
		for j := range 100 {
			n := S("value")
			n.Key = fmt.Sprintf("key_%d", j)
			m.Items = append(m.Items, n)
		}
		m.Key = fmt.Sprintf("service_%d", i)
		root.Items = append(root.Items, m)
	}
	for name, s := range map[string]Selector{"suffix": {}, "regex": {EncryptedRegex: "^(data|stringData)$"}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c, _ := s.compile(false)
				c.walk(root, func(*doc.Node, string, bool) error { return nil })
			}
		})
	}
}
