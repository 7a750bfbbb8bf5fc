// Package ecr gets what Amazon's Elastic Container Registry takes for a login. The keys of an
// AWS account are no password there: with them one asks Amazon's API for a token, by a request
// that is signed with the secret one and does not hold it.
package ecr

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"example.org/breakwater/registry"
)

// Account is who asks for tokens, and where: keys of a registry.Source.
type Account struct {
	API       string // https://api.ecr.<region>.amazonaws.com
	Region    string
	AccessKey string
	SecretKey string // never sent, nor logged
}

const maxAnswer = 64 << 10

// Login implements registry.Keys: the username and password of the account's registries.
func (a Account) Login(ctx context.Context, rt http.RoundTripper) (username, password string, until time.Time, err error) {
	req, err := a.request(ctx)
	if err != nil {
		return "", "", time.Time{}, err
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return "", "", time.Time{}, fmt.Errorf("ask %s for a token: %w", req.URL.Host, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err == nil {
		username, password, until, err = read(resp.StatusCode, body)
	}
	if err != nil {
		err = fmt.Errorf("ask %s for a token: %w", req.URL.Host, err)
	}
	return username, password, until, err
}

// request is GetAuthorizationToken of the API, signed (Signature Version 4).
func (a Account) request(ctx context.Context) (*http.Request, error) {
	body := []byte("{}")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.API+"/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken")
	hash := sha256.Sum256(body)
	keys := aws.Credentials{AccessKeyID: a.AccessKey, SecretAccessKey: a.SecretKey}
	return req, v4.NewSigner().SignHTTP(ctx, keys, req, hex.EncodeToString(hash[:]), "ecr", a.Region, time.Now())
}

// read reads the API's answer: a token is <username>:<password> in base64.
func read(status int, body []byte) (username, password string, until time.Time, err error) {
	var answer struct {
		Data []struct {
			Token   string  `json:"authorizationToken"`
			Expires float64 `json:"expiresAt"` // seconds since 1970
		} `json:"authorizationData"`
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	err = json.Unmarshal(body, &answer)
	switch {
	case status == http.StatusBadRequest || status == http.StatusForbidden:
		return "", "", time.Time{}, fmt.Errorf("%w: %s %.200s", registry.ErrCredentials, answer.Type, answer.Message)
	case status != http.StatusOK:
		return "", "", time.Time{}, fmt.Errorf("it answers %d %s %.200s", status, answer.Type, answer.Message)
	case err != nil:
		return "", "", time.Time{}, fmt.Errorf("its answer is none: %w", err)
	case len(answer.Data) == 0:
		return "", "", time.Time{}, errors.New("it gave none")
	}
	pair, err := base64.StdEncoding.DecodeString(answer.Data[0].Token)
	username, password, ok := strings.Cut(string(pair), ":")
	if err != nil || !ok || username == "" || password == "" {
		return "", "", time.Time{}, errors.New("it gave something else")
	}
	return username, password, time.Unix(int64(answer.Data[0].Expires), 0), nil
}
