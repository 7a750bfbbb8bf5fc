package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"mime"
	"net/http"
	"path"
	"time"

	"example.org/breakwater/cmd/internal/status"
)

//go:embed web
var web embed.FS

// assets are the style, the script and the icon, under names that change with what is in them:
// browsers keep them for good.
type assets struct {
	frame               []byte
	style, script, mark string
	files               map[string][]byte
}

func readAssets() (*assets, error) {
	a := &assets{files: map[string][]byte{}}
	var err error
	if a.frame, err = web.ReadFile("web/frame.html"); err != nil {
		return nil, err
	}
	for file, name := range map[string]*string{"style.css": &a.style, "console.js": &a.script, "mark.svg": &a.mark} {
		content, err := web.ReadFile("web/" + file)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(content)
		extension := path.Ext(file)
		*name = file[:len(file)-len(extension)] + "." + hex.EncodeToString(sum[:6]) + extension
		a.files[*name] = content
	}
	return a, nil
}

func (a *assets) serve(w http.ResponseWriter, _ *http.Request, name string) {
	content, ok := a.files[name]
	if !ok {
		http.Error(w, "the console has no such file", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Write(content) //nolint:errcheck // the reader is gone
}

// functions are what templates have beyond html/template's own.
func functions() template.FuncMap {
	return template.FuncMap{
		"ago":      func(t time.Time) string { return short(time.Since(t)) },
		"short":    short,
		"size":     status.Size,
		"stamp":    func(t time.Time) string { return t.UTC().Format(time.DateTime) + " UTC" },
		"bar":      barOf,
		"seconds":  seconds,
		"stepChip": stepChip, "first": first, "others": others,

		"severity": severity, "fleetRows": fleetRows, "clientRows": clientRows, "answering": answering, "overrides": overrides, "numbers": numbersOf, "graph": graphOf,
		"add": func(a, b int) int { return a + b },
	}
}

// bar is a part of a whole, drawn.
type bar struct {
	Class string
	Width int // of 100
}

func barOf(part, of int, class string) bar {
	return bar{class, max(0, min(100, part*100/max(1, of)))}
}
