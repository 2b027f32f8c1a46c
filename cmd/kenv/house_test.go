package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The most lines of a file, and of a function. Tables and tests are free.
const (
	longestFile     = 600
	longestFunction = 80
)

// mayBeLong says why a file or function is longer than that.
var mayBeLong = map[string]string{}

// A source is a file of the module that is no test, for any system.
type source struct {
	name   string // "pkg/doc/ini.go"
	file   *ast.File
	lines  int
	lineOf func(token.Pos) int
}

// sources returns the module's files that are no tests.
func sources(t *testing.T) []source {
	t.Helper()
	var list []source
	root := filepath.Join("..", "..")
	for _, dir := range []string{"cmd", "pkg", "scripts"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			set := token.NewFileSet()
			f, err := parser.ParseFile(set, path, nil, parser.ParseComments)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, path)
			list = append(list, source{filepath.ToSlash(name), f, set.File(f.FileStart).LineCount(), func(p token.Pos) int { return set.Position(p).Line }})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(list) < 150 {
		t.Fatalf("only %d files are there", len(list))
	}
	return list
}

// Files and functions fit in a head, or mayBeLong says why not.
func TestNothingIsTooLong(t *testing.T) {
	needed := map[string]bool{}
	check := func(what string, lines, longest int) {
		if lines <= longest {
			return
		}
		needed[what] = true
		if mayBeLong[what] == "" {
			t.Errorf("%s has %d lines, more than %d: divide it, or say in mayBeLong why not", what, lines, longest)
		}
	}
	for _, s := range sources(t) {
		check(s.name, s.lines, longestFile)
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && !isTable(f) {
				check(s.name+" "+f.Name.Name, s.lineOf(f.End())-s.lineOf(f.Pos())+1, longestFunction)
			}
		}
	}
	for what := range mayBeLong {
		if !needed[what] {
			t.Errorf("%s is not too long any more: take it out of mayBeLong", what)
		}
	}
}

// isTable reports whether all that a function does is to return one value, such as a list
// of kinds, or to build a command: then most of it are texts.
func isTable(f *ast.FuncDecl) bool {
	if len(f.Body.List) == 1 {
		_, ok := f.Body.List[0].(*ast.ReturnStmt)
		return ok
	}
	results := f.Type.Results
	if results == nil || len(results.List) != 1 {
		return false
	}
	star, ok := results.List[0].Type.(*ast.StarExpr)
	if !ok {
		return false
	}
	command, ok := star.X.(*ast.SelectorExpr)
	return ok && command.Sel.Name == "Command"
}

// Everything that a package exports has a comment that says what it promises.
func TestExportedIsDocumented(t *testing.T) {
	packages := map[string]bool{}
	documented := map[string]bool{} // packages with a comment of their own
	looked := 0
	for _, s := range sources(t) {
		if !strings.HasPrefix(s.name, "pkg/") {
			continue
		}
		dir := filepath.ToSlash(filepath.Dir(s.name))
		packages[dir] = true
		documented[dir] = documented[dir] || s.file.Doc != nil
		lacks := func(pos token.Pos, what string, comments ...*ast.CommentGroup) {
			looked++
			if !slices.ContainsFunc(comments, func(c *ast.CommentGroup) bool { return c.Text() != "" }) {
				t.Errorf("%s:%d: %s has no comment", s.name, s.lineOf(pos), what)
			}
		}
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if isPublic(d) {
					lacks(d.Pos(), d.Name.Name, d.Doc)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						if !spec.Name.IsExported() {
							break
						}
						lacks(spec.Pos(), spec.Name.Name, d.Doc, spec.Doc, spec.Comment)
						if i, ok := spec.Type.(*ast.InterfaceType); ok {
							for _, m := range i.Methods.List {
								if len(m.Names) > 0 && m.Names[0].IsExported() && !speaksForItself(m.Names[0].Name) {
									lacks(m.Pos(), spec.Name.Name+"."+m.Names[0].Name, m.Doc, m.Comment)
								}
							}
						}
					case *ast.ValueSpec:
						for _, n := range spec.Names {
							if n.IsExported() {
								lacks(n.Pos(), n.Name, d.Doc, spec.Doc, spec.Comment)
							}
						}
					}
				}
			}
		}
	}
	for dir := range packages {
		if !documented[dir] {
			t.Errorf("package %s has no comment", dir)
		}
	}
	if looked < 300 {
		t.Errorf("only %d identifiers were looked at", looked)
	}
}

