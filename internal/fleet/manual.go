package fleet

import (
	"embed"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// The manual is made of the very text that is compiled: fields, their types and what their
// comments say cannot differ from what is decoded.
//
//go:embed fleet.go sections.go projects.go
var sources embed.FS

// field is one field of the file, or what stands below any name or in a list there.
type field struct {
	path    string // as datacenters.<name>.networks[]
	key     string
	text    string       // what its comment says
	kind    reflect.Type // without pointers
	fields  []*field     // of a block of fields
	each    *field       // what stands below names that the file chooses, or in a list; nil: neither
	initial string       // its default, as it would be written; "": none, or the text says it
}

// choices are values of which one is written, as a comment lists them.
var choices = regexp.MustCompile(`^([\w-]+(?: \| [\w-]+)+)`)

func (f *field) choices() []string {
	if m := choices.FindStringSubmatch(f.text); m != nil && f.kind.Kind() == reflect.String {
		return strings.Split(m[1], " | ")
	}
	return nil
}

func (f *field) required() bool {
	return f.text == "required" || strings.HasSuffix(f.text, "; required")
}

// idleAt are fields that a type has and that nothing reads where it stands: they are refused there.
var idleAt = map[string][]string{
	"projects.multi-dc.defaults":    {"project", "warm", "preheat", "copies", "datacenters"},
	"projects.cache.defaults":       {"project", "endpoint", "username", "password", "warm", "preheat", "datacenters"},
	"projects.repl.defaults":        {"project", "images", "warm", "preheat", "datacenters"},
	"projects.artifactory.defaults": {"project", "provider", "endpoint", "username", "password", "proxy", "ca", "redirects", "keep_deleted", "freeze", "warm", "preheat", "datacenters"},
}

// comments are what stands beside the fields in the source.
type comments struct {
	types map[string]*ast.StructType
	about map[string]string // what stands above a type
}

func readComments() (*comments, error) {
	c := &comments{map[string]*ast.StructType{}, map[string]string{}}
	entries, err := sources.ReadDir(".")
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		text, err := sources.ReadFile(entry.Name())
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(token.NewFileSet(), entry.Name(), text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, decl := range file.Decls {
			if d, ok := decl.(*ast.GenDecl); ok {
				for _, spec := range d.Specs {
					if t, ok := spec.(*ast.TypeSpec); ok {
						if s, ok := t.Type.(*ast.StructType); ok {
							c.types[t.Name.Name], c.about[t.Name.Name] = s, oneLine(d.Doc)
						}
					}
				}
			}
		}
	}
	return c, nil
}

func oneLine(group *ast.CommentGroup) string {
	return strings.Join(strings.Fields(group.Text()), " ")
}

// structOf finds the struct that a type's text names or is, below pointers, lists and maps.
func (c *comments) structOf(e ast.Expr) *ast.StructType {
	switch e := e.(type) {
	case *ast.StarExpr:
		return c.structOf(e.X)
	case *ast.ArrayType:
		return c.structOf(e.Elt)
	case *ast.MapType:
		return c.structOf(e.Value)
	case *ast.StructType:
		return e
	case *ast.Ident:
		return c.types[e.Name]
	}
	return nil
}

// manual is the whole file, as a tree.
func manual() (*field, error) {
	c, err := readComments()
	if err != nil {
		return nil, err
	}
	root := c.build(&field{kind: reflect.TypeFor[Fleet]()}, c.types["Fleet"], nil)
	root.text = c.about["Fleet"]
	setInitial(root)
	return root, nil
}

// build fills in what is below a field. within are the types that it stands in: what a
// datacenter says of a project has no datacenters of its own, nor a number of copies.
func (c *comments) build(f *field, text *ast.StructType, within []reflect.Type) *field {
	for f.kind.Kind() == reflect.Pointer {
		f.kind = f.kind.Elem()
	}
	below := func(kind reflect.Type, path, about string) *field {
		return c.build(&field{path: path, text: about, kind: kind}, text, within)
	}
	switch {
	case isScalar(f.kind):
	case f.kind.Kind() == reflect.Map:
		f.each = below(f.kind.Elem(), join(f.path, "<name>"), "")
	case f.kind.Kind() == reflect.Slice:
		f.each = below(f.kind.Elem(), f.path+"[]", "")
	case f.kind.Kind() == reflect.Struct:
		for i := range f.kind.NumField() {
			own := f.kind.Field(i)
			key := own.Tag.Get("yaml")
			again := slices.Contains(within, f.kind) && (key == "datacenters" || key == "copies")
			if key == "" || again || slices.Contains(idleAt[f.path], key) {
				continue
			}
			source := fieldOf(text, own.Name)
			if key == "*" {
				f.each = c.build(&field{path: join(f.path, "<name>"), kind: own.Type.Elem()}, c.structOf(source.Type), append(within, f.kind))
				f.each.text = c.about[f.each.kind.Name()]
				continue
			}
			f.fields = append(f.fields, c.build(&field{path: join(f.path, key), key: key, text: oneLine(source.Comment), kind: own.Type}, c.structOf(source.Type), append(within, f.kind)))
		}
	}
	return f
}

func join(path, key string) string { return strings.TrimPrefix(path+"."+key, ".") }

func fieldOf(text *ast.StructType, name string) *ast.Field {
	for _, f := range text.Fields.List {
		if f.Names[0].Name == name {
			return f
		}
	}
	return &ast.Field{}
}

func isScalar(t reflect.Type) bool { return reflect.PointerTo(t).Implements(reflect.TypeFor[scalar]()) }

// walk calls do for a field and all below it.
func (f *field) walk(do func(*field)) {
	do(f)
	for _, below := range f.fields {
		below.walk(do)
	}
	if f.each != nil {
		f.each.walk(do)
	}
}
