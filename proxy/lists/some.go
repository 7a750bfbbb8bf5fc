package lists

import (
	"encoding/json"
	"net/http"

	"example.org/breakwater/registry"
)

// maxNone is how many bytes an empty list has at most.
const maxNone = 4 << 10

// Some reports whether an answer is anything else than an empty list of tags or referrers. What
// it reads of the body is put back.
func Some(resp *http.Response) bool {
	if _, kind, _ := registry.CutPath(resp.Request.URL.Path); kind != registry.KindTags && kind != registry.KindReferrers {
		return true
	}
	head, whole, err := registry.Peek(resp.Body, maxNone)
	resp.Body = whole
	var list struct{ Tags, Manifests []json.RawMessage }
	return err != nil || json.Unmarshal(head, &list) != nil || len(list.Tags)+len(list.Manifests) > 0
}