// isPublic reports whether a function can be called from outside, and does more than an
// interface of the standard library already says.
func isPublic(f *ast.FuncDecl) bool {
	if !f.Name.IsExported() {
		return false
	}
	if f.Recv == nil {
		return true
	}
	recv := f.Recv.List[0].Type
	if star, ok := recv.(*ast.StarExpr); ok {
		recv = star.X
	}
	if generic, ok := recv.(*ast.IndexExpr); ok {
		recv = generic.X
	}
	return recv.(*ast.Ident).IsExported() && !speaksForItself(f.Name.Name)
}

func speaksForItself(method string) bool {
	return slices.Contains([]string{"Error", "Unwrap", "Is", "String", "Name"}, method)
}

// The packages keep no state of their own, and nothing happens because one is imported: a
// variable is an error or a table, and nobody assigns to it.
func TestNoPackageState(t *testing.T) {
	type variable struct{ dir, name string }
	variables := map[variable]string{}
	list := sources(t)
	for _, s := range list {
		dir := filepath.ToSlash(filepath.Dir(s.name))
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s:%d: func init", s.name, s.lineOf(f.Pos()))
			}
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				spec := spec.(*ast.ValueSpec)
				for i, n := range spec.Names {
					if n.Name == "_" || dir == "cmd/kenv" && n.Name == "version" { // which the linker sets
						continue
					}
					if len(spec.Values) != len(spec.Names) || !isConstant(spec.Values[i]) {
						t.Errorf("%s:%d: %s is neither an error nor a table", s.name, s.lineOf(n.Pos()), n.Name)
					}
					variables[variable{dir, n.Name}] = s.name
				}
			}
		}
	}
	for _, s := range list {
		dir := filepath.ToSlash(filepath.Dir(s.name))
		for _, n := range assigned(s.file) {
			if variables[variable{dir, n.Name}] != "" {
				t.Errorf("%s:%d: %s is changed, and it is a variable of the package (or has the name of one)", s.name, s.lineOf(n.Pos()), n.Name)
			}
		}
	}
	if len(variables) < 50 {
		t.Errorf("only %d variables were looked at", len(variables))
	}
}

// isConstant reports whether an initial value is an error, a compiled regular expression,
// or a table, written down or made by a function on the spot.
func isConstant(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.CompositeLit:
		selector, ok := e.Type.(*ast.SelectorExpr) // sync.Mutex{}
		return !ok || selector.X.(*ast.Ident).Name != "sync" && selector.X.(*ast.Ident).Name != "atomic"
	case *ast.CallExpr:
		switch f := e.Fun.(type) {
		case *ast.FuncLit, *ast.ArrayType: // []byte("…")
			return true
		case *ast.SelectorExpr:
			pkg, ok := f.X.(*ast.Ident)
			return ok && slices.Contains([]string{"errors.New", "fmt.Errorf", "regexp.MustCompile"}, pkg.Name+"."+f.Sel.Name)
		}
	}
	return false
}

// assigned returns the names of what is assigned to in a file, in whole or in part, or
// whose address is taken.
func assigned(f *ast.File) (names []*ast.Ident) {
	add := func(e ast.Expr) {
		for {
			switch x := e.(type) {
			case *ast.Ident:
				names = append(names, x)
				return
			case *ast.IndexExpr:
				e = x.X
			case *ast.SelectorExpr:
				e = x.X
			case *ast.ParenExpr:
				e = x.X
			case *ast.StarExpr:
				e = x.X
			default:
				return
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, e := range n.Lhs {
					add(e)
				}
			}
		case *ast.IncDecStmt:
			add(n.X)
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				add(n.X)
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "clear" || f.Name == "delete") {
				add(n.Args[0])
			}
		}
		return true
	})
	return names
}

