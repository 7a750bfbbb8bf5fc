package writer

import "net/http"

// Set sets headers, given as name and value in turn, in place of those that are there. Names are
// as http.CanonicalHeaderKey has them. All values are one allocation.
func Set(header http.Header, pairs ...string) {
	values := make([]string, len(pairs)/2)
	for i := range values {
		values[i] = pairs[2*i+1]
		header[pairs[2*i]] = values[i : i+1 : i+1] // what is added goes elsewhere
	}
}
