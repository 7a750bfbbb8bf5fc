package registry

import (
	"encoding/json"
	"net/http"
)

// WriteJSON answers with v as JSON, in status 200 where no other is written yet. Who asked may be
// gone: that is nobody's fault.
func WriteJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) //nolint:errcheck // see above
}
