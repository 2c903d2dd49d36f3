package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"

	"github.com/agentos-kernel/agentos/events"
)

// docs are the comments of the event packages' struct types, by "package.Type".
type docs map[string]typeDoc

type typeDoc struct {
	text   string
	fields map[string]string // Go field name → comment
}

// readDocs parses the sources of all families and of the packages they share.
func readDocs(root string) (docs, error) {
	d := docs{}
	pkgs := []string{"chat"}
	for _, f := range events.Families() {
		pkgs = append(pkgs, string(f))
	}
	for _, pkg := range pkgs {
		files, err := filepath.Glob(filepath.Join(root, "events", pkg, "*.go"))
		if err != nil {
			return nil, err
		}
		for _, name := range files {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			for _, decl := range file.Decls {
				if gen, ok := decl.(*ast.GenDecl); ok {
					d.addDecl(pkg, gen)
				}
			}
		}
	}
	return d, nil
}

func (d docs) addDecl(pkg string, gen *ast.GenDecl) {
	for _, spec := range gen.Specs {
		ts, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		st, ok := ts.Type.(*ast.StructType)
		if !ok {
			continue
		}
		doc := typeDoc{text: oneLine(gen.Doc), fields: map[string]string{}}
		for _, field := range st.Fields.List {
			text := oneLine(field.Comment)
			if text == "" {
				text = oneLine(field.Doc)
			}
			for _, name := range field.Names {
				doc.fields[name.Name] = text
			}
		}
		d[pkg+"."+ts.Name.Name] = doc
	}
}

func oneLine(g *ast.CommentGroup) string {
	if g == nil {
		return ""
	}
	return strings.Join(strings.Fields(g.Text()), " ")
}
