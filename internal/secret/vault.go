package secret

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	vaultapi "github.com/hashicorp/vault/api"

	"example.org/breakwater/internal/fleet"
)

// vault reads key/value secrets of both versions (https://developer.hashicorp.com/vault/api-docs/secret/kv).
type vault struct {
	client *vaultapi.Client
	login  func(ctx context.Context) error // nil: the token was given
	logged bool
	down   error                     // why it is asked no more
	read   map[string]map[string]any // by path; a path is read once
	errs   map[string]error
}

func newVault(f *fleet.Fleet, s *Store) (*vault, error) {
	config := vaultapi.DefaultConfig()
	if config.Error != nil {
		return nil, fmt.Errorf("secrets.vault: %w", config.Error)
	}
	config.Address, config.AgentAddress = string(f.Secrets.Vault.Address), "" // the environment names no other
	config.Timeout = 10 * time.Second
	config.MaxRetries, config.MinRetryWait, config.MaxRetryWait = 1, 200*time.Millisecond, time.Second
	if ca := f.Secrets.Vault.CA; ca != "" {
		if err := config.ConfigureTLS(&vaultapi.TLSConfig{CACert: ca}); err != nil {
			return nil, fmt.Errorf("secrets.vault.ca: %w", err)
		}
	}
	to, err := url.Parse(config.Address)
	if err != nil {
		return nil, fmt.Errorf("secrets.vault.address: %w", err)
	}
	config.HttpClient.Transport = confined{to, config.HttpClient.Transport}
	client, err := vaultapi.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("secrets.vault: %w", err)
	}
	client.ClearToken() // that of the environment is used only if the fleet file says so
	v := &vault{client: client, read: map[string]map[string]any{}, errs: map[string]error{}}
	v.login = func(ctx context.Context) error { return v.logIn(ctx, f.Secrets.Vault.Login, s) }
	return v, nil
}

// logIn gets a token in the way that the fleet file names.
func (v *vault) logIn(ctx context.Context, l fleet.VaultLogin, s *Store) error {
	own := func(r fleet.Ref) (string, error) {
		if r.Scheme == "vault" {
			return "", errors.New("what logs in to Vault cannot be in it")
		}
		return s.look(ctx, r)
	}
	switch {
	case l.AppRole != nil:
		role, err := own(l.AppRole.RoleID)
		if err != nil {
			return fmt.Errorf("%s: %w", l.AppRole.RoleID, err)
		}
		secret, err := own(l.AppRole.SecretID)
		if err != nil {
			return fmt.Errorf("%s: %w", l.AppRole.SecretID, err)
		}
		return v.loginAt(ctx, l.AppRole.Mount, map[string]any{"role_id": role, "secret_id": secret}, "the AppRole's role_id and secret_id")
	case l.Kubernetes != nil:
		jwt, err := own(l.Kubernetes.Token)
		if err != nil {
			return fmt.Errorf("log in by Kubernetes: there is no service account's token: %w", err)
		}
		return v.loginAt(ctx, l.Kubernetes.Mount, map[string]any{"role": l.Kubernetes.Role, "jwt": jwt}, "the service account for role "+l.Kubernetes.Role)
	}
	token, err := own(l.Token)
	if err != nil {
		return fmt.Errorf("%s: %w", l.Token, err)
	}
	v.client.SetToken(token)
	return nil
}

// loginAt logs in by the method that is at the mount (auth/<mount>/login).
func (v *vault) loginAt(ctx context.Context, mount string, body map[string]any, who string) error {
	got, err := v.client.Logical().WriteWithContext(ctx, "auth/"+strings.Trim(mount, "/")+"/login", body)
	switch {
	case statusOf(err) == http.StatusBadRequest, statusOf(err) == http.StatusForbidden:
		return fmt.Errorf("the Vault refuses %s", who)
	case err != nil:
		return v.plain(err)
	case got == nil || got.Auth == nil:
		return fmt.Errorf("the Vault gives no token for %s", who)
	}
	v.client.SetToken(got.Auth.ClientToken)
	return nil
}

