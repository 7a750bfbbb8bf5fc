package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"regexp"
	"slices"
	"strings"
)

// mutant is one change of one file.
type mutant struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Kind   string `json:"kind"`
	Before string `json:"before"` // the first line that changes
	After  string `json:"after"`

	path     string // of the file
	from, to int    // what is replaced, in bytes
	text     string // by what
	source   []byte // of the whole file
}

// changed is the file with the change.
func (m *mutant) changed() []byte {
	return slices.Concat(m.source[:m.from], []byte(m.text), m.source[m.to:])
}

// finder collects the mutants of a file. What it finds need not compile: the compiler
// knows that better.
type finder struct {
	fset   *token.FileSet
	source []byte
	all    []*mutant
}

// mutants lists every change of a file that is to be tried.
func mutants(path string, source []byte) ([]*mutant, error) {
	f := finder{fset: token.NewFileSet(), source: source}
	file, err := parser.ParseFile(f.fset, path, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	ast.PreorderStack(file, nil, func(n ast.Node, above []ast.Node) bool {
		f.visit(n, above)
		return true
	})
	for _, m := range f.all {
		m.path, m.source = path, source
	}
	return f.all, nil
}

var (
	shifted = map[token.Token]string{token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">"}
	swapped = map[token.Token]string{token.LAND: "||", token.LOR: "&&"}
)

func (f *finder) visit(n ast.Node, above []ast.Node) {
	switch n := n.(type) {
	case *ast.IfStmt:
		f.negate(n.Cond)
	case *ast.ForStmt:
		f.negate(n.Cond)
	case *ast.SwitchStmt:
		if n.Tag == nil {
			for _, clause := range n.Body.List {
				for _, cond := range clause.(*ast.CaseClause).List {
					f.negate(cond)
				}
			}
		}
	case *ast.BinaryExpr:
		end := n.OpPos + token.Pos(len(n.Op.String()))
		if text, ok := shifted[n.Op]; ok {
			f.add("boundary", n.OpPos, end, text)
		}
		if text, ok := swapped[n.Op]; ok {
			f.add("logic", n.OpPos, end, text)
		}
	case *ast.BasicLit:
		if n.Kind == token.INT {
			f.add("constant", n.Pos(), n.End(), "("+n.Value+" + 1)")
			f.add("constant", n.Pos(), n.End(), "("+n.Value+" - 1)")
		}
	case *ast.ReturnStmt:
		f.nilError(n, above)
	}
	if early(n, above) || called(n, above) {
		f.add("delete", n.Pos(), n.End(), "")
	}
}

func (f *finder) negate(cond ast.Expr) {
	if cond != nil {
		f.add("negate", cond.Pos(), cond.End(), "!("+f.text(cond)+")")
	}
}

// nilError has a function that fails say that it did not.
func (f *finder) nilError(n *ast.ReturnStmt, above []ast.Node) {
	var results *ast.FieldList
	for _, outer := range slices.Backward(above) {
		if function, ok := outer.(*ast.FuncDecl); ok {
			results = function.Type.Results
			break
		}
		if function, ok := outer.(*ast.FuncLit); ok {
			results = function.Type.Results
			break
		}
	}
	if results == nil || len(n.Results) < results.NumFields() || len(n.Results) == 0 {
		return // nothing, named results, or another function's
	}
	last := n.Results[len(n.Results)-1]
	if types.ExprString(results.List[len(results.List)-1].Type) == "error" && f.text(last) != "nil" {
		f.add("error", last.Pos(), last.End(), "nil")
	}
}

// early tells whether a statement is a return out of the middle of a function.
func early(n ast.Node, above []ast.Node) bool {
	if _, ok := n.(*ast.ReturnStmt); !ok || len(above) < 2 {
		return false
	}
	switch above[len(above)-1].(type) {
	case *ast.CaseClause, *ast.CommClause:
		return true
	}
	switch above[len(above)-2].(type) {
	case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
		return true
	}
	return false
}

// logging is a call that nobody but a reader of the log would miss.
var logging = regexp.MustCompile(`(?i)\bs?log(\(.*\))?\.\w+$`)

// called tells whether a statement is a call, an assignment or a sent value, within a list of them.
func called(n ast.Node, above []ast.Node) bool {
	if len(above) == 0 {
		return false
	}
	switch above[len(above)-1].(type) {
	case *ast.BlockStmt, *ast.CaseClause, *ast.CommClause:
	default:
		return false
	}
	switch n := n.(type) {
	case *ast.ExprStmt:
		call, ok := n.X.(*ast.CallExpr)
		return ok && !logging.MatchString(types.ExprString(call.Fun))
	case *ast.AssignStmt:
		return n.Tok != token.DEFINE && !slices.ContainsFunc(n.Lhs, func(e ast.Expr) bool { return types.ExprString(e) == "_" })
	case *ast.IncDecStmt, *ast.SendStmt:
		return true
	}
	return false
}

func (f *finder) text(n ast.Node) string {
	return string(f.source[f.fset.Position(n.Pos()).Offset:f.fset.Position(n.End()).Offset])
}

// add notes a change, with the line that shows it.
func (f *finder) add(kind string, from, to token.Pos, text string) {
	m := &mutant{Kind: kind, from: f.fset.Position(from).Offset, to: f.fset.Position(to).Offset, text: text, Line: f.fset.Position(from).Line}
	begin := strings.LastIndexByte(string(f.source[:m.from]), '\n') + 1
	m.Before = firstLine(string(f.source[begin:]))
	m.After = firstLine(string(f.source[begin:m.from]) + text + string(f.source[m.to:]))
	f.all = append(f.all, m)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimSpace(line)
}

// String is a mutant in one line, as a survivor is listed.
func (m *mutant) String() string {
	after := m.After
	if after == "" {
		after = "(nothing)"
	}
	return fmt.Sprintf("%s:%d: %s: %s → %s", m.File, m.Line, m.Kind, m.Before, after)
}
