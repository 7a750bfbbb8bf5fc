package wire

import (
	"fmt"
	"os"
	"strings"

	"example.org/breakwater/internal/fleet"
)

// Secret looks a reference up; "" for one that is unset. Its errors never hold
// what was found.
func Secret(ref fleet.Ref) (string, error) {
	var value string
	switch ref.Scheme {
	case "":
		return "", nil
	case "file":
		data, err := os.ReadFile(ref.Path)
		if err != nil {
			return "", fmt.Errorf("read secret: %w", err)
		}
		value = strings.TrimRight(string(data), "\r\n")
	case "env":
		value = os.Getenv(ref.Path)
	case "vault":
		return "", fmt.Errorf("%s: the edge does not read Vault itself yet; let an agent write the secret to a file and name it as file:<path>", ref)
	}
	if value == "" {
		return "", fmt.Errorf("%s is empty", ref)
	}
	return value, nil
}
