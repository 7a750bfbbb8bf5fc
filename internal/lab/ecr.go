package lab

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// TokenAPI is Amazon's, where those who have an account's keys get the login of its registry:
// GetAuthorizationToken, for requests that are signed with the secret key (Signature Version 4).
type TokenAPI struct {
	Registry             *Abroad
	Region               string
	AccessKey, SecretKey string
	Lifetime             time.Duration // of a token
}

// ServeHTTP implements http.Handler.
func (a *TokenAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 64<<10)) // what came of it is not what was signed
	switch {
	case r.Header.Get("X-Amz-Target") != "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken":
		a.refuse(w, "UnknownOperationException")
	case r.Header.Get("Authorization") != a.signature(r, body):
		a.refuse(w, "InvalidSignatureException")
	default:
		a.Registry.mu.Lock()
		token := a.Registry.user + ":" + a.Registry.password
		a.Registry.mu.Unlock()
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		json.NewEncoder(w).Encode(map[string]any{"authorizationData": []any{map[string]any{ //nolint:errcheck // the client is gone
			"authorizationToken": base64.StdEncoding.EncodeToString([]byte(token)),
			"expiresAt":          float64(time.Now().Add(a.Lifetime).UnixMilli()) / 1000,
			"proxyEndpoint":      "https://" + a.Registry.Host,
		}}})
	}
}

func (a *TokenAPI) refuse(w http.ResponseWriter, why string) {
	Says{Status: http.StatusBadRequest, Body: fmt.Sprintf(`{"__type":%q,"message":"as this API says it"}`, why), Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}}}.write(w)
}

// signature is the Authorization that the request should have, by the headers that it says to be signed.
func (a *TokenAPI) signature(r *http.Request, body []byte) string {
	_, rest, _ := strings.Cut(r.Header.Get("Authorization"), "SignedHeaders=")
	signed, _, _ := strings.Cut(rest, ",")
	names := strings.Split(signed, ";")
	if !slices.IsSorted(names) || !slices.Contains(names, "host") || !slices.Contains(names, "x-amz-date") || !slices.Contains(names, "x-amz-target") {
		return "none"
	}
	canonical := r.Method + "\n" + r.URL.Path + "\n" + r.URL.RawQuery + "\n"
	for _, name := range names {
		value := r.Header.Get(name)
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = fmt.Sprint(r.ContentLength)
		}
		canonical += name + ":" + strings.TrimSpace(value) + "\n"
	}
	canonical += "\n" + signed + "\n" + hexHash(body)
	at := r.Header.Get("X-Amz-Date")
	if len(at) < 8 {
		return "none"
	}
	scope := at[:8] + "/" + a.Region + "/ecr/aws4_request"
	key := []byte("AWS4" + a.SecretKey)
	for _, part := range append(strings.Split(scope, "/"), "AWS4-HMAC-SHA256\n"+at+"\n"+scope+"\n"+hexHash([]byte(canonical))) {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return "AWS4-HMAC-SHA256 Credential=" + a.AccessKey + "/" + scope + ", SignedHeaders=" + signed + ", Signature=" + hex.EncodeToString(key)
}

func hexHash(b []byte) string {
	hash := sha256.Sum256(b)
	return hex.EncodeToString(hash[:])
}
