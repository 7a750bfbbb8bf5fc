package ecr_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.org/breakwater/internal/ecr"
	"example.org/breakwater/internal/lab"
	"example.org/breakwater/registry"
)

// Amazon's API takes the request for one that was signed with the secret key, and gives a login
// with its end. With another key there is none, and the error says why.
func TestALoginByAnAccountsKeys(t *testing.T) {
	abroad := lab.NewAbroad(lab.Dialect{}, "AWS", "a-token:with-a-colon")
	server := httptest.NewServer(&lab.TokenAPI{Registry: abroad, Region: "eu-west-1", AccessKey: "AKIAEXAMPLE", SecretKey: "the-secret/key+x", Lifetime: 12 * time.Hour})
	defer server.Close()
	account := ecr.Account{API: server.URL, Region: "eu-west-1", AccessKey: "AKIAEXAMPLE", SecretKey: "the-secret/key+x"}
	username, password, until, err := account.Login(t.Context(), http.DefaultTransport)
	if left := time.Until(until); err != nil || username != "AWS" || password != "a-token:with-a-colon" || left < 11*time.Hour || left > 12*time.Hour {
		t.Errorf("%q %q until %v: %v", username, password, until, err)
	}
	for name, other := range map[string]ecr.Account{
		"another secret": {API: server.URL, Region: "eu-west-1", AccessKey: "AKIAEXAMPLE", SecretKey: "another"},
		"another region": {API: server.URL, Region: "eu-west-2", AccessKey: "AKIAEXAMPLE", SecretKey: "the-secret/key+x"},
	} {
		_, _, _, err := other.Login(t.Context(), http.DefaultTransport)
		if !errors.Is(err, registry.ErrCredentials) || !strings.Contains(err.Error(), "InvalidSignatureException") || strings.Contains(err.Error(), other.SecretKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is no token is none, whatever the API sends.
func TestAnAnswerWithoutALogin(t *testing.T) {
	for body, says := range map[string]string{
		``:       "its answer is none",
		`<html>`: "its answer is none",
		`{}`:     "it gave none",
		`{"authorizationData":[{"authorizationToken":"QVdT"}]}`: "something else",
		`{"authorizationData":[{"authorizationToken":"!"}]}`:    "something else",
	} {
		server := httptest.NewServer(lab.Says{Status: http.StatusOK, Body: body})
		_, _, _, err := ecr.Account{API: server.URL, Region: "r", AccessKey: "a", SecretKey: "s"}.Login(t.Context(), http.DefaultTransport)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", body, err)
		}
		server.Close()
	}
}