// A program has the dependencies of the providers that it names and of no others, and none
// of the command's.
func TestImportersPayForWhatTheyName(t *testing.T) {
	const cobra, aws, pty = "github.com/spf13/cobra", "github.com/aws/", "github.com/creack/pty"
	const crypto11, pkcs11, age, terminal = "github.com/ThalesGroup/crypto11", "github.com/miekg/pkcs11", "filippo.io/age", "github.com/fatih/color"
	for _, c := range []struct {
		name  string
		pkgs  []string
		has   []string // modules that it needs, to show that they would be seen
		hasNo []string
	}{
		{"the front door alone", []string{"pkg/kenv"}, []string{"go.yaml.in/yaml"}, []string{cobra, aws, pty, crypto11, pkcs11, age, terminal}},
		{"with age", []string{"pkg/kenv", "pkg/keys/age"}, []string{age}, []string{cobra, aws, pty, crypto11, pkcs11, terminal}},
		{"with AWS KMS", []string{"pkg/kenv", "pkg/keys/awskms"}, []string{aws}, []string{cobra, pty, crypto11, pkcs11, age, terminal}},
		{"with PGP", []string{"pkg/kenv", "pkg/keys/pgp"}, nil, []string{cobra, aws, pty, crypto11, pkcs11, age, terminal}},
		{"with an HSM", []string{"pkg/kenv", "pkg/keys/pkcs11"}, nil, []string{cobra, aws, pty, age, terminal}},
		{"with every key", []string{"pkg/kenv", "pkg/keys/all"}, []string{aws, age}, []string{cobra, pty, terminal}},
	} {
		args := []string{"list", "-deps"}
		for _, p := range c.pkgs {
			args = append(args, module+p)
		}
		out, err := exec.Command("go", args...).Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		has := func(dep string) bool { return strings.Contains("\n"+string(out), "\n"+dep) }
		for _, dep := range c.has {
			if !has(dep) {
				t.Errorf("%s: it has no %s: is it seen?", c.name, dep)
			}
		}
		for _, dep := range c.hasNo {
			if has(dep) {
				t.Errorf("%s: it has %s among its dependencies", c.name, dep)
			}
		}
	}
	for _, s := range sources(t) {
		for _, i := range s.file.Imports {
			path := strings.Trim(i.Path.Value, `"`)
			if strings.HasPrefix(path, cobra) && !strings.HasPrefix(s.name, "cmd/kenv/") && !strings.HasPrefix(s.name, "scripts/") {
				t.Errorf("%s imports cobra", s.name)
			}
		}
	}
}

// mayTouchTheProcess says why a file of a package looks at the environment of the process
// or uses its streams. An entry that ends in a slash is a directory.
var mayTouchTheProcess = map[string]string{
	"pkg/config/find.go":     "the search for a config ends at the home directory",
	"pkg/git/":               "git gets the environment",
	"pkg/kenv/write_unix.go": "a program can name /dev/stdout as a file to write",
	"pkg/keys/age/place.go":  "a command that a variable names gets the environment",
	"pkg/keys/env.go":        "ProcessEnv is there to be asked for",
	"pkg/keys/pgp/gnupg.go":  "gpg gets the environment and the name of the terminal",
	"pkg/run/":               "programs get the environment and the streams",
	// For tests:
	"pkg/kenv/faulttest/":      "programs get the environment",
	"pkg/keys/awskms/kmstest/": "a server gets the environment",
	"pkg/keys/pkcs11/hsmtest/": "SoftHSM gets the environment",
}

// The packages print nothing, end nothing, and know of the process what they are told.
func TestPackagesLeaveTheProcessAlone(t *testing.T) {
	of := map[string][]string{
		"os": {"Getenv", "LookupEnv", "Environ", "ExpandEnv", "Setenv", "Unsetenv", "Clearenv", "UserHomeDir", "UserConfigDir",
			"UserCacheDir", "Exit", "Stdin", "Stdout", "Stderr", "Chdir", "Args"},
		"fmt":    {"Print", "Printf", "Println"},
		"signal": {"Notify", "Ignore", "Reset"},
	}
	needed := map[string]bool{}
	for _, s := range sources(t) {
		if !strings.HasPrefix(s.name, "pkg/") {
			continue
		}
		entry := s.name
		if _, ok := mayTouchTheProcess[entry]; !ok {
			entry = filepath.ToSlash(filepath.Dir(s.name)) + "/"
		}
		_, allowed := mayTouchTheProcess[entry]
		ast.Inspect(s.file, func(n ast.Node) bool {
			what := ""
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if pkg, ok := n.X.(*ast.Ident); ok && (slices.Contains(of[pkg.Name], n.Sel.Name) || pkg.Name == "log") {
					what = pkg.Name + "." + n.Sel.Name
				}
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "print" || f.Name == "println") {
					what = f.Name
				}
			}
			if what != "" {
				needed[entry] = true
				if !allowed {
					t.Errorf("%s:%d: %s", s.name, s.lineOf(n.Pos()), what)
				}
			}
			return true
		})
	}
	for entry := range mayTouchTheProcess {
		if !needed[entry] {
			t.Errorf("%s leaves the process alone: take it out of mayTouchTheProcess", entry)
		}
	}
}
