package fleet

import (
	"fmt"
	"reflect"
	"regexp"
	"time"
)

// checkSettings reports what Harbor would refuse, or read as something else.
func (f *Fleet) checkSettings(d *decoder) {
	s := f.Harbor.Settings
	if s.ProjectCreation != "" {
		oneOf(d, "harbor.settings.project_creation", s.ProjectCreation, "everyone", "adminonly")
	}
	for field, v := range map[string]Duration{"token_lifetime": s.TokenLifetime, "session_timeout": s.SessionTimeout} {
		if v < 0 || v%Duration(time.Minute) != 0 {
			d.report("harbor.settings."+field, "%v: Harbor counts in whole minutes", v)
		}
	}
	if gc := f.Harbor.GC; gc != nil {
		checkEvery(d, "harbor.gc.every", gc.Every)
	}
}

func (f *Fleet) checkSecrets(d *decoder) {
	v := f.Secrets.Vault
	ways := 0
	if !v.Login.Token.IsZero() {
		ways++
	}
	if a := v.Login.AppRole; a != nil {
		ways++
		needed(d, "secrets.vault.login.approle", map[string]bool{"role_id": a.RoleID.IsZero(), "secret_id": a.SecretID.IsZero()})
	}
	if k := v.Login.Kubernetes; k != nil {
		ways++
		needed(d, "secrets.vault.login.kubernetes", map[string]bool{"role": k.Role == ""})
	}
	if v.Address != "" && ways != 1 {
		d.report("secrets.vault.login", "want one of token, approle and kubernetes; there are %d", ways)
	}
	if v.Address == "" {
		d.checkNoVault(f)
	}
	for _, ref := range f.Harbor.TokenCertificates {
		if ref.Scheme != "file" && !ref.IsZero() {
			d.report("harbor.token_certificates", "%s: a certificate is public; write file:<path>", ref)
		}
	}
	walkRefs(reflect.ValueOf(&v.Login).Elem(), "secrets.vault.login", func(path string, r Ref) {
		if r.Scheme == "vault" {
			d.report(path, "what logs in to Vault cannot be in it; write file:<path> or env:<NAME>")
		}
	})
	d.checkPlaceholders(f)
	f.checkSettings(d)
	if o := f.Harbor.OIDC; o != nil {
		needed(d, "harbor.oidc", map[string]bool{"name": o.Name == "", "endpoint": o.Endpoint == "", "client_id": o.ClientID.IsZero(), "client_secret": o.ClientSecret.IsZero()})
	}
}

// needed reports the fields below a path that are missing.
func needed(d *decoder, path string, missing map[string]bool) {
	for _, field := range sorted(missing) {
		if missing[field] {
			d.report(path+"."+field, "it is missing")
		}
	}
}

// checkNoVault reports vault: references that could not be looked up anywhere.
func (d *decoder) checkNoVault(f *Fleet) {
	reported := map[string]bool{}
	walkRefs(reflect.ValueOf(f).Elem(), "", func(path string, r Ref) {
		if _, written := d.lines[path]; written && r.Scheme == "vault" && !reported[path] {
			reported[path] = true
			d.report(path, "there is no Vault to look it up in; write secrets.vault.address")
		}
	})
}

// walkRefs calls do for every reference in v, with its path in the file.
func walkRefs(v reflect.Value, path string, do func(path string, r Ref)) {
	join := func(key string) string {
		if path == "" {
			return key
		}
		return path + "." + key
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			walkRefs(v.Elem(), path, do)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			walkRefs(v.MapIndex(key), join(key.String()), do)
		}
	case reflect.Slice:
		for i := range v.Len() {
			walkRefs(v.Index(i), fmt.Sprintf("%s[%d]", path, i), do)
		}
	case reflect.Struct:
		switch x := v.Interface().(type) {
		case Ref:
			do(path, x)
			return
		case Text:
			do(path, x.Ref)
			return
		}
		for i := range v.NumField() {
			switch key := v.Type().Field(i).Tag.Get("yaml"); key {
			case "":
			case "*":
				walkRefs(v.Field(i), path, do)
			default:
				walkRefs(v.Field(i), join(key), do)
			}
		}
	}
}

// placeholder is what is filled in when a reference is looked up.
var placeholder = regexp.MustCompile(`\{[^{}]*\}`)

// perProject are the references that are looked up for each project.
var perProject = regexp.MustCompile(`^projects\.(multi-dc\..+\.robots\.[a-z]+|cache\..+\.password)$`)

// checkPlaceholders reports those that nothing would be filled in for.
func (d *decoder) checkPlaceholders(f *Fleet) {
	walkRefs(reflect.ValueOf(f).Elem(), "", func(path string, r Ref) {
		if _, written := d.lines[path]; !written {
			return
		}
		for _, p := range placeholder.FindAllString(r.Path+r.Key, -1) {
			switch {
			case p != "{name}":
				d.report(path, "nothing is filled in for %s; {name}, the project's name, is all there is", p)
			case !perProject.MatchString(path):
				d.report(path, "{name} stands for a project's name, and this is of no project; write the reference out")
			}
		}
	})
}

// usesVault reports whether there is anything to look up there.
func (f *Fleet) usesVault() (uses bool) {
	walkRefs(reflect.ValueOf(f).Elem(), "", func(_ string, r Ref) { uses = uses || r.Scheme == "vault" })
	return uses
}
