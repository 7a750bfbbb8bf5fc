package provision

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/go-openapi/runtime"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
)

// coded is an error of go-client's that has Harbor's status.
type coded interface {
	error
	IsCode(int) bool
}

// statusOfAPI is the status of Harbor's answer; 0 where there was none.
func statusOfAPI(err error) int {
	var unexpected *runtime.APIError
	if errors.As(err, &unexpected) {
		return unexpected.Code
	}
	var c coded
	if errors.As(err, &c) {
		for status := 300; status < 600; status++ {
			if c.IsCode(status) {
				return status
			}
		}
	}
	return 0
}

func isCode(err error, code int) bool { return statusOfAPI(err) == code }

// explained is an error whose sentence is ours; what it means for the run is its cause's.
type explained struct {
	error
	cause error
}

func (e explained) Unwrap() error { return e.cause }

// plain is the error as a sentence: ours, or Harbor's own words without go-client's.
func plain(err error) error {
	var ours explained
	if errors.As(err, &ours) {
		return ours.error
	}
	var withPayload interface{ GetPayload() *models.Errors }
	if errors.As(err, &withPayload) {
		if p := withPayload.GetPayload(); p != nil && len(p.Errors) > 0 {
			return fmt.Errorf("this Harbor answers: %s", p.Errors[0].Message)
		}
	}
	var unexpected *runtime.APIError
	if errors.As(err, &unexpected) {
		return fmt.Errorf("this Harbor answers %d %s", unexpected.Code, http.StatusText(unexpected.Code))
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// refused reports whether Harbor has said no, so that nothing was done. After
// another error it may have been.
func refused(err error) bool {
	status := statusOfAPI(err)
	return status >= 400 && status < 500 && status != http.StatusRequestTimeout
}