// get returns the field of the secret at path, as secret/harbor: the mount is the
// part that Vault says it is.
func (v *vault) get(ctx context.Context, path, field string) (string, error) {
	path = strings.Trim(path, "/")
	if err := cmp.Or(v.down, v.errs[path]); err != nil {
		return "", err
	}
	if v.read[path] == nil {
		data, err := v.fresh(ctx, path)
		if err != nil {
			if v.errs[path] = err; errors.As(err, new(unavailable)) {
				v.down = err
			}
			return "", err
		}
		v.read[path] = data
	}
	value, ok := v.read[path][field]
	if !ok {
		return "", fmt.Errorf("the secret has no field %q", field)
	}
	text, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("the field %q is no text", field)
	}
	return text, nil
}

// fresh reads a path, and logs in again once if the token has run out meanwhile.
func (v *vault) fresh(ctx context.Context, path string) (map[string]any, error) {
	for again := false; ; again = true {
		if !v.logged || again {
			if err := v.login(ctx); err != nil {
				return nil, unavailable{fmt.Errorf("log in to the Vault: %w", err)}
			}
			v.logged = true
		}
		data, err := v.readPath(ctx, path)
		if statusOf(err) != http.StatusForbidden {
			return data, v.plain(err)
		}
		// A path that is forbidden and a token that has run out are both 403; the second
		// says so.
		if again || !strings.Contains(err.Error(), "invalid token") {
			return nil, errors.New("the Vault forbids it: the token's policies do not let it read this path, or the token is wrong")
		}
	}
}

func (v *vault) readPath(ctx context.Context, path string) (map[string]any, error) {
	mount, version, err := v.mountOf(ctx, path)
	if err != nil {
		return nil, err
	}
	full := path
	if version == "2" {
		full = mount + "data/" + strings.TrimPrefix(path+"/", mount)
	}
	got, err := v.client.Logical().ReadWithContext(ctx, strings.TrimSuffix(full, "/"))
	switch {
	case err != nil:
		return nil, err
	case got == nil:
		return nil, errors.New("the Vault has no such secret")
	case version != "2":
		return got.Data, nil
	}
	data, ok := got.Data["data"].(map[string]any)
	if !ok {
		return nil, errors.New("the secret was deleted in Vault")
	}
	return data, nil
}

// mountOf is the mount that a path is in, as secret/, and its key/value version.
func (v *vault) mountOf(ctx context.Context, path string) (mount, version string, err error) {
	got, err := v.client.Logical().ReadWithContext(ctx, "sys/internal/ui/mounts/"+path)
	if err != nil {
		return "", "", err
	}
	if got == nil {
		return "", "", errors.New("the Vault has no such mount")
	}
	mount, _ = got.Data["path"].(string)
	options, _ := got.Data["options"].(map[string]any)
	version, _ = options["version"].(string)
	return mount, version, nil
}

func statusOf(err error) int {
	var r *vaultapi.ResponseError
	if errors.As(err, &r) {
		return r.StatusCode
	}
	return 0
}

// plain is Vault's error as a sentence.
func (v *vault) plain(err error) error {
	var redirect elsewhere
	switch {
	case err == nil:
		return nil
	case statusOf(err) == http.StatusServiceUnavailable:
		return unavailable{fmt.Errorf("the Vault at %s is sealed or in standby; unseal it", v.client.Address())}
	case errors.As(err, &redirect):
		return unavailable{fmt.Errorf("the Vault at %s: %w", v.client.Address(), redirect)}
	case statusOf(err) != 0:
		var r *vaultapi.ResponseError
		errors.As(err, &r)
		return fmt.Errorf("the Vault answers %d: %s", r.StatusCode, strings.Join(r.Errors, "; "))
	case strings.HasPrefix(err.Error(), "the Vault ") || strings.HasPrefix(err.Error(), "the secret "):
		return err
	}
	return unavailable{fmt.Errorf("the Vault at %s does not answer: %w", v.client.Address(), err)}
}
