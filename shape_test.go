package breakwater_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	maxFile     = 400  // lines
	maxFunction = 70   // lines
	maxRim      = 2500 // lines of package proxy, without its tests
)

// goFiles gives the repository's Go files, by path.
func goFiles(t *testing.T, take func(path string, content []byte)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		content, err := os.ReadFile(path)
		if err == nil {
			take(path, content)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A file and a function are read at one go, and the edge's rim is thin.
func TestFilesAndFunctionsAreShort(t *testing.T) {
	rim := 0
	goFiles(t, func(path string, content []byte) {
		lines := bytes.Count(content, []byte("\n"))
		if lines > maxFile {
			t.Errorf("%s has %d lines; %d are the most", path, lines, maxFile)
		}
		if filepath.Dir(path) == "proxy" && !strings.HasSuffix(path, "_test.go") {
			rim += lines
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, content, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok {
				if n := fset.Position(f.End()).Line - fset.Position(f.Pos()).Line + 1; n > maxFunction {
					t.Errorf("%s: %s has %d lines; %d are the most", fset.Position(f.Pos()), f.Name.Name, n, maxFunction)
				}
			}
		}
	})
	if rim > maxRim {
		t.Errorf("package proxy has %d lines; %d are the most: what is no rim belongs to a room", rim, maxRim)
	}
}

// functions lists the functions and methods that are declared, as package.Function and
// package.Type.Method. A method is listed under an interface too.
func functions(t *testing.T) map[string]bool {
	all := map[string]bool{}
	goFiles(t, func(path string, content []byte) {
		file, err := parser.ParseFile(token.NewFileSet(), path, content, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			name := f.Name.Name
			if f.Recv != nil {
				receiver := f.Recv.List[0].Type
				if star, ok := receiver.(*ast.StarExpr); ok {
					receiver = star.X
				}
				if generic, ok := receiver.(*ast.IndexExpr); ok {
					receiver = generic.X
				}
				name = receiver.(*ast.Ident).Name + "." + name
			}
			all[file.Name.Name+"."+name] = true
		}
	})
	return all
}

func architecture(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section is the part of a page under a heading.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("ARCHITECTURE.md has no section %q", heading)
	}
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

var span = regexp.MustCompile("`([a-z]+(?:\\.[A-Za-z]+){1,2})`")

// What a page says of a test is of one that exists.
func TestTestsThatPagesNameExist(t *testing.T) {
	all := functions(t)
	for _, page := range []string{"SECURITY.md", "CONTRIBUTING.md", "proxy/guarantees.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		named := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(string(text), -1)
		if len(named) == 0 {
			t.Errorf("%s names no test", page)
		}
		for _, m := range named {
			exists := false
			for name := range all {
				exists = exists || strings.HasSuffix(name, "."+m[1])
			}
			if !exists {
				t.Errorf("%s: there is no %s", page, m[1])
			}
		}
	}
}

// The paths of a pull and of a push name functions that exist.
func TestThePathsNameFunctionsThatExist(t *testing.T) {
	all, page := functions(t), architecture(t)
	for _, heading := range []string{"The path of a pull", "The path of a push"} {
		steps := span.FindAllStringSubmatch(section(t, page, heading), -1)
		if len(steps) < 10 {
			t.Errorf("%s: only %d functions are named", heading, len(steps))
		}
		for _, step := range steps {
			if !all[step[1]] {
				t.Errorf("%s: there is no function %s", heading, step[1])
			}
		}
	}
}

// Every package of the edge is in the table of packages.
func TestEveryPackageIsInTheArchitecture(t *testing.T) {
	page := section(t, architecture(t), "The packages")
	for name := range imports {
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("%s is not among the packages of ARCHITECTURE.md", name)
		}
	}
}

var (
	requirement = regexp.MustCompile(`(?m)^\s*(?:require )?([a-z0-9.-]+\.[a-z]+/\S+) v\S+$`)
	sentence    = regexp.MustCompile("(?m)^\\| `([a-z0-9.-]+\\.[a-z]+/\\S+)` \\| .+\\. \\|")
)

// Every direct requirement has its sentence, and no sentence is left behind.
func TestEveryRequirementHasItsSentence(t *testing.T) {
	var want, got []string
	for _, file := range []string{"go.mod", "deploy/helm/go.mod"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range requirement.FindAllStringSubmatch(string(text), -1) { // an indirect one has a comment
			want = append(want, m[1])
		}
	}
	for _, m := range sentence.FindAllStringSubmatch(section(t, architecture(t), "Dependencies"), -1) {
		got = append(got, m[1])
	}
	slices.Sort(want)
	slices.Sort(got)
	want, got = slices.Compact(want), slices.Compact(got)
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("%s is required, and ARCHITECTURE.md does not say what for", name)
		}
	}
	for _, name := range got {
		if !slices.Contains(want, name) {
			t.Errorf("ARCHITECTURE.md says what %s is for, and nothing requires it", name)
		}
	}
}
