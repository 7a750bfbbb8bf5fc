package trial

import (
	"crypto/tls"
	"slices"
)

// Speak has a TLS server speak some protocols alone, and refuse clients that offer none of
// them. Without it Go takes a client of HTTP/1.1, whatever its server speaks.
func Speak(config *tls.Config, protocols ...string) {
	refuses := config.Clone()
	refuses.NextProtos = []string{"another"}
	config.NextProtos = protocols
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.ContainsFunc(hello.SupportedProtos, func(p string) bool { return slices.Contains(protocols, p) }) {
			return nil, nil // as it is
		}
		return refuses, nil
	}
}
